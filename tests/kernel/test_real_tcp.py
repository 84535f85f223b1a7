"""TCP over routes that carry programs: real sockets in one namespace, their peer in another, offloads on and off.

The far end counts frames by itself. TCP gives the program whole batches of segments (GSO), whatever the device can; a
device without the offload cuts them afterwards, and repeats their headers.
"""

from __future__ import annotations

import contextlib
import hashlib
import select
import socket
import subprocess
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from routebpf.hosts.kernel import KernelHost
from routebpf.hosts.kernel_load import KernelLoadedObject, KernelLoadedProgram
from routebpf.kernel.namespaces import Namespace, create_namespace, remove_namespace, run_inside

pytestmark = pytest.mark.kernel

ACCOUNT = Path(__file__).parents[2] / "examples" / "account.bpf.c"
SERVER = {4: "192.168.7.1", 6: "fd00:7::1"}
PREFIX = {4: "192.168.7.1/32", 6: "fd00:7::1/128"}
GATEWAY = {4: "10.0.0.2", 6: "fd00:a::2"}
# IP and TCP headers with timestamps, as every segment but the first has them.
HEADERS = {4: 20 + 32, 6: 40 + 32}
OFFLOADS = ["tso", "gso", "tx-udp-segmentation", "gro"]
_QUIET_SECONDS = 0.05
_PATIENCE_SECONDS = 20
_SO_RCVBUFFORCE = 33
DATA = b"".join(hashlib.sha256(number.to_bytes(4, "big")).digest() for number in range(1 << 15))  # 1 MiB

DEVICES = """
link add va index 11 address 02:00:00:00:00:0a type veth peer name fa address 02:00:00:00:01:0a netns {far}
link add vb index 12 address 02:00:00:00:00:0b type veth peer name fb address 02:00:00:00:01:0b netns {far}
link set lo up
link set va up
link set vb up
addr add 10.0.0.1/24 dev va
addr add 10.1.0.1/24 dev vb
addr add fd00:a::1/64 dev va nodad
addr add fd00:b::1/64 dev vb nodad
neigh add 10.0.0.2 lladdr 02:00:00:00:01:0a dev va
neigh add 10.1.0.2 lladdr 02:00:00:00:01:0b dev vb
neigh add fd00:a::2 lladdr 02:00:00:00:01:0a dev va
neigh add fd00:b::2 lladdr 02:00:00:00:01:0b dev vb
"""
FAR_DEVICES = """
link set lo up
link set fa up
link set fb up
addr add 10.0.0.2/24 dev fa
addr add 10.1.0.2/24 dev fb
addr add 192.168.7.1/32 dev lo
addr add fd00:a::2/64 dev fa nodad
addr add fd00:b::2/64 dev fb nodad
addr add fd00:7::1/128 dev lo nodad
neigh add 10.0.0.1 lladdr 02:00:00:00:00:0a dev fa
neigh add fd00:a::1 lladdr 02:00:00:00:00:0a dev fa
"""

DROP = """
__u32 runs;
SEC("lwt_xmit") int drop(struct __sk_buff *skb)
{
	runs++;
	return BPF_DROP;
}
"""
REDIRECT = """
__u32 runs, in_batches;
SEC("lwt_xmit") int redirect(struct __sk_buff *skb)
{
	struct ethhdr eth = { { 2, 0, 0, 0, 1, 0xb }, { 2, 0, 0, 0, 0, 0xb }, skb->protocol };

	runs++;
	in_batches += skb->gso_segs > 1;
	if (bpf_skb_change_head(skb, sizeof(eth), 0) || bpf_skb_store_bytes(skb, 0, &eth, sizeof(eth), 0))
		return BPF_DROP;
	return bpf_redirect(12, 0);
}
"""
REROUTE = """
__u32 runs;
SEC("lwt_xmit") int reroute(struct __sk_buff *skb)
{
	runs++;
	skb->mark = 7;
	return BPF_LWT_REROUTE;
}
"""


