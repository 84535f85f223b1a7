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
(`02:00:00:00:00:01` too) for an array, an IPv4 address for a `__be32`, an IP address for a `struct in6_addr` or 16
bytes (IPv4 is mapped into IPv6), a str for a struct whose only member takes it, and a dict that leaves out members:
they are zero.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Iterator, Mapping, Sequence
from struct import Struct
from typing import Any, NamedTuple
from weakref import WeakKeyDictionary

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
_LETTERS = {1: "B", 2: "H", 4: "I", 8: "Q"}
_MAX_NESTING = 64
_MAX_WEIGHT = 1 << 24
_BIG_ENDIAN = frozenset(("__be16", "__be32", "__be64"))
_IPV6_BYTES = 16


def decode(btf: Btf, type_id: int, data: bytes | memoryview) -> Value:
    """The value that `data` holds, which must be as long as the type. Raises InputError for another length."""
    made = _decoder(btf, type_id)
    if len(data) != made.size:
        raise InputError(f"{declare(btf, type_id)}: {len(data)} bytes given, it takes {made.size}")
    return made.read(bytes(data), 0)


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


class _Decoder(NamedTuple):
    """How to read one type: `read(data, offset)`, `size` bytes; it makes `weight` values."""

    read: Callable[[bytes, int], Value]
    size: int
    weight: int


_decoders: WeakKeyDictionary[Btf, dict[int, _Decoder]] = WeakKeyDictionary()


def _decoder(btf: Btf, type_id: int, outside: tuple[int, ...] = ()) -> _Decoder:
    """The decoder of a type, made once. `outside` are the types that it is a part of: it cannot contain them."""
    known = _decoders.setdefault(btf, {})
    type_id, found = btf.strip(type_id)
    if type_id in known:
        return known[type_id]
    if type_id in outside or len(outside) > _MAX_NESTING:
        raise InputError(f"{btf.where}: {declare(btf, type_id)} contains itself")
    made = _make_decoder(btf, type_id, found, (*outside, type_id))
    if made.weight > _MAX_WEIGHT:
        raise InputError(f"{btf.where}: {declare(btf, type_id)} holds {made.weight} values, too many to list")
    known[type_id] = made
    return made


def _make_decoder(btf: Btf, type_id: int, found: BtfType, outside: tuple[int, ...]) -> _Decoder:
    match found:
        case Int() if found.bit_offset == 0 and found.bits in (0, 8 * found.size):
            return _Decoder(_number_reader(found.size, found.signed, bool if found.is_bool else None), found.size, 1)
        case Int():
            return _Decoder(_bits_reader(found, found.bit_offset, found.bits), found.size, 1)
        case Enum():
            return _Decoder(_number_reader(found.size, found.signed, _enumerator(found)), found.size, 1)
        case Ptr():
            return _Decoder(_number_reader(8, False, None), 8, 1)
        case Float() if found.size in _FLOATS:
            return _Decoder(_packed_reader(Struct(_FLOATS[found.size])), found.size, 1)
        case Array():
            return _array_decoder(btf, found, outside)
        case Composite() | Datasec():
            return _members_decoder(btf, found, outside)
        case Var():
            return _decoder(btf, found.type_id, outside)
        case _:
            size = btf.size_of(type_id)
            return _Decoder(lambda data, at: data[at : at + size], size, 1)


def _packed_reader(form: Struct) -> Callable[[bytes, int], Value]:
    unpack = form.unpack_from
    return lambda data, at: unpack(data, at)[0]


def _odd_reader(size: int, signed: bool) -> Callable[[bytes, int], Value]:
    return lambda data, at: int.from_bytes(data[at : at + size], "little", signed=signed)


def _number_reader(size: int, signed: bool, change: Callable[[int], Value] | None) -> Callable[[bytes, int], Value]:
    letter = _LETTERS.get(size)
    if letter is None:
        plain = _odd_reader(size, signed)
    else:
        plain = _packed_reader(Struct("<" + (letter.lower() if signed else letter)))
    if change is None:
        return plain
    convert: Callable[[Any], Value] = change
    return lambda data, at: convert(plain(data, at))


def _bits_reader(found: BtfType, bit_offset: int, bits: int) -> Callable[[bytes, int], Value]:
    """A bitfield: `bits` from `bit_offset` on, counted from the first byte that the reader is given."""
    first, mask = bit_offset // 8, (1 << bits) - 1
    shift, end = bit_offset % 8, (bit_offset + bits + 7) // 8
    sign = 1 << (bits - 1) if bits and isinstance(found, Int | Enum) and found.signed else 0
    name = _enumerator(found) if isinstance(found, Enum) else None

    def read(data: bytes, at: int) -> Value:
        number = int.from_bytes(data[at + first : at + end], "little") >> shift & mask
        number = (number ^ sign) - sign
        return name(number) if name else number

    if isinstance(found, Int) and found.is_bool:
        return lambda data, at: bool(read(data, at))
    return read


