"""Bytes of memory to Python values and back, by BTF type.

| C                            | Python                                                                      |
|------------------------------|-----------------------------------------------------------------------------|
| integer, pointer             | int (big-endian typedefs as `__be32` too: they are the number in memory)    |
| bool                         | bool                                                                        |
| enum                         | the enumerator's name, or int if none has the value                         |
| array of char                | str up to the zero byte, if what follows is zeros and it is UTF-8, else bytes|
| other array                  | list                                                                        |
| struct                       | dict by member; members of anonymous structs and unions stand in it directly|
| union                        | dict by member, each seeing the same bytes                                  |
| float, double                | float                                                                       |

Encoding takes the same and more: an int for an enum, bytes for anything of that size, a number in a str, a str of hex
(`02:00:00:00:00:01` too) for an array, an IPv4 address for a `__be32`, an IPv6 address for a `struct in6_addr`, and a
dict that leaves out members: they are zero.
"""

from __future__ import annotations

import ipaddress
import struct
from collections.abc import Mapping, Sequence

from routebpf.errors import InputError
from routebpf.objects.btf import Btf
from routebpf.objects.btf_declare import declare
from routebpf.objects.btf_types import (
    Array,
    BtfType,
    Composite,
    Datasec,
    Enum,
    Float,
    Int,
    Member,
    Ptr,
    Qualifier,
    Typedef,
    Var,
)

Value = int | bool | float | str | bytes | list["Value"] | dict[str, "Value"]

_FLOATS = {2: "<e", 4: "<f", 8: "<d"}
_MAX_NESTING = 64
_BIG_ENDIAN = frozenset(("__be16", "__be32", "__be64"))


def decode(btf: Btf, type_id: int, data: bytes | memoryview) -> Value:
    """The value that `data` holds, which must be as long as the type. Raises InputError for another length."""
    size = btf.size_of(type_id)
    if len(data) != size:
        raise InputError(f"{declare(btf, type_id)}: {len(data)} bytes given, it takes {size}")
    return _decode(btf, type_id, bytes(data), 0)


def encode(btf: Btf, type_id: int, value: object) -> bytes:
    """The bytes of `value` as that type. Raises InputError, naming the member, for a value that does not fit."""
    data = bytearray(btf.size_of(type_id))
    _encode(btf, type_id, value, data, 0, declare(btf, type_id), 0)
    return bytes(data)


def typedef_names(btf: Btf, type_id: int) -> tuple[str, ...]:
    """The typedefs that a type goes by, outermost first: what tells a `__be32` address from a plain number."""
    names: list[str] = []
    for _ in range(_MAX_NESTING):
        found = btf.type(type_id)
        match found:
            case Typedef():
                names.append(found.name)
            case Qualifier() | Var():
                pass
            case _:
                break
        type_id = found.type_id
    return tuple(names)


def is_big_endian(btf: Btf, type_id: int) -> bool:
    """Whether the type is one of the kernel's network-order integers, `__be16`, `__be32` or `__be64`."""
    return not _BIG_ENDIAN.isdisjoint(typedef_names(btf, type_id))


def _decode(btf: Btf, type_id: int, data: bytes, depth: int) -> Value:
    type_id, found = btf.strip(type_id)
    match found:
        case Int():
            return _integer_value(found, _extract(data, found.bit_offset, found.bits or found.size * 8, found.signed))
        case Enum():
            number = int.from_bytes(data[: found.size], "little", signed=found.signed)
            return next((name for name, value in found.values if value == number), number)
        case Ptr():
            return int.from_bytes(data[:8], "little")
        case Float() if found.size in _FLOATS:
            return float(struct.unpack(_FLOATS[found.size], data)[0])
        case Array():
            return _decode_array(btf, found, data, depth)
        case Composite() if depth < _MAX_NESTING:
            return _decode_composite(btf, found, data, depth)
        case Datasec():
            return {
                btf.name(one.type_id): _decode(btf, one.type_id, data[one.offset : one.offset + one.size], depth + 1)
                for one in found.variables
            }
        case Var():
            return _decode(btf, found.type_id, data, depth + 1)
        case _:
            return data


def _extract(data: bytes, bit_offset: int, bits: int, signed: bool) -> int:
    number = int.from_bytes(data, "little") >> bit_offset & ((1 << bits) - 1)
    return number - (1 << bits) if signed and bits and number >> (bits - 1) else number