@dataclass
class Far:
    """The other namespace: what arrives there for the server, by device, as the lengths of IP packets."""

    namespace: Namespace
    arrived: dict[str, list[int]] = field(default_factory=dict)


@dataclass
class Ground:
    host: KernelHost
    far: Far

    def offloads(self, *, on: bool) -> None:
        for device in ("va", "vb"):
            words = [word for one in OFFLOADS for word in (one, "on" if on else "off")]
            _run(self.host.namespace, "ethtool", "-K", device, *words)

    def load(self, source: str | Path, folder: Path) -> KernelLoadedObject:
        path = source
        if isinstance(source, str):
            path = folder / "program.bpf.c"
            path.write_text(f'#include <routebpf.h>\nchar LICENSE[] SEC("license") = "GPL";\n{source}')
        return self.host.load(path)

    def route(self, family: int, program: KernelLoadedProgram | None) -> None:
        self.host.add_route(PREFIX[family], via=GATEWAY[family], dev="va", xmit=program, replace=True)

    def socket(self, family: int) -> socket.socket:
        kind = socket.AF_INET if family == 4 else socket.AF_INET6
        return run_inside(self.host.namespace, lambda: socket.socket(kind, socket.SOCK_STREAM))


def _run(namespace: Namespace, *command: str, text: str | None = None) -> None:
    subprocess.run(["nsenter", f"--net={namespace.path}", *command], input=text, text=True, check=True)


@pytest.fixture
def ground() -> Iterator[Ground]:
    near, far = create_namespace(), create_namespace()
    try:
        for one in (near, far):
            for name in ("all", "default"):
                _run(one, "sysctl", "-qw", f"net.ipv4.conf.{name}.rp_filter=0", f"net.ipv6.conf.{name}.accept_dad=0")
        _run(near, "ip", "-batch", "-", text=DEVICES.format(far=far.name))
        _run(far, "ip", "-batch", "-", text=FAR_DEVICES)
        with KernelHost(near.name) as host:
            yield Ground(host, Far(far))
    finally:
        remove_namespace(near)
        remove_namespace(far)


@contextlib.contextmanager
def counting(far: Far, family: int) -> Iterator[dict[str, list[int]]]:
    """While the block runs, count what arrives for the server."""
    kind, place = (0x0800, 16) if family == 4 else (0x86DD, 24)
    server = socket.inet_pton(socket.AF_INET if family == 4 else socket.AF_INET6, SERVER[family])
    tap = run_inside(far.namespace, lambda: socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, socket.htons(kind)))
    with tap:
        tap.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, 1 << 28)
        far.arrived = {}
        yield far.arrived
        head = bytearray(64)
        while select.select([tap], [], [], _QUIET_SECONDS)[0]:
            length, _, _, address = tap.recvmsg_into([head], 0, socket.MSG_TRUNC)
            if address[2] != socket.PACKET_OUTGOING and head[place : place + len(server)] == server:
                far.arrived.setdefault(address[0], []).append(length)


@contextlib.contextmanager
def serving(far: Far, family: int) -> Iterator[tuple[int, list[bytes]]]:
    """A server at the far end takes one connection: its port, and what it received."""
    kind = socket.AF_INET if family == 4 else socket.AF_INET6
    received: list[bytes] = []

    def serve() -> None:
        try:
            connection, _ = listener.accept()
        except OSError:  # nobody came
            return
        with connection:
            connection.settimeout(_PATIENCE_SECONDS)
            while piece := connection.recv(1 << 16):
                received.append(piece)
            connection.sendall(b"done")

    with run_inside(far.namespace, lambda: socket.socket(kind, socket.SOCK_STREAM)) as listener:
        listener.settimeout(_PATIENCE_SECONDS)
        listener.bind((SERVER[family], 0))
        listener.listen()
        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield listener.getsockname()[1], received
        finally:
            with contextlib.suppress(OSError):
                listener.shutdown(socket.SHUT_RDWR)
            thread.join()


