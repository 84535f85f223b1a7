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

    `narrow`: aligned parts of it can be read, too.
    """

    name: str
    offset: int
    size: int
    of_common: bool
    narrow: bool = True


# fmt: off
SOCKET_FIELDS: tuple[SocketField, ...] = (
    SocketField("bound_dev_if", 0, 4, True, narrow=False),
    SocketField("family", 4, 4, True),
    SocketField("type", 8, 4, False),
    SocketField("protocol", 12, 4, False),
    SocketField("mark", 16, 4, False, narrow=False),
    SocketField("priority", 20, 4, False, narrow=False),
    SocketField("src_ip4", 24, 4, True),
    *(SocketField(f"src_ip6[{i}]", 28 + 4 * i, 4, True) for i in range(4)),
    SocketField("src_port", 44, 4, True),
    SocketField("dst_port", 48, 2, True),
    SocketField("dst_ip4", 52, 4, True),
    *(SocketField(f"dst_ip6[{i}]", 56 + 4 * i, 4, True) for i in range(4)),
    SocketField("state", 72, 4, True),
    SocketField("rx_queue_mapping", 76, 4, True),
)
# fmt: on


@cache
def sock_common_accesses() -> frozenset[tuple[int, int]]:
    """(offset, size) of every read that is allowed of any socket."""
    places = set()
    for field in SOCKET_FIELDS:
        if field.of_common:
            places.add((field.offset, field.size))
            if field.narrow:
                places |= {(field.offset + at, size) for size in (1, 2) for at in range(0, field.size, size)}
    return frozenset(places)
