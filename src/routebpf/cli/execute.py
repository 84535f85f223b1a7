"""`routebpf exec`: one program on one packet, or bare instructions on some memory."""

from __future__ import annotations

import sys
from typing import Any

import click

from routebpf.cli.output import print_json
from routebpf.cli.program_argument import PROGRAM, ProgramReference, type_option
from routebpf.errors import InputError


class _HexType(click.ParamType):
    name = "HEX"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> bytes:
        if isinstance(value, bytes):
            return value
        text = sys.stdin.read() if value == "-" else str(value)
        try:
            return bytes.fromhex("".join(text.split()).removeprefix("0x"))
        except ValueError:
            self.fail(f"{text.strip()[:40]!r} is no hexadecimal text of whole bytes", param, ctx)


class _FieldType(click.ParamType):
    name = "FIELD=VALUE"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[str, int]:
        if isinstance(value, tuple):
            return value
        name, _, number = str(value).partition("=")
        try:
            return name, int(number, 0)
        except ValueError:
            self.fail(f"{value!r} is not of the form FIELD=VALUE, with a number as the value", param, ctx)


_HEX, _FIELD = _HexType(), _FieldType()


@click.command(epilog="Example: routebpf exec --hex b70000002a0000009500000000000000")
@click.argument("prog", type=PROGRAM, required=False)
@click.option("--hex", "code", type=_HEX, help="Bare instructions instead of PROG; - reads them from the input.")
@click.option("--memory", type=_HEX, default=b"", help="With --hex: what r1 points to; r2 is its size.")
@click.option("--packet", type=_HEX, default=b"", help="With PROG: the packet, from its IP header on.")
@click.option("--context", type=_FIELD, multiple=True, help="With PROG: a field of struct __sk_buff, as mark=7.")
@click.option("--engine", type=click.Choice(["jit", "interpreter"]), default="interpreter", show_default=True)
@type_option
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def command(
    prog: ProgramReference | None,
    code: bytes | None,
    memory: bytes,
    packet: bytes,
    context: tuple[tuple[str, int], ...],
    engine: str,
    program_type: str | None,
    as_json: bool,
) -> None:
    """Run PROG once on one packet and show what it returned and changed.

    Or, with --hex, run bare instructions with r1 = the address of some memory and r2 = its size, and print r0 in hex.
    """
    if (prog is None) == (code is None):
        raise click.UsageError("give either PROG or --hex with instructions")
    if code is not None:
        _bare(code, memory, engine, as_json)
        return
    assert prog is not None
    from routebpf.hosts.single_run import run_once

    result = run_once(prog.path, prog.selector, packet, dict(context), engine=engine, program_type=program_type)
    if as_json:
        print_json(result.as_dict())
        return
    click.echo(f"r0      {result.r0:#x}  {result.meaning}")
    click.echo(f"packet  {_after(result.packet, packet)}")
    for name, value in result.context.items():
        click.echo(f"{name:8}{value:#x}")
    for name, entries in result.maps.items():
        for key, value in entries:
            click.echo(f"{name}[{key}] = {value}")


def _after(now: bytes, before: bytes) -> str:
    return "unchanged" if now == before else f"{now.hex()} ({len(now)} bytes)"


def _bare(code: bytes, memory: bytes, engine: str, as_json: bool) -> None:
    from routebpf.engine import run_raw
    from routebpf.isa import decode

    if not code:
        raise InputError("exec: no instructions; --hex takes 16 hexadecimal digits for each")
    r0, after = run_raw(decode(code), memory, engine=engine)
    if as_json:
        print_json({"r0": f"{r0:#x}", "memory": after.hex()})
    else:
        click.echo(f"{r0:#x}")
