"""Addresses as iproute2 writes them: IPv4, IPv6, prefixes, and link-layer addresses.

An address is its bytes in network order: 4 of them for IPv4, 16 for IPv6.
"""

import socket
from dataclasses import dataclass

from routebpf.hosts.topology_words import Words, unsigned

_OCTETS = {str(value): value for value in range(256)}
_FAMILY_NAMES = {None: "IPv4 or IPv6", 4: "IPv4", 6: "IPv6"}
ANY_PREFIX = frozenset({"default", "any", "all"})
_LONGEST_LLADDR = 32


@dataclass(frozen=True, slots=True)
class Prefix:
    """An address and how many of its leading bits count. The bits after them may be set."""

    address: bytes
    length: int

    @property
    def family(self) -> int:
        """4 or 6."""
        return 6 if len(self.address) == 16 else 4

    @property
    def text(self) -> str:
        """As `ip` writes it, always with the length: `10.0.0.0/8`."""
        return f"{address_text(self.address)}/{self.length}"


UNRESOLVED_DEFAULT = Prefix(b"", 0)
"""`default` before anything on the line has told the family."""


def address_text(address: bytes) -> str:
    """An address as text: `10.0.0.1`, `2001:db8::1`."""
    return socket.inet_ntop(socket.AF_INET if len(address) == 4 else socket.AF_INET6, address)


def family_of(address: bytes) -> int:
    """4 or 6."""
    return 4 if len(address) == 4 else 6


def zero_address(family: int) -> bytes:
    """0.0.0.0 or ::"""
    return bytes(4 if family == 4 else 16)


def parse_ipv4(word: str) -> bytes | None:
    """Dotted numbers, each as C writes them; what is missing on the right is zero: `10.8` is 10.8.0.0."""
    parts = word.split(".", 4)
    if len(parts) > 4:
        return None
    try:
        octets = [_OCTETS[part] for part in parts]
    except KeyError:
        numbers = [unsigned(part) for part in parts]
        octets = [value for value in numbers if value is not None and value <= 255]
        if len(octets) != len(parts):
            return None
    return bytes(octets).ljust(4, b"\0")


def parse_address(word: str, family: int | None) -> bytes | None:
    """An address of that family, or of either; None when it is none."""
    if ":" in word:
        if family == 4:
            return None
        try:
            return socket.inet_pton(socket.AF_INET6, word)
        except (OSError, ValueError):
            return None
    return None if family == 6 else parse_ipv4(word)


def _mask_length(word: str) -> int | None:
    length = unsigned(word)
    if length is not None:
        return length
    mask = parse_ipv4(word)
    if mask is None:
        return None
    host = ~int.from_bytes(mask, "big") & 0xFFFFFFFF
    return 32 - host.bit_length() if host & (host + 1) == 0 else None


def parse_prefix(word: str, family: int | None) -> Prefix | None:
    """`ADDRESS`, `ADDRESS/LENGTH`, `ADDRESS/NETMASK` or `default`; None when it is none of them."""
    text, slash, mask = word.partition("/")
    if text in ANY_PREFIX:
        return None if slash else Prefix(zero_address(family), 0) if family else UNRESOLVED_DEFAULT
    address = parse_address(text, family)
    if address is None:
        return None
    if not slash:
        return Prefix(address, 8 * len(address))
    length = _mask_length(mask)
    return None if length is None or length > 8 * len(address) else Prefix(address, length)


def parse_lladdr(word: str) -> bytes | None:
    """A link-layer address: `02:00:00:00:00:01`, or the dotted IPv4 address that a tunnel has as its own."""
    if "." in word:
        return parse_ipv4(word)
    octets = [unsigned(part, 16) for part in word.split(":", _LONGEST_LLADDR)]
    if len(octets) > _LONGEST_LLADDR or any(octet is None or octet > 255 for octet in octets):
        return None
    return bytes(octet for octet in octets if octet is not None)


def address_here(words: Words, family: int | None) -> bytes:
    """The word under the cursor as an address."""
    address = parse_address(words.word, family)
    if address is None:
        raise words.refuse(f"an {_FAMILY_NAMES[family]} address")
    return address


def prefix_here(words: Words, family: int | None) -> Prefix:
    """The word under the cursor as a prefix."""
    prefix = parse_prefix(words.word, family)
    if prefix is None:
        raise words.refuse(f"an {_FAMILY_NAMES[family]} prefix")
    return prefix


def lladdr_here(words: Words) -> bytes:
    """The word under the cursor as a link-layer address."""
    lladdr = parse_lladdr(words.word)
    if lladdr is None:
        raise words.refuse("a link-layer address, as 02:00:00:00:00:01")
    return lladdr