def transfer(ground: Ground, family: int) -> bytes:
    """Send DATA to a server at the far end: what that received."""
    with serving(ground.far, family) as (port, received), ground.socket(family) as client:
        client.settimeout(_PATIENCE_SECONDS)
        client.connect((SERVER[family], port))
        client.sendall(DATA)
        client.shutdown(socket.SHUT_WR)
        assert client.recv(16) == b"done"
        assert client.recv(16) == b""
    return b"".join(received)


@pytest.mark.parametrize("family", [4, 6])
@pytest.mark.parametrize("has_offloads", [True, False], ids=["gso", "no-gso"])
def test_the_accounts_of_a_connection_are_what_the_far_end_received(
    ground: Ground, family: int, has_offloads: bool, tmp_path: Path
) -> None:
    ground.offloads(on=has_offloads)
    loaded = ground.load(ACCOUNT, tmp_path)
    ground.route(family, loaded.programs["account"])
    with counting(ground.far, family) as arrived:
        assert transfer(ground, family) == DATA
    ((_, counted),) = loaded.maps["traffic_by_destination"].items()
    assert list(arrived) == ["fa"]
    lengths = arrived["fa"]
    repeated = len(lengths) - counted["packets"]
    assert counted["bytes"] + repeated * HEADERS[family] == sum(lengths)
    if has_offloads:
        assert repeated == 0
        assert max(lengths) > 1500
    else:
        assert repeated > 0
        assert max(lengths) <= 1500


def test_a_drop_makes_connecting_time_out_and_goes_with_its_program(ground: Ground, tmp_path: Path) -> None:
    loaded = ground.load(DROP, tmp_path)
    ground.route(4, loaded.programs["drop"])
    with serving(ground.far, 4) as (port, _), counting(ground.far, 4) as arrived:
        with ground.socket(4) as client:
            client.settimeout(0.3)
            with pytest.raises(TimeoutError):
                client.connect((SERVER[4], port))
        assert loaded.maps[".bss"][0]["runs"] >= 1
    assert arrived == {}
    ground.route(4, None)
    assert transfer(ground, 4) == DATA


@pytest.mark.parametrize("family", [4, 6])
@pytest.mark.parametrize("has_offloads", [True, False], ids=["gso", "no-gso"])
def test_a_connection_goes_by_the_device_that_it_is_redirected_to(
    ground: Ground, family: int, has_offloads: bool, tmp_path: Path
) -> None:
    ground.offloads(on=has_offloads)
    loaded = ground.load(REDIRECT, tmp_path)
    ground.route(family, loaded.programs["redirect"])
    with counting(ground.far, family) as arrived:
        assert transfer(ground, family) == DATA
    assert list(arrived) == ["fb"]
    counts = loaded.maps[".bss"][0]
    assert counts["in_batches"] > 0
    assert (counts["runs"] == len(arrived["fb"])) == has_offloads


@pytest.mark.parametrize("has_offloads", [True, False], ids=["gso", "no-gso"])
def test_a_connection_goes_by_the_route_that_its_mark_chooses(
    ground: Ground, has_offloads: bool, tmp_path: Path
) -> None:
    ground.offloads(on=has_offloads)
    lines = "rule add fwmark 7 table 77\nroute add default via 10.1.0.2 table 77\n"
    _run(ground.host.namespace, "ip", "-batch", "-", text=lines)
    loaded = ground.load(REROUTE, tmp_path)
    ground.route(4, loaded.programs["reroute"])
    with counting(ground.far, 4) as arrived:
        assert transfer(ground, 4) == DATA
    assert list(arrived) == ["fb"]
    assert (loaded.maps[".bss"][0]["runs"] == len(arrived["fb"])) == has_offloads