def _integer_value(found: Int, number: int) -> Value:
    return bool(number) if found.is_bool and number in (0, 1) else number


def _is_char(btf: Btf, type_id: int) -> bool:
    _, found = btf.strip(type_id)
    return isinstance(found, Int) and found.size == 1 and found.name == "char"


def _decode_array(btf: Btf, array: Array, data: bytes, depth: int) -> Value:
    if _is_char(btf, array.type_id):
        text, _, rest = data.partition(b"\0")
        try:
            return text.decode() if not any(rest) else data
        except UnicodeDecodeError:
            return data
    size = btf.size_of(array.type_id)
    return [_decode(btf, array.type_id, data[i * size : (i + 1) * size], depth + 1) for i in range(array.length)]


def _decode_composite(btf: Btf, found: Composite, data: bytes, depth: int) -> Value:
    values: dict[str, Value] = {}
    for member in found.members:
        value = _decode_member(btf, member, data, depth)
        if member.name:
            values[member.name] = value
        elif isinstance(value, dict):
            values.update(value)
    return values


def _decode_member(btf: Btf, member: Member, data: bytes, depth: int) -> Value:
    if member.bits:
        _, found = btf.strip(member.type_id)
        signed = isinstance(found, Int | Enum) and found.signed
        number = _extract(data, member.bit_offset, member.bits, signed)
        if isinstance(found, Enum):
            return next((name for name, value in found.values if value == number), number)
        return _integer_value(found, number) if isinstance(found, Int) else number
    start = member.bit_offset // 8
    return _decode(btf, member.type_id, data[start : start + btf.size_of(member.type_id)], depth + 1)


def _encode(btf: Btf, type_id: int, value: object, data: bytearray, at: int, what: str, depth: int) -> None:
    """Write `value` into `data` from byte `at` on."""
    if depth > _MAX_NESTING:
        raise InputError(f"{what}: nested too deep")
    size = btf.size_of(type_id)
    if isinstance(value, bytes | bytearray | memoryview):
        raw = bytes(value)
        _, array = btf.strip(type_id)
        if len(raw) < size and isinstance(array, Array) and _is_char(btf, array.type_id):
            raw += bytes(size - len(raw))
        if len(raw) != size:
            raise InputError(f"{what}: {len(raw)} bytes given, it takes {size}")
        data[at : at + size] = raw
        return
    resolved_id, found = btf.strip(type_id)
    match found:
        case Int() | Enum() | Ptr():
            number = _number(btf, type_id, found, value, what)
            data[at : at + size] = _integer_bytes(number, size, found, what)
        case Float() if size in _FLOATS and isinstance(value, int | float):
            data[at : at + size] = struct.pack(_FLOATS[size], value)
        case Array():
            _encode_array(btf, found, value, data, at, what, depth)
        case Composite() if isinstance(value, Mapping):
            _encode_composite(btf, resolved_id, found, value, data, at, what, depth)
        case Composite(name="in6_addr") if isinstance(value, str):
            data[at : at + size] = _address(value, ipaddress.IPv6Address, what)
        case Var():
            _encode(btf, found.type_id, value, data, at, what, depth + 1)
        case Datasec() if isinstance(value, Mapping):
            places = {btf.name(one.type_id): one for one in found.variables}
            for name, content in value.items():
                if name not in places:
                    raise InputError(f"{what}: no variable {name}; it has {', '.join(places)}")
                place = places[name]
                _encode(btf, place.type_id, content, data, at + place.offset, f"{what}.{name}", depth + 1)
        case _:
            raise InputError(f"{what}: cannot be made from {_describe(value)}")


def _describe(value: object) -> str:
    text = repr(value)
    return f"{type(value).__name__} {text if len(text) <= 40 else text[:37] + '...'}"


def _number(btf: Btf, type_id: int, found: Int | Enum | Ptr, value: object, what: str) -> int:
    if isinstance(value, int):
        return int(value)
    if isinstance(value, float) and value.is_integer():
        return int(value)
    if isinstance(value, str):
        if isinstance(found, Enum):
            for name, number in found.values:
                if name == value:
                    return number
        if is_big_endian(btf, type_id) and value.count(".") == 3:
            return int.from_bytes(_address(value, ipaddress.IPv4Address, what), "little")
        try:
            return int(value, 0)
        except ValueError:
            pass
        if isinstance(found, Enum):
            names = ", ".join(name for name, _ in found.values[:20])
            raise InputError(f"{what}: no enumerator {value}; there are {names}")
    raise InputError(f"{what}: {_describe(value)} is not an integer")


