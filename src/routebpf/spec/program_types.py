"""The program types of routes, and what their programs may return.

kernel: include/uapi/linux/bpf.h, enum bpf_prog_type, enum bpf_ret_code; net/core/lwt_bpf.c, run_lwt_bpf().
"""

from __future__ import annotations

from typing import NamedTuple


class ProgramType(NamedTuple):
    """A program type: the kernel's number, the kernel that brought it, and where on a route it runs.

    `section` is how sections of its programs are named. `route_attribute` is LWT_BPF_IN, LWT_BPF_OUT or LWT_BPF_XMIT,
    the netlink attribute of the route that holds the program.
    """

    name: str
    number: int
    since: tuple[int, int]
    section: str
    route_attribute: int
    doc: str

    @property
    def hook(self) -> str:
        """What iproute2 calls its place on a route: in, out or xmit."""
        return self.section.removeprefix("lwt_")


# fmt: off
PROGRAM_TYPES: tuple[ProgramType, ...] = (
    ProgramType("LWT_IN", 10, (4, 10), "lwt_in", 1,
                "On a packet that came in by the route, before it is delivered or forwarded."),
    ProgramType("LWT_OUT", 11, (4, 10), "lwt_out", 2,
                "On a packet that goes out by the route, before it is fragmented."),
    ProgramType("LWT_XMIT", 12, (4, 10), "lwt_xmit", 3,
                "On a packet that goes out by the route, before its neighbour is resolved; it may change the packet."),
)
# fmt: on
LWT = frozenset(row.name for row in PROGRAM_TYPES)


class ReturnCode(NamedTuple):
    """A number that a program may return, and what becomes of the packet. Any other drops it with EINVAL."""

    name: str
    number: int
    since: tuple[int, int]
    program_types: frozenset[str]
    doc: str


# fmt: off
RETURN_CODES: tuple[ReturnCode, ...] = (
    ReturnCode("BPF_OK", 0, (4, 10), LWT, "The packet goes on, as the program left it."),
    ReturnCode("BPF_DROP", 2, (4, 10), LWT, "The packet is dropped; its sender gets EPERM."),
    ReturnCode("BPF_REDIRECT", 7, (4, 10), frozenset({"LWT_XMIT"}),
               "The packet goes to the device that bpf_redirect named. Of another type: as BPF_OK, with a warning."),
    ReturnCode("BPF_LWT_REROUTE", 128, (5, 1), frozenset({"LWT_IN", "LWT_XMIT"}),
               "The route is looked up anew by the packet's IP header. Of another type: as BPF_OK."),
)
# fmt: on


def program_type_number(name: str) -> int | None:
    """The kernel's number of a program type ("LWT_XMIT"), or None for one that no route takes."""
    return next((row.number for row in PROGRAM_TYPES if row.name == name), None)
