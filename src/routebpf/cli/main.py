"""`routebpf`: the commands, and what every one of them does with an error.

Exit codes: 0 done; 1 the answer is no; 2 bad usage or bad input; 3 the machine lacks something.
"""

from __future__ import annotations

import contextlib
import errno
import io
import os
import signal
import sys
from importlib import import_module

import click

from routebpf.errors import Error, MissingError

# By command: its module in this package, which has a click command `command`, and the line that `--help` shows.
# A module is imported when its command runs, so that none pays for the others.
_COMMANDS = {
    "run": ("run", "Send a capture's packets down a route that carries a program."),
    "exec": ("execute", "Run one program on one packet, or bare instructions on some memory."),
    "verify": ("verify", "Tell whether the kernel would take a program, and if not, where, why and what to do."),
    "attach": ("attach", "Put a program on routes of this machine."),
    "detach": ("detach", "Take programs off routes, which are then what they were."),
    "list": ("list_routes", "List the routes that carry programs."),
    "show": ("show", "Show what is attached to a prefix."),
    "map": ("map", "Read and change the maps of attached programs."),
    "doctor": ("doctor", "Check whether this machine can put programs on routes."),
    "disasm": ("disasm", "Show a program's instructions beside its C source."),
    "spec": ("spec", "Show what a program may use: context fields, helpers, kfuncs, maps."),
    "bench": ("bench", "Measure nanoseconds a packet."),
}
# What the machine cannot do for anybody, whatever it was needed for.
_OF_THE_MACHINE = {
    errno.EMFILE: "this process has as many files open as it may (EMFILE): raise the limit, as by ulimit -n 1024",
    errno.ENFILE: "the machine has as many files open as it may (ENFILE): raise it, as by sysctl fs.file-max",
    errno.EPERM: "the machine refuses a system call (EPERM): a seccomp filter does, or a security module",
}
_SIGNALLED = 128  # a shell's exit code of a command that a signal ended, less the signal


class _Commands(click.Group):
    """A group whose commands are imported when they are asked for."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in _COMMANDS:
            return None
        command = import_module(f"routebpf.cli.{_COMMANDS[cmd_name][0]}").command
        assert isinstance(command, click.Command)
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if args and args[0] not in _COMMANDS and not args[0].startswith("-"):
            from difflib import get_close_matches

            near = get_close_matches(args[0], _COMMANDS, 1)
            hint = f"did you mean {near[0]}?" if near else f"there are {', '.join(_COMMANDS)}"
            raise click.UsageError(f"no command {args[0]!r}; {hint}", ctx)
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, text) for name, (_, text) in _COMMANDS.items()])


@click.group(
    cls=_Commands,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="Example: routebpf run examples/drop_smtp.bpf.c --to 10.0.0.0/8 --pcap captures/mail-and-dns.pcapng",
)
@click.version_option(package_name="routebpf", message="%(prog)s %(version)s")
def commands() -> None:
    """Put an eBPF program on a route, and see, test and trust what it does."""


def main() -> int:
    """Run the command line: its exit code. All that it writes is written then."""
    if signal.getsignal(signal.SIGINT) is not signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    for number in (signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, _terminate)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            # Sources, names and what programs print may hold what the terminal's encoding does not.
            stream.reconfigure(errors="backslashreplace")
    try:
        code = _run()
    except OSError as error:
        # What files cannot do is an Error by now: this is the machine, or the output.
        said = f"{error.filename or 'cannot write the output'}: {error.strerror}"
        _say(_OF_THE_MACHINE.get(error.errno or 0, said))
        code = MissingError.exit_code
    except SystemExit as stop:  # see _terminate; click's, where nobody reads the output
        code = int(stop.code or 0)
    _drop_what_cannot_be_written()
    return code


def _run() -> int:
    """Run the command that the arguments name, and tell its error: the exit code."""
    try:
        # What `commands` gives is a code if `--help` or the like stopped it, else what the command returned: None.
        return commands(prog_name="routebpf", standalone_mode=False) or 0
    except Error as error:
        _say(str(error))
        return error.exit_code
    except click.exceptions.Exit as stop:
        return stop.exit_code
    except click.ClickException as error:
        with contextlib.suppress(OSError):
            error.show()
        return error.exit_code
    except (click.Abort, KeyboardInterrupt):
        _say("interrupted")
        return _SIGNALLED + signal.SIGINT


def _terminate(number: int, _frame: object) -> None:
    """End as after an error, so that what was begun is taken back."""
    sys.exit(_SIGNALLED + number)


def _say(message: str) -> None:
    with contextlib.suppress(OSError):  # an error output that is full: nobody is left to tell
        click.echo(f"routebpf: {message}", err=True)


def _drop_what_cannot_be_written() -> None:
    """Python writes what is left of an output as it ends, and complains of a full one with an exit code of its own."""
    for stream in (sys.stdout, sys.stderr):
        try:
            if stream is not None:
                stream.flush()
        except OSError:
            os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
