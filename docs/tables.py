"""The tables of the documentation that are made from the code's own: `<!-- table NAME -->` in a page."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence

from routebpf.datapath.verdicts import REASONS
from routebpf.runtime.maps import has_map_type
from routebpf.runtime.registry import is_implemented
from routebpf.spec.tables import rows


def table(name: str) -> str:
    """A table as Markdown. Raises KeyError for a name that there is not."""
    return _TABLES[name]()


def _markdown(columns: Sequence[str], lines: Iterable[Sequence[object]]) -> str:
    head = f"| {' | '.join(columns)} |\n|{'---|' * len(columns)}\n"
    return head + "".join(f"| {' | '.join(_cell(one) for one in line)} |\n" for line in lines)


def _cell(value: object) -> str:
    if isinstance(value, bool):
        return "yes" if value else ""
    if isinstance(value, list | tuple):
        return ", ".join(str(one) for one in value)
    return "" if value is None else str(value).replace("|", "\\|")


def _code(text: object) -> str:
    return f"`{text}`"


def _types(names: object) -> str:
    assert isinstance(names, list)
    return "all" if len(names) == 3 else ", ".join(str(one).removeprefix("LWT_") for one in names)


def _context() -> str:
    lines = (
        (_code(row["name"]), row["type"], row["offset"], row["read"], row["write"], row["doc"])
        for row in rows("context")
    )
    return _markdown(("field", "type", "offset", "read", "write", "what it is"), lines)


def _helpers() -> str:
    return _markdown(
        ("id", "prototype", "types", "GPL", "since", "embedded", "what it does"),
        (
            (
                row["id"],
                _code(row["prototype"]),
                _types(row["program_types"]),
                row["gpl_only"],
                row["since"],
                is_implemented(str(row["name"])),
                row["doc"],
            )
            for row in rows("helpers")
        ),
    )


def _kfuncs() -> str:
    return _markdown(
        ("prototype", "types", "since", "embedded", "what it does"),
        (
            (
                _code(row["prototype"]),
                _types(row["program_types"]),
                row["since"],
                is_implemented(str(row["name"])),
                row["doc"],
            )
            for row in rows("kfuncs")
        ),
    )


def _maps() -> str:
    return _markdown(
        ("number", "type", "since", "embedded", "helpers", "what it is"),
        (
            (
                row["number"],
                _code(row["name"]),
                row["since"],
                has_map_type(int(str(row["number"]))),
                [_code(one) for one in row["helpers"]],  # type: ignore[attr-defined]
                row["doc"],
            )
            for row in rows("maps")
        ),
    )


def _program_types() -> str:
    lines = ((_code(row["name"]), _code(row["section"]), row["since"], row["doc"]) for row in rows("program_types"))
    return _markdown(("program type", "section", "since", "where it runs"), lines)


def _return_codes() -> str:
    return _markdown(
        ("returned", "number", "types", "since", "what happens"),
        (
            (_code(row["name"]), row["number"], _types(row["program_types"]), row["since"], row["doc"])
            for row in rows("return_codes")
        ),
    )


def _reasons() -> str:
    return _markdown(
        ("verdict", "reason", "errno", "what it says"),
        (
            (
                one.verdict.name.lower(),
                _code(one.name),
                _errno_name(one.errno),
                one.text,
            )
            for one in sorted(REASONS, key=lambda one: (one.verdict, one.code))
        ),
    )


def _errno_name(number: int) -> str:
    import errno

    return errno.errorcode[number] if number else ""


_TABLES: Mapping[str, Callable[[], str]] = {
    "context": _context,
    "helpers": _helpers,
    "kfuncs": _kfuncs,
    "maps": _maps,
    "program_types": _program_types,
    "reasons": _reasons,
    "return_codes": _return_codes,
}
