"""Reading BTF: the types of an object or of a kernel (kernel: Documentation/bpf/btf.rst).

Opening only finds where each type starts (0.1 s for the 150,000 of a kernel); a type becomes a value when asked for.
"""

from __future__ import annotations

import os
import struct
from array import array
from collections.abc import Iterator, Mapping

from routebpf.errors import InputError
from routebpf.objects.btf_types import (
    Array,
    BtfType,
    Composite,
    Datasec,
    DeclTag,
    Enum,
    Float,
    Func,
    FuncProto,
    Fwd,
    Int,
    Kind,
    Member,
    Parameter,
    Ptr,
    Qualifier,
    SectionVariable,
    Typedef,
    Var,
    Void,
)

MAGIC = 0xEB9F
_HEADER = struct.Struct("<HBBIIIII")
_TYPE = struct.Struct("<III")
_MAX_CHAIN = 64  # of typedefs, qualifiers and array dimensions; the kernel's MAX_RESOLVE_DEPTH is 32

# Bytes of a type: the first 12, what the kind adds, and what each of its `vlen` items takes.
_FIXED_BYTES = {
    Kind.INT: 16, Kind.PTR: 12, Kind.ARRAY: 24, Kind.STRUCT: 12, Kind.UNION: 12, Kind.ENUM: 12, Kind.FWD: 12,
    Kind.TYPEDEF: 12, Kind.VOLATILE: 12, Kind.CONST: 12, Kind.RESTRICT: 12, Kind.FUNC: 12, Kind.FUNC_PROTO: 12,
    Kind.VAR: 16, Kind.DATASEC: 12, Kind.FLOAT: 12, Kind.DECL_TAG: 16, Kind.TYPE_TAG: 12, Kind.ENUM64: 12,
}  # fmt: skip
_ITEM_BYTES = {
    Kind.STRUCT: 12, Kind.UNION: 12, Kind.ENUM: 8, Kind.FUNC_PROTO: 8, Kind.DATASEC: 12, Kind.ENUM64: 12,
}  # fmt: skip
_FIXED_BY_KIND = tuple(_FIXED_BYTES.get(Kind(kind), 0) if kind <= Kind.ENUM64 else 0 for kind in range(32))
_ITEM_BY_KIND = tuple(_ITEM_BYTES.get(Kind(kind), 0) if kind <= Kind.ENUM64 else 0 for kind in range(32))

_VOID = Void()


