"""An explanation as text, in the manner of compilers, and as data."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from typing import Any

from routebpf.verifier.explain import Explanation, Place
from routebpf.verifier.explain_path import Turn

WIDTH = 100
_MOST_TURNS = 10  # of the path, in text: the last ones
_WORD = re.compile(r"\w+|->|[^\w\s]+")


def explanation_text(one: Explanation, width: int = WIDTH) -> str:
    """The whole text, without a newline at its end. The kernel's own words stand last.

    Lines of more than `width` characters are wrapped, but for those of the source and the kernel's words.
    """
    margin = len(str(one.place.line if one.place else one.at or 0)) + 1
    bar = f"{' ' * margin}|"
    lines = [f"error[{one.kind}]: {one.title}", f"{' ' * (margin - 1)}--> {_where(one)}", bar]
    lines += _source(one, margin)
    for value in one.values:
        origin = f" ({value.origin})" if value.origin else ""
        lines += _wrapped(f"{bar} ", f"r{value.register}: {value.text}{origin}", width)
    if one.values:
        lines.append(bar)
    head = f"{' ' * margin}= "
    lines += _path(head, one.path, width)
    lines += _wrapped(f"{head}why: ", one.why, width)
    for note in one.notes:
        lines += _wrapped(f"{head}note: ", note, width)
    if one.todo:
        lines += _wrapped(f"{head}do: ", one.todo, width)
    for number, line in enumerate(one.kernel.splitlines()):
        lines.append(f"{f'{head}kernel: ' if number == 0 else ' ' * len(f'{head}kernel: ')}{line}")
    return "\n".join(line.rstrip() for line in lines)


def _where(one: Explanation) -> str:
    inside = f"program {one.program}" + (f", function {one.function}" if one.function else "")
    at = "" if one.at is None else f", instruction {one.at}"
    if one.place is None:
        return f"{inside}{at}"
    column = f":{one.place.column}" if one.place.column else ""
    return f"{one.place.file}:{one.place.line}{column}, {inside}{at}"


def _source(one: Explanation, margin: int) -> Iterator[str]:
    """The line of the source with a caret below the place; the instruction, if there is no source."""
    place = one.place
    if place is None or not place.source.strip():
        if one.instruction:
            yield f"{one.at:>{margin - 1}} | {one.instruction}"
            yield f"{' ' * margin}| {'^' * len(one.instruction)}"
        return
    yield f"{place.line:>{margin - 1}} | {place.source.expandtabs(4).rstrip()}"
    yield f"{' ' * margin}| {_caret(place)}"


def _caret(place: Place) -> str:
    """Below the word at the column, or the whole line if there is no column."""
    text = place.source
    start = place.column - 1 if place.column else len(text) - len(text.lstrip())
    before = len(text[:start].expandtabs(4))
    if not place.column:
        return f"{' ' * before}{'^' * len(text.strip())}"
    found = _WORD.match(text, start)
    return f"{' ' * before}{'^' * (len(found[0]) if found else 1)}"


def _path(head: str, turns: Sequence[Turn], width: int) -> Iterator[str]:
    if not turns:
        return
    left_out = len(turns) - _MOST_TURNS
    told = [turn.text for turn in turns[-_MOST_TURNS:]]
    if left_out > 0:
        told.insert(0, f"… {left_out} more before")
    yield from _wrapped(f"{head}path: ", told[0], width)
    after = " " * len(f"{head}path: ")
    for text in told[1:]:
        yield from _wrapped(after, text, width)


def _wrapped(head: str, text: str, width: int) -> list[str]:
    after = head if head.rstrip().endswith("|") else " " * len(head)
    return textwrap.wrap(
        text, width, initial_indent=head, subsequent_indent=after, break_long_words=False, break_on_hyphens=False
    )


def explanation_data(one: Explanation) -> dict[str, Any]:
    """The same for programs: what `--json` prints."""
    return asdict(one)