def _enumerator(found: Enum) -> Callable[[int], Value]:
    names: dict[int, str] = {}
    for name, value in found.values:
        names.setdefault(value, name)
    return lambda number: names.get(number, number)


def _is_char(btf: Btf, type_id: int) -> bool:
    _, found = btf.strip(type_id)
    return isinstance(found, Int) and found.size == 1 and found.name == "char"


def _read_text(data: bytes) -> Value:
    text, _, rest = data.partition(b"\0")
    try:
        return text.decode() if not any(rest) else data
    except UnicodeDecodeError:
        return data


def _array_decoder(btf: Btf, array: Array, outside: tuple[int, ...]) -> _Decoder:
    length = array.length
    if _is_char(btf, array.type_id):
        return _Decoder(lambda data, at: _read_text(data[at : at + length]), length, 1)
    element = _decoder(btf, array.type_id, outside)
    size, read = element.size, element.read
    if not size:
        return _Decoder(lambda *_: [], 0, 1)
    _, found = btf.strip(array.type_id)
    if isinstance(found, Int) and not found.is_bool and found.size in _LETTERS and length <= _MAX_WEIGHT:
        letter = _LETTERS[found.size]
        unpack = Struct(f"<{length}{letter.lower() if found.signed else letter}").unpack_from
        return _Decoder(lambda data, at: list(unpack(data, at)), size * length, length)
    return _Decoder(
        lambda data, at: [read(data, at + i * size) for i in range(length)], size * length, 1 + length * element.weight
    )


def _members_decoder(btf: Btf, found: Composite | Datasec, outside: tuple[int, ...]) -> _Decoder:
    readers: list[tuple[str, int, Callable[[bytes, int], Value]]] = []
    weight = 1
    for name, start, made in _parts(btf, found, outside):
        if start + made.size > found.size:
            raise InputError(
                f"{btf.where}: {found.name or '(anonymous)'} has {found.size} bytes, its member {name} ends at byte"
                f" {start + made.size}"
            )
        readers.append((name, start, made.read))
        weight += made.weight

    def read(data: bytes, at: int) -> Value:
        values: dict[str, Value] = {}
        for name, start, read_member in readers:
            value = read_member(data, at + start)
            if name:
                values[name] = value
            elif isinstance(value, dict):
                values.update(value)
        return values

    return _Decoder(read, found.size, weight)


def _parts(btf: Btf, found: Composite | Datasec, outside: tuple[int, ...]) -> Iterator[tuple[str, int, _Decoder]]:
    """Name, first byte and decoder of each member or variable."""
    if isinstance(found, Datasec):
        for variable in found.variables:
            yield btf.name(variable.type_id), variable.offset, _decoder(btf, variable.type_id, outside)
        return
    for member in found.members:
        if member.bits:
            _, kind = btf.strip(member.type_id)
            end = (member.bit_offset + member.bits + 7) // 8
            yield member.name, 0, _Decoder(_bits_reader(kind, member.bit_offset, member.bits), end, 1)
        else:
            yield member.name, member.bit_offset // 8, _decoder(btf, member.type_id, outside)


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
        case Float() if size in _FLOATS and isinstance(value, int | float | str):
            data[at : at + size] = _float_bytes(value, size, what)
        case Array():
            _encode_array(btf, found, value, data, at, what, depth)
        case Composite() if isinstance(value, Mapping):
            _encode_composite(btf, resolved_id, found, value, data, at, what, depth)
        case Composite(name="in6_addr") if isinstance(value, str):
            data[at : at + size] = _ipv6_bytes(value) or _address(value, ipaddress.IPv6Address, what)
        case Composite(members=(member,)) if isinstance(value, str) and member.name and not member.bits:
            _encode(btf, member.type_id, value, data, at, f"{what}.{member.name}", depth + 1)
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


def _ipv6_bytes(text: str) -> bytes | None:
    """An IPv6 address, or an IPv4 address mapped into one; None if the text is neither."""
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        return None
    return address.packed if address.version == 6 else bytes(10) + b"\xff\xff" + address.packed


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
        size = btf.size_of(array.type_id) * array.length
        if not _is_char(btf, array.type_id):
            value = (size == _IPV6_BYTES and _ipv6_bytes(value)) or _hex_bytes(value, what)
        else:
            value = _char_bytes(value, size)
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


def _float_bytes(value: float | str, size: int, what: str) -> bytes:
    try:
        return Struct(_FLOATS[size]).pack(float(value))  # "nan" and "inf", too: JSON has no numbers for them
    except (ValueError, OverflowError):
        raise InputError(f"{what}: {_describe(value)} is no number of {size} bytes") from None


def _char_bytes(text: str, size: int) -> bytes:
    """Characters; or all bytes in hex, as those are shown that are no text. A text of that length would not fit."""
    try:
        data = bytes.fromhex(text)
    except ValueError:
        data = b""
    return data if len(text) == 2 * size == 2 * len(data) else text.encode()


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
