"""Traffic while programs on its route come, change and go: no send fails, and no packet misses both programs."""

from __future__ import annotations

import os
import select
import socket
from collections.abc import Iterator

import pytest

from operator_ground import COUNT, NewRoute, OperatorGround, operator_ground
from routebpf.kernel.map_open import map_at
from routebpf.kernel.namespaces import open_socket

pytestmark = pytest.mark.kernel

PASS = COUNT % ("lwt_xmit", "BPF_OK")
# The prefix, its route, and addresses to send to: so many that every next hop has some.
FLOODED = {
    "IPv4": ("192.168.20.0/24", "via 10.0.0.2", [f"192.168.20.{host}" for host in range(1, 17)]),
    "IPv4, two next hops": (
        "192.168.20.0/24",
        "nexthop via 10.0.0.2 weight 2 nexthop via 10.0.1.2",
        [f"192.168.20.{host}" for host in range(1, 17)],
    ),
    "IPv6": ("fd20::/64", "via fd00::2", [f"fd20::{host:x}" for host in range(1, 17)]),
    "IPv6, two next hops": (
        "fd20::/64",
        "nexthop via fd00::2 weight 2 nexthop via fd01::2",
        [f"fd20::{host:x}" for host in range(1, 17)],
    ),
}


@pytest.fixture
def ground(tmp_path) -> Iterator[OperatorGround]:
    with operator_ground(tmp_path / "run") as made:
        yield made


@pytest.fixture(params=FLOODED)
def flooded(request, ground) -> tuple[str, list[str]]:
    """A route and the addresses to flood it by."""
    prefix, way, addresses = FLOODED[request.param]
    ground.ip("-6" if ":" in prefix else "-4", "route add", prefix, way)
    return prefix, addresses


def test_no_packet_misses_both_programs_and_no_send_fails_while_they_change(ground, read, flooded):
    """125 replaces between two programs, each with a counter of its own, under a flood."""
    prefix, addresses = flooded
    one = read(PASS)
    other = read(PASS.replace("packets", "packages"))
    ground.attach(one, "192.168.10.0/24", create=NewRoute(bytes((10, 0, 1, 2))))  # what keeps both loaded
    ground.attach(other, "192.168.11.0/24", create=NewRoute(bytes((10, 0, 1, 2))))
    ground.attach(one, prefix)
    flood = Flood(ground, addresses)
    with flood:
        for number in range(125):
            (done,) = ground.attach((other, one)[number % 2], prefix)
            assert done.what == "replace"
    assert flood.errors == []
    assert flood.sent > 1000
    total = 0
    for name in ("packets", "packages"):
        path = next(ground.pins.rglob(name))
        with map_at(str(path)) as found:
            value = int.from_bytes(found.lookup(bytes(4)) or b"", "little")
            assert value > 0
            total += value
    assert total == flood.sent


def test_no_send_fails_while_programs_come_and_go(ground, read, flooded):
    prefix, addresses = flooded
    source, other = read(PASS), read(PASS.replace("packets", "packages"))
    before = ground.routes()
    flood = Flood(ground, addresses)
    with flood:
        for _ in range(50):
            ground.attach(source, prefix)
            ground.attach(other, prefix)
            ground.detach(prefix)
    assert flood.errors == []
    assert flood.sent > 100
    assert ground.routes() == before


class Flood:
    """A process that sends as fast as it can: how many went, and the errno of those that did not."""

    def __init__(self, ground: OperatorGround, addresses: list[str]) -> None:
        self.sent = 0
        self.errors: list[int] = []
        self._ground = ground
        self._targets = [(one, 9) for one in addresses]

    def __enter__(self) -> Flood:
        family = socket.AF_INET6 if ":" in self._targets[0][0] else socket.AF_INET
        with open_socket(self._ground.namespace, family, socket.SOCK_DGRAM) as sock:
            self._answers, answers = os.pipe()
            may_go_on, self._may_go_on = os.pipe()
            self._child = os.fork()
            if self._child == 0:
                os.close(self._may_go_on)
                self._run(sock, may_go_on, answers)
        os.close(may_go_on)
        os.close(answers)
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self._may_go_on)
        with os.fdopen(self._answers) as file:
            self.sent, *self.errors = map(int, file.read().split())
        os.waitpid(self._child, 0)

    def _run(self, sock: socket.socket, may_go_on: int, answers: int) -> None:
        sent, errors = 0, []
        while not select.select([may_go_on], [], [], 0)[0]:
            for target in self._targets:
                try:
                    sock.sendto(b"x", target)
                    sent += 1
                except OSError as error:
                    errors.append(error.errno or -1)
        os.write(answers, " ".join(map(str, [sent, *errors[:100]])).encode())
        os._exit(0)
