"""The context of an LWT program, struct __sk_buff: its fields, and which accesses the kernel lets through.

kernel: net/core/filter.c, lwt_is_valid_access(), bpf_skb_is_valid_access(); the same for the three program types.
"""

from __future__ import annotations

from enum import Enum
from functools import cache
from typing import NamedTuple

from routebpf.spec.program_types import LWT

CONTEXT_BYTES = 192


class Register(Enum):
    """What a register holds after a load of the field."""

    SCALAR = "scalar"
    PTR_TO_PACKET = "pkt"
    PTR_TO_PACKET_END = "pkt_end"
    PTR_TO_SOCK_COMMON_OR_NULL = "sock_common_or_null"


class ContextField(NamedTuple):
    """A field: byte offset and size, and who may read and write it.

    A field that is a scalar can be read by aligned parts of it, too (1 and 2 bytes of 4); `narrow_write` says whether
    it can be written by parts. `wide` says whether 8 bytes from it on can be read and written at once.
    """

    name: str
    c_type: str
    offset: int
    size: int
    doc: str
    read: bool = False
    write: bool = False
    narrow_write: bool = False
    wide: bool = False
    register: Register = Register.SCALAR

    @property
    def is_pointer(self) -> bool:
        return self.register is not Register.SCALAR


def _readable(name: str, offset: int, doc: str, *, register: Register = Register.SCALAR) -> ContextField:
    return ContextField(name, "__u32", offset, 4, doc, read=True, register=register)


def _writable(name: str, offset: int, doc: str) -> ContextField:
    return ContextField(name, "__u32", offset, 4, doc, read=True, write=True)


def _scratch(index: int, *, wide: bool) -> ContextField:
    doc = "Scratch space of the program; zero at the start of every run."
    return ContextField(f"cb[{index}]", "__u32", 48 + 4 * index, 4, doc, True, True, narrow_write=True, wide=wide)


def _closed(name: str, offset: int, doc: str, *, c_type: str = "__u32", size: int = 4) -> ContextField:
    return ContextField(name, c_type, offset, size, doc)


# fmt: off
CONTEXT_FIELDS: tuple[ContextField, ...] = (
    _readable("len", 0, "Bytes of the packet from the IP header on, all fragments of a GSO packet together."),
    _readable("pkt_type", 4, "Whom the frame was for: PACKET_HOST, PACKET_OUTGOING and so on."),
    _writable("mark", 8, "The packet's mark, for routing rules and netfilter."),
    _readable("queue_mapping", 12, "The transmit queue chosen, 0 for none yet."),
    _readable("protocol", 16, "EtherType in network byte order."),
    _readable("vlan_present", 20, "Whether a VLAN tag stands beside the packet."),
    _readable("vlan_tci", 24, "The VLAN tag beside the packet."),
    _readable("vlan_proto", 28, "EtherType of that VLAN tag in network byte order."),
    _writable("priority", 32, "The packet's queueing priority."),
    _readable("ingress_ifindex", 36, "Index of the device that the packet came in by, 0 for a local one."),
    _readable("ifindex", 40, "Index of the device that the packet is at: of its route when sent."),
    _readable("tc_index", 44, "What traffic control has set."),
    _scratch(0, wide=True),
    _scratch(1, wide=False),
    _scratch(2, wide=True),
    _scratch(3, wide=False),
    _scratch(4, wide=False),
    _readable("hash", 68, "The flow hash if it is known, else 0."),
    _closed("tc_classid", 72, "The class of traffic control's direct action; not for LWT programs."),
    _readable("data", 76, "Start of the packet's linear part: the IP header.", register=Register.PTR_TO_PACKET),
    _readable("data_end", 80, "End of the packet's linear part.", register=Register.PTR_TO_PACKET_END),
    _readable("napi_id", 84, "The NAPI instance that received the packet."),
    _closed("family", 88, "Address family of the socket; not for LWT programs."),
    _closed("remote_ip4", 92, "Remote IPv4 address of the socket; not for LWT programs."),
    _closed("local_ip4", 96, "Local IPv4 address of the socket; not for LWT programs."),
    *(_closed(f"remote_ip6[{i}]", 100 + 4 * i, "Remote IPv6 address of the socket; not for LWT programs.")
      for i in range(4)),
    *(_closed(f"local_ip6[{i}]", 116 + 4 * i, "Local IPv6 address of the socket; not for LWT programs.")
      for i in range(4)),
    _closed("remote_port", 132, "Remote port of the socket; not for LWT programs."),
    _closed("local_port", 136, "Local port of the socket; not for LWT programs."),
    _closed("data_meta", 140, "Start of metadata before the packet; not for LWT programs."),
    _closed("flow_keys", 144, "What the flow dissector found; not for LWT programs.",
            c_type="struct bpf_flow_keys *", size=8),
    _closed("tstamp", 152, "The packet's time; not for LWT programs.", c_type="__u64", size=8),
    _closed("wire_len", 160, "Bytes on the wire; not for LWT programs."),
    _readable("gso_segs", 164, "Segments that the packet will be cut into, 0 or 1 if it will not."),
    ContextField("sk", "struct bpf_sock *", 168, 8, "The sending socket; null for a forwarded packet.", read=True,
                 register=Register.PTR_TO_SOCK_COMMON_OR_NULL),
    _readable("gso_size", 176, "Payload bytes of each segment that the packet will be cut into."),
    _closed("tstamp_type", 180, "What clock tstamp is of; not for LWT programs.", c_type="__u8", size=1),
    _closed("hwtstamp", 184, "The device's own time of the packet; not for LWT programs.", c_type="__u64", size=8),
)
# fmt: on


@cache
def context_accesses(program_type: str) -> dict[tuple[int, int, bool], bool]:
    """(offset, size, whether a write): whether a load gives a pointer; for all accesses that are allowed.

    Offsets and sizes in bytes. Empty for a program type that is not known here.
    """
    if program_type not in LWT:
        return {}
    return {
        (*place, is_write): field.is_pointer and not is_write
        for field in CONTEXT_FIELDS
        for is_write in (False, True)
        for place in _places(field, is_write=is_write)
    }


def access_sizes(field: ContextField, *, is_write: bool) -> list[int]:
    """In how many bytes at once the field or aligned parts of it can be read, or written; none if it cannot."""
    return sorted({size for _, size in _places(field, is_write=is_write)})


def _places(field: ContextField, *, is_write: bool) -> list[tuple[int, int]]:
    """(offset, size) of every access that is allowed from the field's offset on."""
    if not (field.write if is_write else field.read):
        return []
    places = [(field.offset, field.size)]
    if field.narrow_write if is_write else not field.is_pointer:
        places += [(field.offset + at, size) for size in (1, 2) for at in range(0, field.size, size)]
    if field.wide:
        places.append((field.offset, 8))
    return places
