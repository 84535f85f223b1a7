"""What a program may read of a socket that the context gives it: fields of struct bpf_sock.

kernel: net/core/filter.c, bpf_sock_common_is_valid_access(), bpf_sock_is_valid_access().
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

SOCKET_BYTES = 80


@dataclass(frozen=True, slots=True)
class SocketField:
    """A field of struct bpf_sock: byte offset and size; `of_common` says whether every kind of socket has it.

    `narrow`: bytes of it that an aligned part which is read may begin at; 1: only at its start. `padded`: it can be
    read together with the bytes behind it, as 4.
    """

    name: str
    offset: int
    size: int
    of_common: bool
    narrow: int = 4
    padded: bool = False


# fmt: off
SOCKET_FIELDS: tuple[SocketField, ...] = (
    SocketField("bound_dev_if", 0, 4, True, narrow=0),
    SocketField("family", 4, 4, True, narrow=1),
    SocketField("type", 8, 4, False, narrow=1),
    SocketField("protocol", 12, 4, False, narrow=1),
    SocketField("mark", 16, 4, False, narrow=0),
    SocketField("priority", 20, 4, False, narrow=0),
    SocketField("src_ip4", 24, 4, True),
    *(SocketField(f"src_ip6[{i}]", 28 + 4 * i, 4, True) for i in range(4)),
    SocketField("src_port", 44, 4, True, narrow=1),
    SocketField("dst_port", 48, 2, True, padded=True),
    SocketField("dst_ip4", 52, 4, True),
    *(SocketField(f"dst_ip6[{i}]", 56 + 4 * i, 4, True) for i in range(4)),
    SocketField("state", 72, 4, True, narrow=1),
    SocketField("rx_queue_mapping", 76, 4, True, narrow=1),
)
# fmt: on


@cache
def sock_common_accesses() -> frozenset[tuple[int, int]]:
    """(offset, size) of every read that is allowed of any socket."""
    places = set()
    for field in SOCKET_FIELDS:
        if field.of_common:
            places.add((field.offset, 4 if field.padded else field.size))
            begins = min(field.narrow, field.size)
            places |= {(field.offset + at, size) for size in (1, 2) for at in range(0, begins, size)}
    return frozenset(places)
