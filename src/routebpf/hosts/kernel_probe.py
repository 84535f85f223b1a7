"""Whether this process can make a kernel host, found out by making one, which is gone afterwards."""

from __future__ import annotations

from routebpf.hosts.kernel import KernelHost
from routebpf.kernel.features import Feature


def probe_host() -> str:
    """Make a host with one device. Raises MissingError that says what stands in the way."""
    with KernelHost() as host:
        host.add_device("probe")
    return "makes namespaces and veth devices"


HOST = Feature(
    "kernel backend",
    "run --backend kernel: a network namespace made for each run",
    probe_host,
    "",  # the probe's error says it
    ("CAP_SYS_ADMIN", "CAP_NET_ADMIN", "CAP_NET_RAW"),
)
