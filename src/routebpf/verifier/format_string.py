"""Format strings of bpf_snprintf(): may this one be used with so many values?

kernel: kernel/bpf/helpers.c, bpf_bprintf_prepare().
"""

from __future__ import annotations

import re

# A text, and a pointer without a kind, end the format or have a space or punctuation behind them, as the kernel's own
# table of Latin-1 has these.
_END = rb"(?=$|[\t-\r -/:-@\[-`{-~\xa0-\xbf\xd7\xf7])"
_DIRECTIVE = re.compile(
    rb"%(?:(?P<percent>%)|[0 \-+]*\d*(?:p(?:[ku]s" + _END + rb"|[iI][46]|[KxBsS]|" + _END + rb")"
    rb"|s" + _END + rb"|c|(?:ll|l)?[diuxX]))",
    re.DOTALL,
)


def problem(text: bytes, values: int) -> str:
    """Why the format cannot be used with `values` values, "" if it can. More values than it takes are no problem; more
    than 12 make the call fail."""
    if any(byte < 0x80 and not (0x20 <= byte < 0x7F or byte in b"\t\n\v\f\r") for byte in text):
        return "The format holds a control character."
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
    return ""
