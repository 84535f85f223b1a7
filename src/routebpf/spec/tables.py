"""The tables as plain values, to print or for JSON: one dictionary a row, the same keys in every row of a table."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

from routebpf.spec.context import CONTEXT_FIELDS, ContextField, access_sizes
from routebpf.spec.helper_row import Helper
from routebpf.spec.helpers import HELPERS
from routebpf.spec.kfunc_row import Kfunc
from routebpf.spec.kfunc_rows import ROWS as KFUNC_ROWS
from routebpf.spec.map_types import MAP_TYPES, MapType
from routebpf.spec.program_types import PROGRAM_TYPES, RETURN_CODES, ProgramType, ReturnCode


def rows(table: str) -> list[dict[str, object]]:
    """The rows of a table: "context", "helpers", "kfuncs", "maps", "program_types" or "return_codes".

    Values are strings, integers, booleans, None and lists of these; sizes and offsets in bytes, versions as "X.Y".
    Helpers are those that some LWT program has. Raises KeyError for another table.
    """
    return list(_TABLES[table]())


def _context(field: ContextField) -> dict[str, object]:
    return {
        "name": field.name,
        "type": field.c_type,
        "offset": field.offset,
        "size": field.size,
        "read": access_sizes(field, is_write=False),
        "write": access_sizes(field, is_write=True),
        "register": field.register.value if field.read else None,
        "doc": field.doc,
    }


def _helper(row: Helper) -> dict[str, object]:
    return {
        "id": row.id,
        "name": row.name,
        "prototype": row.prototype,
        "arguments": [str(one.type) for one in row.arguments],
        "returns": str(row.returns),
        "program_types": sorted(row.program_types),
        "gpl_only": row.gpl_only,
        "capability": row.capability or None,
        "since": _version(row.lwt_since or row.since),
        "moves_packet": row.moves_packet,
        "might_sleep": row.might_sleep,
        "doc": row.doc,
    }


def _kfunc(row: Kfunc) -> dict[str, object]:
    return {
        "name": row.name,
        "prototype": row.prototype,
        "arguments": [one.kind.name for one in row.arguments],
        "flags": [flag.name for flag in type(row.flags) if flag in row.flags],
        "program_types": sorted(row.program_types),
        "since": _version(row.since),
        "might_sleep": row.might_sleep,
        "doc": row.doc,
    }


def _map_type(row: MapType) -> dict[str, object]:
    return {
        "number": row.number,
        "name": row.name,
        "key_size": row.key_size,
        "value_size": row.value_size,
        "max_entries": row.max_entries,
        "per_cpu": row.is_per_cpu,
        "holds": row.holds or None,
        "direct_value": row.direct_value,
        "helpers": [f"bpf_{one}" for one in row.helpers],
        "since": _version(row.since),
        "doc": row.doc,
    }


def _program_type(row: ProgramType) -> dict[str, object]:
    return {
        "name": row.name,
        "number": row.number,
        "section": row.section,
        "since": _version(row.since),
        "doc": row.doc,
    }


def _return_code(row: ReturnCode) -> dict[str, object]:
    return {
        "name": row.name,
        "number": row.number,
        "program_types": sorted(row.program_types),
        "since": _version(row.since),
        "doc": row.doc,
    }


def _version(version: tuple[int, int]) -> str:
    return f"{version[0]}.{version[1]}"


_TABLES: Mapping[str, Callable[[], Iterable[dict[str, object]]]] = {
    "context": lambda: map(_context, CONTEXT_FIELDS),
    "helpers": lambda: (_helper(row) for row in HELPERS if row.program_types),
    "kfuncs": lambda: map(_kfunc, KFUNC_ROWS),
    "maps": lambda: map(_map_type, MAP_TYPES),
    "program_types": lambda: map(_program_type, PROGRAM_TYPES),
    "return_codes": lambda: map(_return_code, RETURN_CODES),
}
TABLES: tuple[str, ...] = tuple(_TABLES)
