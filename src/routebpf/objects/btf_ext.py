"""Reading .BTF.ext: which function, source line and CO-RE relocation belongs to which instruction.

Kernel: Documentation/bpf/btf.rst, ".BTF.ext section". Instruction offsets are turned into instruction indices.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import NamedTuple

from routebpf.errors import InputError
from routebpf.objects.btf import MAGIC, Btf

_HEADER = struct.Struct("<HBBIIIII")
_CORE_HEADER = struct.Struct("<II")
_SECTION = struct.Struct("<II")


class FuncInfo(NamedTuple):
    """The function that starts at `instruction`; `type_id` is a FUNC."""

    instruction: int
    type_id: int


class LineRecord(NamedTuple):
    """Offsets are into the BTF's strings; `column` counts from 1."""

    instruction: int
    file_offset: int
    text_offset: int
    line: int
    column: int


class CoreRelocation(NamedTuple):
    """`instruction` depends on `access` (such as "0:1:2") into the local type `type_id`; `kind` is BPF_CORE_*."""

    instruction: int
    type_id: int
    access: str
    kind: int


class BtfExt(NamedTuple):
    """Records by the name of the section whose instructions they are about."""

    functions: dict[str, tuple[FuncInfo, ...]]
    lines: dict[str, tuple[LineRecord, ...]]
    relocations: dict[str, tuple[CoreRelocation, ...]]


def read_btf_ext(data: bytes, btf: Btf, where: str) -> BtfExt:
    """Read a .BTF.ext section whose types and strings are in `btf`. Raises InputError where it is not well-formed."""
    if len(data) < _HEADER.size:
        raise InputError(f"{where}: cut short: {len(data)} bytes, its header takes {_HEADER.size}")
    magic, version, _flags, header_bytes, func_at, func_bytes, line_at, line_bytes = _HEADER.unpack_from(data)
    if magic != MAGIC:
        raise InputError(f"{where}: it starts with 0x{magic:04x}, not 0x{MAGIC:04x}")
    if version != 1:
        raise InputError(f"{where}: version {version} is not known, only 1")
    core_at = core_bytes = 0
    if header_bytes >= _HEADER.size + _CORE_HEADER.size and len(data) >= _HEADER.size + _CORE_HEADER.size:
        core_at, core_bytes = _CORE_HEADER.unpack_from(data, _HEADER.size)

    def records(what: str, at: int, size: int, form: str) -> Iterator[tuple[str, tuple[int, ...]]]:
        start = header_bytes + at
        if start + size > len(data):
            raise InputError(f"{where}: cut short: its {what} end at byte {start + size}, it has {len(data)}")
        return _records(data[start : start + size], struct.Struct(form), btf, f"{where}: {what}")

    functions: dict[str, list[FuncInfo]] = {}
    for section, (offset, type_id) in records("functions", func_at, func_bytes, "<II"):
        functions.setdefault(section, []).append(FuncInfo(offset // 8, type_id))
    lines: dict[str, list[LineRecord]] = {}
    for section, (offset, file, text, place) in records("lines", line_at, line_bytes, "<IIII"):
        lines.setdefault(section, []).append(LineRecord(offset // 8, file, text, place >> 10, place & 0x3FF))
    cores: dict[str, list[CoreRelocation]] = {}
    for section, (offset, type_id, access, kind) in records("relocations", core_at, core_bytes, "<IIII"):
        cores.setdefault(section, []).append(CoreRelocation(offset // 8, type_id, btf.string(access), kind))
    return BtfExt(
        {section: tuple(sorted(found)) for section, found in functions.items()},
        {section: tuple(sorted(found)) for section, found in lines.items()},
        {section: tuple(sorted(found)) for section, found in cores.items()},
    )


def _records(data: bytes, record: struct.Struct, btf: Btf, what: str) -> Iterator[tuple[str, tuple[int, ...]]]:
    """Records of one kind, each with the name of its section. The rest of longer, newer records is skipped."""
    if not data:
        return
    if len(data) < 4:
        raise InputError(f"{what}: cut short: {len(data)} bytes")
    (record_bytes,) = struct.unpack_from("<I", data)
    if record_bytes < record.size or record_bytes % 4:
        raise InputError(f"{what}: records of {record_bytes} bytes, at least {record.size} are needed")
    at = 4
    while at < len(data):
        if at + _SECTION.size > len(data):
            raise InputError(f"{what}: cut short at byte {at} of {len(data)}")
        name_offset, count = _SECTION.unpack_from(data, at)
        at += _SECTION.size
        if at + count * record_bytes > len(data):
            raise InputError(f"{what}: cut short: {count} records at byte {at} of {len(data)}")
        section = btf.string(name_offset)
        for _ in range(count):
            yield section, record.unpack_from(data, at)
            at += record_bytes