class Btf:
    """The types in one BTF blob. Ids count from 1; 0 is void. Split BTF (of a kernel module) goes on where `base` ends.

    `where` names the blob in messages. Raises InputError for anything that is not well-formed, at opening where
    headers, sizes and kinds are concerned, and at the use of a type where its own content is.
    """

    def __init__(self, data: bytes, *, where: str = "BTF", base: Btf | None = None) -> None:
        self.data = data
        self.where = where
        self.base = base
        self._first_id = len(base) if base else 1
        self._first_string: int = base.end_of_strings if base else 0
        self._types, self._strings = self._split_blob()
        self._starts = array("I")
        self._names = array("I")
        self._index()
        self._known: dict[int, BtfType] = {}
        self._ids_by_name_offset: dict[int, list[int]] | None = None

    def __len__(self) -> int:
        """One more than the highest type id."""
        return self._first_id + len(self._starts)

    def _split_blob(self) -> tuple[memoryview, bytes]:
        data = self.data
        if len(data) < _HEADER.size:
            raise InputError(f"{self.where}: cut short: {len(data)} bytes, a BTF header takes {_HEADER.size}")
        magic, version, _flags, header_bytes, type_at, type_bytes, string_at, string_bytes = _HEADER.unpack_from(data)
        if magic == 0x9FEB:
            raise InputError(f"{self.where}: big-endian BTF; compile with -target bpfel")
        if magic != MAGIC:
            raise InputError(f"{self.where}: not BTF: it starts with 0x{magic:04x}, not 0x{MAGIC:04x}")
        if version != 1:
            raise InputError(f"{self.where}: BTF version {version} is not known, only 1")
        if header_bytes < _HEADER.size:
            raise InputError(f"{self.where}: the header says it takes {header_bytes} bytes, less than {_HEADER.size}")
        for what, at, size in (("types", type_at, type_bytes), ("strings", string_at, string_bytes)):
            if header_bytes + at + size > len(data):
                raise InputError(
                    f"{self.where}: cut short: its {what} end at byte {header_bytes + at + size}, it has {len(data)}"
                )
        strings = data[header_bytes + string_at : header_bytes + string_at + string_bytes]
        if strings[-1:] != b"\0" or (self.base is None and strings[:1] != b"\0"):
            raise InputError(f"{self.where}: its strings do not start and end with a zero byte")
        types_at = header_bytes + type_at
        return memoryview(data)[types_at : types_at + type_bytes], strings

    def _index(self) -> None:
        types, end, at = self._types, len(self._types), 0
        add_start, add_name, unpack = self._starts.append, self._names.append, _TYPE.unpack_from
        fixed_by_kind, item_by_kind = _FIXED_BY_KIND, _ITEM_BY_KIND
        while at + 12 <= end:
            name, info, _ = unpack(types, at)
            kind = info >> 24 & 0x1F
            fixed = fixed_by_kind[kind]
            if not fixed:
                raise InputError(f"{self.where}: type {len(self)} has kind {kind}, which is not known")
            add_start(at)
            add_name(name)
            at += fixed + item_by_kind[kind] * (info & 0xFFFF)
        if at != end:
            raise InputError(f"{self.where}: cut short: type {len(self) - 1} ends at byte {at} of {end} of types")

    def string(self, offset: int) -> str:
        """The string at `offset` of the string section, "" for 0."""
        if offset < self._first_string and self.base is not None:
            return self.base.string(offset)
        start = offset - self._first_string
        if start >= len(self._strings) or start < 0:
            raise InputError(f"{self.where}: string offset {offset} is outside the strings")
        return self._strings[start : self._strings.index(0, start)].decode(errors="replace")

    def type(self, type_id: int) -> BtfType:
        """The type with this id."""
        found = self._known.get(type_id)
        if found is None:
            found = self._known[type_id] = self._read(type_id)
        return found

    def types(self) -> Iterator[tuple[int, BtfType]]:
        """Every type but void, with its id; the base's not among them."""
        for type_id in range(self._first_id, len(self)):
            yield type_id, self.type(type_id)

    def datasecs(self) -> Iterator[tuple[int, Datasec]]:
        """Every DATASEC, with its id."""
        for type_id in self.ids_of(Kind.DATASEC):
            found = self.type(type_id)
            assert isinstance(found, Datasec)
            yield type_id, found

    def ids_of(self, kind: Kind) -> Iterator[int]:
        """The ids of all types of a kind; the base's not among them, and no others are read."""
        return (type_id for type_id in range(self._first_id, len(self)) if self.kind(type_id) is kind)

    def raw(self, type_id: int) -> bytes:
        """The bytes of one type of this blob, as `struct btf_type` and what follows it."""
        start = self._start(type_id)
        position = type_id - self._first_id + 1
        end = self._starts[position] if position < len(self._starts) else len(self._types)
        return bytes(self._types[start:end])

    def rebuilt(self, changed: Mapping[int, bytes], types: bytes = b"", strings: bytes = b"") -> bytes:
        """This blob with the bytes of some types changed, and more types and strings after its own."""
        magic, version, flags, *_ = _HEADER.unpack_from(self.data)
        pieces: list[bytes | memoryview] = []
        done = 0
        for type_id, content in sorted(changed.items()):
            start = self._start(type_id)
            pieces += [self._types[done:start], content]
            done = start + len(self.raw(type_id))
        all_types = b"".join([*pieces, self._types[done:], types])
        all_strings = self._strings + strings
        header = _HEADER.pack(magic, version, flags, _HEADER.size, 0, len(all_types), len(all_types), len(all_strings))
        return header + all_types + all_strings

    @property
    def end_of_strings(self) -> int:
        """The offset that a string added after all others has."""
        return self._first_string + len(self._strings)

    def kind(self, type_id: int) -> Kind:
        """The kind of a type, without reading the rest of it."""
        if type_id == 0:
            return Kind.VOID
        if self.base is not None and type_id < self._first_id:
            return self.base.kind(type_id)
        return Kind(_TYPE.unpack_from(self._types, self._start(type_id))[1] >> 24 & 0x1F)

    def name(self, type_id: int) -> str:
        """The name of a type, "" if it has none, without reading the rest of it."""
        if type_id == 0:
            return ""
        if self.base is not None and type_id < self._first_id:
            return self.base.name(type_id)
        self._start(type_id)
        return self.string(self._names[type_id - self._first_id])

    def _start(self, type_id: int) -> int:
        if not self._first_id <= type_id < len(self):
            raise InputError(f"{self.where}: no type {type_id}; the highest is {len(self) - 1}")
        return self._starts[type_id - self._first_id]

    def _read(self, type_id: int) -> BtfType:
        if type_id == 0:
            return _VOID
        if self.base is not None and type_id < self._first_id:
            return self.base.type(type_id)
        start = self._start(type_id)
        name_offset, info, last = _TYPE.unpack_from(self._types, start)
        kind, count, flag = Kind(info >> 24 & 0x1F), info & 0xFFFF, bool(info >> 31)
        name = self.string(name_offset)
        after = start + 12
        match kind:
            case Kind.INT:
                return _read_int(name, last, struct.unpack_from("<I", self._types, after)[0])
            case Kind.PTR:
                return Ptr(last)
            case Kind.ARRAY:
                return Array(*struct.unpack_from("<III", self._types, after))
            case Kind.STRUCT | Kind.UNION:
                return Composite(kind, name, last, self._members(after, count, has_bitfields=flag))
            case Kind.ENUM | Kind.ENUM64:
                return Enum(kind, name, last, flag, self._enum_values(kind, after, count, flag))
            case Kind.FWD:
                return Fwd(name, flag)
            case Kind.TYPEDEF:
                return Typedef(name, last)
            case Kind.FUNC:
                return Func(name, last, count)
            case Kind.FUNC_PROTO:
                pairs = struct.iter_unpack("<II", self._types[after : after + 8 * count])
                return FuncProto(last, tuple(Parameter(self.string(at), parameter) for at, parameter in pairs))
            case Kind.VAR:
                return Var(name, last, struct.unpack_from("<I", self._types, after)[0])
            case Kind.DATASEC:
                variables = struct.iter_unpack("<III", self._types[after : after + 12 * count])
                return Datasec(name, last, tuple(SectionVariable(*variable) for variable in variables))
            case Kind.FLOAT:
                return Float(name, last)
            case Kind.DECL_TAG:
                return DeclTag(name, last, struct.unpack_from("<i", self._types, after)[0])
            case _:
                return Qualifier(kind, name, last)

    def _members(self, after: int, count: int, *, has_bitfields: bool) -> tuple[Member, ...]:
        members = []
        for name, type_id, offset in struct.iter_unpack("<III", self._types[after : after + 12 * count]):
            bits = offset >> 24 if has_bitfields else 0
            members.append(Member(self.string(name), type_id, offset & 0xFFFFFF if has_bitfields else offset, bits))
        return tuple(members)

    def _enum_values(self, kind: Kind, after: int, count: int, signed: bool) -> tuple[tuple[str, int], ...]:
        if kind is Kind.ENUM:
            pairs = struct.iter_unpack("<Ii" if signed else "<II", self._types[after : after + 8 * count])
            return tuple((self.string(name), value) for name, value in pairs)
        triples = struct.iter_unpack("<III", self._types[after : after + 12 * count])
        wide = ((self.string(name), low | high << 32) for name, low, high in triples)
        return tuple((name, value - (1 << 64) if signed and value >> 63 else value) for name, value in wide)

    def find(self, name: str, *kinds: Kind) -> int | None:
        """The id of the first type of this name and one of these kinds (any, if none is given), or None."""
        for type_id in self.find_all(name):
            if not kinds or self.kind(type_id) in kinds:
                return type_id
        return None

    def find_all(self, name: str) -> list[int]:
        """The ids of all types of this name, in order."""
        return self._ids_named(self._offsets_of(name.encode() + b"\0"))

    def find_flavors(self, name: str) -> list[int]:
        """The ids of all types called `name` or `name___…`: the essential name that CO-RE compares."""
        text = name.encode()
        return self._ids_named(self._offsets_of(text + b"\0") + self._offsets_of(text + b"___"))

    def _offsets_of(self, text: bytes) -> list[int]:
        """Where `text` stands in the strings. A hit inside a longer string counts: strings may share their tails."""
        offsets = self.base._offsets_of(text) if self.base else []
        at = self._strings.find(text)
        while at >= 0:
            offsets.append(self._first_string + at)
            at = self._strings.find(text, at + 1)
        return offsets

    def _ids_named(self, offsets: list[int]) -> list[int]:
        found = self.base._ids_named(offsets) if self.base else []
        if self._ids_by_name_offset is None:
            self._ids_by_name_offset = {}
            for type_id, offset in enumerate(self._names, self._first_id):
                if offset:
                    self._ids_by_name_offset.setdefault(offset, []).append(type_id)
        found.extend(sorted(type_id for at in offsets for type_id in self._ids_by_name_offset.get(at, ())))
        return found

    def strip(self, type_id: int) -> tuple[int, BtfType]:
        """The type behind all typedefs, qualifiers and type tags, with its id."""
        for _ in range(_MAX_CHAIN):
            found = self.type(type_id)
            if not isinstance(found, Typedef | Qualifier):
                return type_id, found
            type_id = found.type_id
        raise InputError(f"{self.where}: type {type_id} is a chain of typedefs and qualifiers without an end")

    def size_of(self, type_id: int) -> int:
        """`sizeof`, in bytes. Raises InputError for a type that has none."""
        count = 1
        for _ in range(_MAX_CHAIN):
            type_id, found = self.strip(type_id)
            match found:
                case Array():
                    count *= found.length
                    type_id = found.type_id
                case Ptr():
                    return count * 8
                case Int() | Float() | Composite() | Enum() | Datasec():
                    return count * found.size
                case Var():
                    type_id = found.type_id
                case _:
                    break
        what = f"{self.where}: type {type_id} ({self.name(type_id) or self.kind(type_id).name}) has no size"
        if isinstance(found, Fwd):
            what += (
                ": its definition is missing, which clang leaves out where nothing but a map's type names it; declare a"
                " variable of the type, or give the map key_size and value_size"
            )
        raise InputError(what)


def _read_int(name: str, size: int, encoding: int) -> Int:
    flags = encoding >> 24
    return Int(
        name=name,
        size=size,
        bits=encoding & 0xFF,
        bit_offset=encoding >> 16 & 0xFF,
        signed=bool(flags & 1),
        is_char=bool(flags & 2),
        is_bool=bool(flags & 4),
    )


def read_btf_file(path: str | os.PathLike[str]) -> Btf:
    """BTF from a file that is nothing else, such as /sys/kernel/btf/vmlinux, or from section .BTF of an ELF file."""
    try:
        with open(path, "rb") as file:
            data = file.read()
    except OSError as error:
        raise InputError(f"cannot read BTF from {path}: {error.strerror}") from error
    if data[:4] == b"\x7fELF":
        from routebpf.objects.elf import read_sections

        for section in read_sections(data, str(path)):
            if section.name == ".BTF":
                return Btf(section.data, where=f"{path}: section .BTF")
        raise InputError(f"{path}: it has no section .BTF; compile with -g")
    return Btf(data, where=str(path))