def _address(text: str, kind: type[ipaddress.IPv4Address | ipaddress.IPv6Address], what: str) -> bytes:
    try:
        return kind(text).packed
    except ValueError as error:
        raise InputError(f"{what}: {text} is not an {kind.__name__.replace('Address', ' address')}") from error


def _integer_bytes(number: int, size: int, found: BtfType, what: str) -> bytes:
    """Signed and unsigned numbers of that many bytes are both taken: -1 is how people write all ones."""
    limit = 1 << (8 * size)
    if isinstance(found, Int) and found.is_bool and number not in (0, 1):
        raise InputError(f"{what}: {number} is not true or false")
    signed = isinstance(found, Int | Enum) and found.signed
    high = limit // 2 if signed else limit
    if not -limit // 2 <= number < high:
        raise InputError(f"{what}: {number} does not fit {size} bytes, {'signed' if signed else 'unsigned'}")
    return (number % limit).to_bytes(size, "little")


def _encode_array(btf: Btf, array: Array, value: object, data: bytearray, at: int, what: str, depth: int) -> None:
    if isinstance(value, str):
        if not _is_char(btf, array.type_id):
            value = _hex_bytes(value, what)
        else:
            value = value.encode()
        size = btf.size_of(array.type_id) * array.length
        if len(value) > size:
            raise InputError(f"{what}: {len(value)} bytes given, it takes {size}")
        data[at : at + len(value)] = value
        return
    if not isinstance(value, Sequence):
        raise InputError(f"{what}: cannot be made from {_describe(value)}; give a list of {array.length}")
    if len(value) != array.length:
        raise InputError(f"{what}: {len(value)} elements given, it has {array.length}")
    size = btf.size_of(array.type_id)
    for index, element in enumerate(value):
        _encode(btf, array.type_id, element, data, at + index * size, f"{what}[{index}]", depth + 1)


def _hex_bytes(text: str, what: str) -> bytes:
    try:
        return bytes.fromhex(text.removeprefix("0x").replace(":", ""))
    except ValueError as error:
        raise InputError(f"{what}: {text!r} is not hex") from error


def _encode_composite(
    btf: Btf,
    type_id: int,
    found: Composite,
    value: Mapping[object, object],
    data: bytearray,
    at: int,
    what: str,
    depth: int,
) -> None:
    places = _places(btf, found, 0, depth)
    for name, content in value.items():
        place = places.get(name) if isinstance(name, str) else None
        if place is None:
            raise InputError(f"{what}: no member {name}; {declare(btf, type_id)} has {', '.join(places)}")
        member, bit_offset = place
        if member.bits:
            _encode_bits(btf, member, bit_offset + 8 * at, content, data, f"{what}.{name}")
        else:
            _encode(btf, member.type_id, content, data, at + bit_offset // 8, f"{what}.{name}", depth + 1)


def _places(btf: Btf, found: Composite, bit_offset: int, depth: int) -> dict[str, tuple[Member, int]]:
    """Each named member with its offset in bits, those of anonymous structs and unions included."""
    places: dict[str, tuple[Member, int]] = {}
    for member in found.members:
        offset = bit_offset + member.bit_offset
        if member.name:
            places[member.name] = member, offset
            continue
        _, inner = btf.strip(member.type_id)
        if isinstance(inner, Composite) and depth < _MAX_NESTING:
            places.update(_places(btf, inner, offset, depth + 1))
    return places


def _encode_bits(btf: Btf, member: Member, bit_offset: int, value: object, data: bytearray, what: str) -> None:
    _, found = btf.strip(member.type_id)
    if not isinstance(found, Int | Enum):
        raise InputError(f"{what}: a bitfield of {declare(btf, member.type_id)} cannot be written")
    number = _number(btf, member.type_id, found, value, what)
    limit = 1 << member.bits
    if not -limit // 2 <= number < limit:
        raise InputError(f"{what}: {number} does not fit {member.bits} bits")
    mask = (limit - 1) << bit_offset
    whole = int.from_bytes(data, "little") & ~mask | (number % limit) << bit_offset
    data[:] = whole.to_bytes(len(data), "little")
