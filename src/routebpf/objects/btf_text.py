"""A decoded value as text for people: what its BTF type says of it beyond its number.

`__be32` is an IPv4 address and `__be16` a number in network order, `struct in6_addr` and 16 bytes are an IPv6 address,
6 bytes a link address, other bytes hex.
"""

from __future__ import annotations

import socket
from collections.abc import Mapping, Sequence

from routebpf.objects.btf import Btf
from routebpf.objects.btf_types import Array, Composite, Datasec, Int, Var
from routebpf.objects.btf_values import encode, typedef_names

_IPV4 = "__be32"
_NETWORK_ORDER = {"__be16": 2, "__be64": 8}
_IPV6_STRUCT = "in6_addr"
_IPV6_BYTES, _LINK_BYTES = 16, 6


def value_text(btf: Btf, type_id: int, value: object) -> str:
    """The text of `value`, which `btf_values.decode` gave for the type."""
    names = typedef_names(btf, type_id)
    inner_id, found = btf.strip(type_id)
    if isinstance(value, int) and not isinstance(value, bool):
        return _number_text(names, value)
    if isinstance(found, Composite | Datasec) and isinstance(value, Mapping):
        if found.name == _IPV6_STRUCT:
            return _bytes_text(encode(btf, inner_id, value))
        members = member_texts(btf, type_id, value)
        if len(members) == 1:
            return next(iter(members.values()))
        return ", ".join(f"{name} {text}" for name, text in members.items())
    if isinstance(found, Array) and isinstance(value, Sequence) and not isinstance(value, str | bytes):
        element = btf.strip(found.type_id)[1]
        if isinstance(element, Int) and element.size == 1:
            return _bytes_text(bytes(int(one) & 0xFF for one in value))
        return "[" + " ".join(value_text(btf, found.type_id, one) for one in value) + "]"
    return _bytes_text(value) if isinstance(value, bytes) else _printable(str(value))


def member_texts(btf: Btf, type_id: int, value: Mapping[str, object]) -> dict[str, str]:
    """The texts of a struct's members or of a section's variables; `value` as `btf_values.decode` gave it."""
    found = btf.strip(type_id)[1]
    assert isinstance(found, Composite | Datasec)
    return {name: _member_text(btf, found, name, one) for name, one in value.items()}


def _number_text(names: Sequence[str], value: int) -> str:
    if _IPV4 in names:
        return socket.inet_ntoa(value.to_bytes(4, "little"))
    for name, size in _NETWORK_ORDER.items():
        if name in names:
            return str(int.from_bytes(value.to_bytes(size, "little"), "big"))
    return str(value)


def _member_text(btf: Btf, found: Composite | Datasec, name: str, value: object) -> str:
    type_id = _member_type(btf, found, name)
    if type_id is None:
        return str(value)
    text = value_text(btf, type_id, value)
    return f"({text})" if isinstance(value, Mapping) and ", " in text else text


def _member_type(btf: Btf, found: Composite | Datasec, name: str) -> int | None:
    """The type of a member, or of one of an unnamed struct or union in it; of a section, that of a variable."""
    if isinstance(found, Datasec):
        variables = [btf.type(one.type_id) for one in found.variables]
        return {one.name: one.type_id for one in variables if isinstance(one, Var)}.get(name)
    for member in found.members:
        if member.name == name:
            return member.type_id
        inner = btf.strip(member.type_id)[1]
        if not member.name and isinstance(inner, Composite):
            type_id = _member_type(btf, inner, name)
            if type_id is not None:
                return type_id
    return None


def _printable(text: str) -> str:
    """Text in which what would steer the terminal is written as in C."""
    return text if text.isprintable() else "".join(one if one.isprintable() else ascii(one)[1:-1] for one in text)


def _bytes_text(data: bytes) -> str:
    if len(data) == _IPV6_BYTES:
        text = socket.inet_ntop(socket.AF_INET6, data)
        return text.removeprefix("::ffff:") if text.startswith("::ffff:") and "." in text else text
    if len(data) == _LINK_BYTES:
        return data.hex(":")
    return data.hex()
