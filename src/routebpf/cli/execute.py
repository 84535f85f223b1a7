"""`routebpf exec`: one program on one packet, or bare instructions on some memory."""

from __future__ import annotations

import dataclasses
import sys
from typing import TYPE_CHECKING

import click

from routebpf.cli.map_output import print_map
from routebpf.cli.output import print_json
from routebpf.cli.program_argument import ProgramReference, engine_option, parse_program, type_option, verify_option
from routebpf.errors import InputError

if TYPE_CHECKING:
    from routebpf.hosts.load import Engine
    from routebpf.hosts.single_run import SingleRun


def _bytes(_ctx: click.Context, _param: click.Parameter, value: str | None) -> bytes | None:
    """Hexadecimal text, or that of the input for "-"."""
    if value is None:
        return None
    text = sys.stdin.read() if value == "-" else value
    try:
        return bytes.fromhex("".join(text.split()).removeprefix("0x"))
    except ValueError:
        raise click.BadParameter(f"{text.strip()[:40]!r} is no hexadecimal text of whole bytes") from None


def _fields(_ctx: click.Context, _param: click.Parameter, values: tuple[str, ...]) -> dict[str, int]:
    """FIELD=VALUE, each."""
    found = {}
    for value in values:
        name, _, number = value.partition("=")
        try:
            found[name] = int(number, 0)
        except ValueError:
            raise click.BadParameter(f"{value!r} is not of the form FIELD=VALUE, with a number as the value") from None
    return found


@click.command(epilog="Example: routebpf exec --hex b70000002a0000009500000000000000")
@click.argument("prog", callback=parse_program, required=False)
@click.option(
    "--hex",
    "code",
    metavar="HEX",
    callback=_bytes,
    help="Bare instructions instead of PROG; - reads them from the input.",
)
@click.option("--memory", metavar="HEX", callback=_bytes, help="With --hex: what r1 points to; r2 is its size.")
@click.option("--packet", metavar="HEX", callback=_bytes, help="With PROG: the packet, from its IP header on.")
@click.option(
    "--context",
    metavar="FIELD=VALUE",
    multiple=True,
    callback=_fields,
    help="With PROG: a field of struct __sk_buff, as mark=7.",
)
@engine_option(default="interpreter")
@verify_option
@type_option
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def command(
    prog: ProgramReference | None,
    code: bytes | None,
    memory: bytes | None,
    packet: bytes | None,
    context: dict[str, int],
    engine: Engine,
    verify: bool,
    program_type: str | None,
    as_json: bool,
) -> None:
    """Run PROG once on one packet and show what it returned and changed.

    Or, with --hex, run bare instructions with r1 = the address of some memory and r2 = its size, and print r0 in hex.
    """
    if (prog is None) == (code is None):
        raise click.UsageError("give either PROG or --hex with instructions")
    if code is None and memory is not None:
        raise click.UsageError("--memory goes with --hex; a program gets --packet")
    if code is not None and (packet is not None or context or program_type or not verify):
        raise click.UsageError("--packet, --context, --type and --no-verify go with PROG; --hex gets --memory")
    if engine == "jit" and (code is not None or not verify):
        raise click.UsageError("--engine jit runs verified programs only; the interpreter checks every access")
    if code is not None:
        _bare(code, memory or b"", as_json)
        return
    assert prog is not None
    packet = packet or b""
    from routebpf.hosts.single_run import run_once

    result = run_once(
        prog.path, prog.selector, packet, context, engine=engine, verify=verify, program_type=program_type
    )
    if as_json:
        _print_json(result)
        return
    rows = [("r0", f"{result.r0:#x}  {result.meaning}"), ("packet", _after(result.packet, packet))]
    rows += [(name, f"{value:#x}") for name, value in result.context.items()]
    rows += [("printed", line) for line in result.trace]
    width = max(len(name) for name, _ in rows)
    for name, value in rows:
        click.echo(f"{name:{width}}  {value}")
    for name, view in result.maps.items():
        click.echo()
        print_map(name, view)


def _print_json(result: SingleRun) -> None:
    from routebpf.hosts.report import entries_of

    fields = {one.name: getattr(result, one.name) for one in dataclasses.fields(result)}
    print_json(fields | {"maps": {name: entries_of(view) for name, view in result.maps.items()}})


def _after(now: bytes, before: bytes) -> str:
    return "unchanged" if now == before else f"{now.hex()} ({len(now)} bytes)"


def _bare(code: bytes, memory: bytes, as_json: bool) -> None:
    from routebpf.engine import run_raw
    from routebpf.isa import decode

    if not code:
        raise InputError("exec: no instructions; --hex takes 16 hexadecimal digits for each")
    r0, after = run_raw(decode(code), memory)
    if as_json:
        print_json({"r0": f"{r0:#x}", "memory": after.hex()})
    else:
        click.echo(f"{r0:#x}")
