"""The words of one line of a topology file: a cursor over them, the keywords they may be, and errors that point at
them.

iproute2 matches some keywords whole and lets others be abbreviated to any prefix; where two fit, the one that its
parser asks for first wins. A `Keywords` table is that order as data: every spelling that is understood, computed
once.
"""

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Generic, TypeVar

from routebpf.errors import InputError
from routebpf.hosts.device_names import is_device_name

T = TypeVar("T")

Draft = dict[str, Any]
"""The fields of a command while its line is read."""

_UNSIGNED = re.compile(r"[ \t\n\v\f\r]*\+?(?:0[xX]([0-9a-fA-F]+)|0([0-7]*)|([1-9][0-9]*))")
_HEXADECIMAL = re.compile(r"[ \t\n\v\f\r]*\+?(?:0[xX])?([0-9a-fA-F]+)")
_MOST_DIGITS = 64
_LONGEST_SHOWN = 60
_SHOWN_BEFORE, _SHOWN_AFTER = 12, 6


class Keywords(Generic[T]):
    """What each keyword of a context means.

    A row is `"NAME NAME": meaning`, in the order in which iproute2's parser asks; `NAME*` may be abbreviated to any
    prefix of it.
    """

    __slots__ = ("names", "table")

    def __init__(self, rows: Mapping[str, T]) -> None:
        self.table: dict[str, T] = {}
        self.names: list[str] = []
        for spellings, meaning in rows.items():
            for spelling in spellings.split():
                name = spelling.rstrip("*")
                self.names.append(name)
                for length in range(1 if spelling.endswith("*") else len(name), len(name) + 1):
                    self.table.setdefault(name[:length], meaning)

    def get(self, word: str) -> T | None:
        """What `word` means here; None when it is no keyword."""
        return self.table.get(word)

    def whole(self, word: str) -> str:
        """The keyword that `word` is or is short for."""
        return next(name for name in self.names if name.startswith(word) and self.table[name] is self.table[word])


class Words:
    """A cursor over the words of a line, on word number `at`. An error starts with `doing` and ends with `note`."""

    __slots__ = ("at", "doing", "line", "note", "where", "words")

    def __init__(self, words: Sequence[str], where: str, line: int = 0, doing: str = "") -> None:
        self.words = words
        self.where = where
        self.line = line
        self.doing = doing
        self.note = ""
        self.at = 0

    @property
    def more(self) -> bool:
        """Whether a word is left under the cursor."""
        return self.at < len(self.words)

    @property
    def word(self) -> str:
        """The word under the cursor."""
        return self.words[self.at]

    def argument(self, of: str) -> str:
        """Moves on to the next word, the value that follows a keyword, and returns it."""
        self.at += 1
        if self.at >= len(self.words):
            raise self.error(f"the line ends where {of} was expected")
        return self.words[self.at]

    def error(self, problem: str, near: Iterable[str] = ()) -> InputError:
        """An error at the word under the cursor. `near`: the words that were understood there, to suggest one."""
        shown = [_shown(word) for word in self.words]
        place = f"{self.where}:{self.line}: " if self.line else f"{self.where}: "
        doing = f"{self.doing}: " if self.doing else ""
        suggestion = self._suggestion(near)
        first = max(0, self.at - _SHOWN_BEFORE)
        before = " ".join((["…"] if first else []) + shown[first : self.at])
        text = " ".join(([before] if before else []) + shown[self.at : self.at + _SHOWN_AFTER])
        start = len(before) + 1 if before else 0
        width = len(shown[self.at]) if self.more else 1
        return InputError(
            f"{place}{doing}{problem}{suggestion}{self.note}\n    {text}\n    {' ' * start}{'^' * max(1, width)}"
        )

    def refuse(self, expected: str, near: Iterable[str] = ()) -> InputError:
        """An error that says that the word under the cursor is not what was expected there."""
        if not self.more:
            return self.error(f"the line ends where {expected} was expected")
        return self.error(f'expected {expected}, not "{_shown(self.word)}"', near)

    def _suggestion(self, near: Iterable[str]) -> str:
        if not self.more:
            return ""
        import difflib  # only errors need it, and it costs milliseconds

        close = difflib.get_close_matches(self.word[:_LONGEST_SHOWN], list(near), n=1)
        return f'; did you mean "{close[0]}"?' if close else ""


