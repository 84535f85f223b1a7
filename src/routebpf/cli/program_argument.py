"""PROG on the command line: a file with, where it holds several programs, `:SECTION` or `:FUNCTION`; and how to take
and run it."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any, NamedTuple

import click


class ProgramReference(NamedTuple):
    """A file and which of its programs is meant; None: the only one."""

    path: str
    selector: str | None


def parse_program(_ctx: click.Context, _param: click.Parameter, value: str | None) -> ProgramReference | None:
    """A click callback: the text as a reference."""
    if value is None:
        return None
    path, colon, selector = value.rpartition(":")
    if not colon or not path or os.path.exists(value):
        return ProgramReference(value, None)
    if not selector:
        raise click.BadParameter(f"{value!r} ends with a colon; a section's or function's name follows it")
    return ProgramReference(path, selector)


type_option = click.option(
    "--type",
    "program_type",
    type=click.Choice(["LWT_IN", "LWT_OUT", "LWT_XMIT"], case_sensitive=False),
    help="The program type, where the section's name does not say it.",
)


verify_option = click.option(
    "--no-verify",
    "verify",
    is_flag=True,
    flag_value=False,
    default=True,
    help="With --engine interpreter: run it even if the verifier would refuse it, and stop it where it goes wrong.",
)


def engine_option(*, default: str) -> Callable[[Any], Any]:
    """--engine, for what runs programs."""
    return click.option(
        "--engine",
        type=click.Choice(["jit", "interpreter"]),
        default=default,
        show_default=True,
        help="How it runs: as machine code, or with every access checked.",
    )
