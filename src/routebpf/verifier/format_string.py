"""Format strings of bpf_snprintf(): may this one be used with so many values?

kernel: kernel/bpf/helpers.c, bpf_bprintf_prepare().
"""

from __future__ import annotations

import re

_MOST_VALUES = 12
_DIRECTIVE = re.compile(
    rb"%(?:(?P<percent>%)|(?P<flags>[0 \-+#]*)(?P<width>\d*)"
    rb"(?P<kind>p(?:[ku]s|[iI][46]|[KxB]|[sS])?|s|c|(?:ll|l)?[dioxXu]))"
)


def problem(text: bytes, values: int) -> str:
    """Why the format cannot be used with `values` values, "" if it can."""
    if values > _MOST_VALUES:
        return f"At most {_MOST_VALUES} values can be formatted."
    if any(not (0x20 <= byte < 0x7F or byte in b"\t\n\v\f\r") for byte in text):
        return "The format holds a character that is not printable ASCII."
    used = 0
    at = 0
    while (at := text.find(b"%", at)) >= 0:
        found = _DIRECTIVE.match(text, at)
        if found is None:
            return f"The format has a directive that is not known at byte {at}."
        at = found.end()
        if not found["percent"]:
            if used >= values:
                return f"The format takes more than the {values} values passed."
            used += 1
    if used != values:
        return f"The format takes {used} values, {values} are passed."
    return ""
