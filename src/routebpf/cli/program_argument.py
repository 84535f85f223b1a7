"""PROG on the command line: a file with, where it holds several programs, `:SECTION` or `:FUNCTION`."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Any

import click


@dataclass(frozen=True, slots=True)
class ProgramReference:
    """A file and which of its programs is meant; None: the only one."""

    path: str
    selector: str | None


class _ProgramType(click.ParamType):
    name = "PROG"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> ProgramReference:
        if isinstance(value, ProgramReference):
            return value
        path, colon, selector = str(value).rpartition(":")
        if not colon or os.path.exists(value) or not path:
            return ProgramReference(str(value), None)
        return ProgramReference(path, selector)


PROGRAM = _ProgramType()
TYPES = click.Choice(["LWT_IN", "LWT_OUT", "LWT_XMIT"], case_sensitive=False)
type_option = click.option(
    "--type", "program_type", type=TYPES, help="The program type, where the section's name does not say it."
)
