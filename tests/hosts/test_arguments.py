"""What no host can have is refused before anything is changed: by both hosts alike, and as the kernel refuses it."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Iterator
from typing import Any

import pytest

import routebpf
from command_line import ROOT
from routebpf.errors import InputError
from routebpf.hosts.arguments import check_device

PACKET = bytes.fromhex("4500001c0000400040110000c0000201c00002020000000000000000")


@pytest.fixture(scope="module", params=["embedded", pytest.param("kernel", marks=pytest.mark.kernel)])
def host(request: pytest.FixtureRequest) -> Iterator[Any]:
    with routebpf.EmbeddedHost() if request.param == "embedded" else routebpf.KernelHost() as one:
        one.add_device("va", address="192.0.2.1/24")
        yield one


@pytest.fixture(scope="module")
def program() -> Any:
    return routebpf.load(ROOT / "examples" / "drop_smtp.bpf.c").programs["drop_smtp"]


WRONG: dict[str, Callable[[Any, Any], object]] = {
    "device '': a name has": lambda host, _: host.add_device(""),
    "device 'a/b': a name has": lambda host, _: host.add_device("a/b"),
    "its MTU is 67; it is 68 to 65535": lambda host, _: host.add_device("vb", mtu=67),
    "its MTU is 65536": lambda host, _: host.set_device("va", mtu=65536),
    "device va: its MAC address is 5 bytes": lambda host, _: host.set_device("va", mac=bytes(5)),
    "device va: 'x' does not appear to be": lambda host, _: host.add_address("va", "x"),
    "device va: 'y' does not appear to be": lambda host, _: host.has_address("va", "y"),
    "neighbour x: 'x' does not appear to be": lambda host, _: host.add_neighbour("va", "x", bytes(6)),
    "neighbour 192.0.2.2: its MAC address is '02:": lambda host, _: host.add_neighbour("va", "192.0.2.2", "02:00"),
    "via x: 'x' does not": lambda host, _: host.add_route("10.0.0.0/8", via="x"),
    "src x: 'x' does not": lambda host, _: host.add_route("10.0.0.0/8", dev="va", src="x"),
    "route x: 'x' does not": lambda host, _: host.add_route("x", dev="va"),
    "default: x: 'x' does not": lambda host, _: host.add_route("default", via="x"),
    "its type is fast; there are unicast, ": lambda host, _: host.add_route("10.0.0.0/8", dev="va", type="fast"),
    "its metric is -1": lambda host, _: host.add_route("10.0.0.0/8", dev="va", metric=-1),
    "its table is 4294967296": lambda host, _: host.add_route("10.0.0.0/8", dev="va", table=1 << 32),
    "its tos is 256": lambda host, _: host.add_route("10.0.0.0/8", dev="va", tos=256),
    "its realm is -1": lambda host, _: host.add_route("10.0.0.0/8", dev="va", realm=-1),
    "in_: drop_smtp is an LWT_XMIT program; in_ takes LWT_IN": lambda host, program: host.add_route(
        "10.0.0.0/8", dev="va", in_=program
    ),
    "is no program; give one of an object's programs": lambda host, program: host.add_route(
        "10.0.0.0/8", dev="va", xmit=program.object
    ),
    "out: 'x' is no program": lambda host, _: host.add_route("10.0.0.0/8", nexthops=[routebpf.Hop("va", out="x")]),  # type: ignore[arg-type]
    "a packet is bytes, from its IP header on, not str": lambda host, _: host.send("45"),
    "the packet's time is -1": lambda host, _: host.send(PACKET, time=-1),
    f"the packet's time is {1 << 63}": lambda host, _: host.send(PACKET, time=1 << 63),
    "the packet's time is 'noon'": lambda host, _: host.receive(PACKET, "va", time="noon"),
}


@pytest.mark.parametrize("said", WRONG)
def test_what_a_host_cannot_have_is_refused_and_changes_nothing(host: Any, program: Any, said: str) -> None:
    before = dict(host.devices), list(host.routes())
    with pytest.raises(InputError) as caught:
        WRONG[said](host, program)
    assert said in str(caught.value)
    assert (dict(host.devices), list(host.routes())) == before


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: routebpf.EmbeddedHost(cpus=0), "a number of CPUs is at least 1, not 0"),
        (lambda: routebpf.EmbeddedHost(clock="noon"), "a host's clock, if neither 'capture' nor 'machine', is 'noon'"),  # type: ignore[arg-type]
        (lambda: routebpf.EmbeddedHost(clock=-1), "is -1; it is a number of nanoseconds, 0 to"),
        (lambda: routebpf.EmbeddedHost(seed="x"), "a host's seed is 'x'"),  # type: ignore[arg-type]
        (lambda: routebpf.load(ROOT / "examples" / "drop_smtp.bpf.c", cpus=0), "a number of CPUs is at least 1, not 0"),
    ],
)
def test_what_makes_no_host_is_refused(make: Callable[[], object], said: str) -> None:
    with pytest.raises(InputError) as caught:
        make()
    assert said in str(caught.value)


def test_a_packet_is_any_bytes() -> None:
    host = routebpf.EmbeddedHost()
    assert host.send(memoryview(PACKET)) == host.send(bytearray(PACKET)) == host.send(PACKET)  # type: ignore[arg-type]


@pytest.mark.kernel
@pytest.mark.parametrize(
    ("name", "mtu"),
    [
        ("a" * 15, 68), ("a" * 16, 1500), ("é" * 7, 1500), ("é" * 8, 1500), ("a:b", 1500), ("a b", 1500), (".", 1500),
        ("..", 1500), ("...", 65535), ("va", 67), ("va", 65536), ("va", -1),
    ],
)  # fmt: skip
def test_names_and_mtus_are_refused_that_the_kernel_refuses(name: str, mtu: int) -> None:
    command = ["unshare", "--net", "ip", "link", "add", "name", name, "mtu", str(mtu), "type", "veth"]
    is_taken = subprocess.run(command, capture_output=True).returncode == 0
    try:
        check_device(name, mtu, None, is_loopback=False)
    except InputError:
        assert not is_taken
    else:
        assert is_taken
