"""Whether the running kernel takes `encap bpf` on routes, found out without changing one."""

from __future__ import annotations

import errno
import socket

from routebpf.errors import Error, MissingError
from routebpf.isa import assemble
from routebpf.kernel.features import Feature
from routebpf.kernel.lwt_encap import BpfEncap, EncapProgram
from routebpf.kernel.netlink import RouteSocket
from routebpf.kernel.programs import load_program
from routebpf.kernel.routes import RTA, KernelRoute, NextHop, put_routes
from routebpf.objects.model import Program

_NO_DEVICE = 0x7FFFFFFF  # an ifindex that the kernel gives to none
_RT_SCOPE_LINK = 253
_TEST_NETWORK = bytes((192, 0, 2, 0))  # RFC 5737


def probe_encap() -> str:
    """Ask for a route with a program by a device that is not there: the kernel looks at the encap first.

    Raises MissingError if it has no encap of this kind.
    """
    code = tuple(assemble("r0 = 0\nexit"))
    route = KernelRoute(
        family=socket.AF_INET, dst_len=24, protocol=4, scope=_RT_SCOPE_LINK, attributes=((int(RTA.DST), _TEST_NETWORK),)
    ).with_hops([NextHop(_NO_DEVICE)])
    with load_program(Program("probe", "", "LWT_XMIT", code, ()), license="GPL", maps={}) as program:
        encap = BpfEncap(xmit=EncapProgram("probe", program.fd))
        with RouteSocket() as sock:
            refusal = put_routes(sock, [route.with_encap(encap)]).get(0)
    if refusal is None:
        raise Error("the kernel made a route by a device that is not there")
    if refusal.errno != errno.ENODEV:
        raise MissingError(str(refusal.error("a route with encap bpf")))
    return "taken"


ENCAP = Feature(
    "encap bpf",
    "programs on routes",
    probe_encap,
    "a kernel with CONFIG_LWTUNNEL=y and CONFIG_LWTUNNEL_BPF=y",
    ("CAP_BPF", "CAP_NET_ADMIN"),
    is_required=True,
)