def _shown(word: str) -> str:
    cut = word if len(word) <= _LONGEST_SHOWN else word[: _LONGEST_SHOWN - 1] + "…"
    printable = "".join(c if c.isprintable() else ascii(c)[1:-1] for c in cut)
    return printable or '""'


def unsigned(word: str, base: int = 0) -> int | None:
    """What C's strtoul reads in all of `word`: decimal, 0x…, or octal after a leading 0. None: no such number."""
    if word.isdigit() and word.isascii() and len(word) < _MOST_DIGITS and base == 0 and (word[0] != "0" or word == "0"):
        return int(word)
    match = (_UNSIGNED if base == 0 else _HEXADECIMAL).fullmatch(word)
    if match is None or len(word) > _MOST_DIGITS:
        return None
    if base == 16:
        return int(match[1], 16)
    hexadecimal, octal, decimal = match.groups()
    if hexadecimal is not None:
        return int(hexadecimal, 16)
    return int(octal or "0", 8) if octal is not None else int(decimal)


def number(words: Words, of: str, maximum: int = 0xFFFFFFFF, minimum: int = 0) -> int:
    """The next word as a number from `minimum` to `maximum`."""
    value = unsigned(words.argument(of))
    if value is None or not minimum <= value <= maximum:
        raise words.refuse(f"{of}, a number from {minimum} to {maximum}")
    return value


def choice(words: Words, of: str, choices: Keywords[T]) -> T:
    """The next word as one of `choices`."""
    meaning = choices.get(words.argument(of))
    if meaning is None:
        raise words.refuse(f"{of}, one of {', '.join(choices.names)}", choices.names)
    return meaning


_ON_OFF = Keywords({"on": 1, "off": 2})


def on_off(words: Words, of: str) -> bool:
    """The next word as `on` or `off`."""
    return choice(words, of, _ON_OFF) == 1


Option = Callable[[Draft, Words], None]
"""Reads what follows a keyword into the draft. The cursor: on the keyword before, on the last word read after."""


def take_number(field: str, of: str, maximum: int = 0xFFFFFFFF, minimum: int = 0) -> Option:
    """An option whose value is a number, for `field` of the draft."""

    def option(draft: Draft, words: Words) -> None:
        draft[field] = number(words, of, maximum, minimum)

    return option


def take_word(field: str, of: str) -> Option:
    """An option whose value is any word, for `field` of the draft."""

    def option(draft: Draft, words: Words) -> None:
        draft[field] = words.argument(of)

    return option


def take_constant(field: str, value: object) -> Option:
    """An option without a value: `field` of the draft becomes `value`."""

    def option(draft: Draft, words: Words) -> None:  # noqa: ARG001
        draft[field] = value

    return option


def refused(why: str) -> Option:
    """An option that iproute2 has and a topology has not."""

    def option(draft: Draft, words: Words) -> None:  # noqa: ARG001
        raise words.error(f'"{_shown(words.word)}" is not part of a topology: {why}')

    return option


def is_help(word: str) -> bool:
    """Whether iproute2 takes `word` for a request for help, which any prefix of it is."""
    return word != "" and "help".startswith(word)


def device_name_here(words: Words) -> str:
    """The word under the cursor as the name of a new device (kernel: net/core/dev.c, dev_valid_name)."""
    word = words.word
    if not is_device_name(word):
        raise words.refuse('a device name, of 1 to 15 characters without "/", ":" and spaces')
    return word
