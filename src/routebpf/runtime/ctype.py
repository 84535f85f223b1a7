"""Kinds of characters, one byte each, as the kernel has them: ASCII and Latin-1. kernel: lib/ctype.c."""

from __future__ import annotations

from routebpf.runtime.native import native

_MULTIPLICATION, _DIVISION = 0xD7, 0xF7  # the signs, amid the letters


@native
def is_space(character: int) -> int:
    """kernel: isspace()."""
    return 1 if 9 <= character <= 13 or character == 0x20 or character == 0xA0 else 0


@native
def is_digit(character: int) -> int:
    """kernel: isdigit()."""
    return 1 if 0x30 <= character <= 0x39 else 0


@native
def is_letter(character: int) -> int:
    """kernel: isalpha()."""
    if character >= 0xC0:
        return 1 if character != _MULTIPLICATION and character != _DIVISION else 0
    return 1 if 0x61 <= (character | 0x20) <= 0x7A and character < 0x80 else 0


@native
def is_punctuation(character: int) -> int:
    """kernel: ispunct()."""
    if character >= 0x80:
        return 1 if character > 0xA0 and not is_letter(character) else 0
    return 1 if 0x20 < character < 0x7F and not is_letter(character) and not is_digit(character) else 0
