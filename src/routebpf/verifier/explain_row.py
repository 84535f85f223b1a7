"""The row of a class of refusal."""

from __future__ import annotations

from dataclasses import dataclass

NEVER = r"(?!)"  # the pattern of a class that is told from another by what the register holds


@dataclass(frozen=True, slots=True)
class RefusalClass:
    """A class of refusal: its name, the `pattern` in the kernel's words, and what people are told.

    `title`, `why` and `todo` may name what is known in braces: groups of the pattern, and `reg` (the register at
    fault, "r2"), `type` (of the program), `callee` (the function called, "bpf_map_lookup_elem()"), `argument` (what it
    calls the argument at fault), `end` (the byte after the access, counted from the pointer), `license`.
    """

    name: str
    pattern: str
    title: str
    why: str
    todo: str
