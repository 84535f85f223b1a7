"""Attach and detach keep all else of a route, as iproute2 tells it: before, with the program, and afterwards."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from operator_ground import COUNT, OperatorGround, operator_ground

pytestmark = pytest.mark.kernel

PREFIX, PREFIX6 = "192.168.9.0/24", "fd99::/32"
# Lines of `ip -batch`; the route that gets the program is the one to PREFIX or PREFIX6, chosen by the words behind `|`.
SHAPES = {
    "by device": "route add {p} dev veth0",
    "by gateway": "route add {p} via 10.0.0.2",
    "gateway on link": "route add {p} via 172.16.0.1 dev veth0 onlink",
    "IPv6 gateway of an IPv4 route": "route add {p} via inet6 fd00::2 dev veth0",
    "preferred source": "route add {p} via 10.0.0.2 src 10.0.0.1",
    "protocol": "route add {p} via 10.0.0.2 proto bird",
    "scope": "route add {p} dev veth0 scope global",
    "metric": "route add {p} via 10.0.0.2 metric 77",
    "realms": "route add {p} via 10.0.0.2 realms 4/7",
    "mtu": "route add {p} via 10.0.0.2 mtu 1300",
    "locked mtu": "route add {p} via 10.0.0.2 mtu lock 1280",
    "all metrics": "route add {p} via 10.0.0.2 mtu 1400 advmss 1300 window 9000 rtt 100ms rttvar 50ms reordering 5"
    " hoplimit 33 initcwnd 20 initrwnd 21 quickack 1 rto_min 300ms cwnd lock 30 ssthresh lock 40",
    "ECN": "route add {p} via 10.0.0.2 features ecn",
    "congestion control": "route add {p} via 10.0.0.2 congctl cubic",
    "TOS": "route add {p} via 10.0.0.2 tos 0x10",
    "another table": "route add {p} via 10.0.0.2 table 100|table=100",
    "a wide table": "route add {p} via 10.0.0.2 table 70000|table=70000",
    "metrics side by side": "route add {p} via 10.0.0.2 metric 5\nroute add {p} via 10.0.1.2 metric 6|metric=6",
    "TOS side by side": "route add {p} via 10.0.0.2 tos 0x08\nroute add {p} via 10.0.1.2|tos=0",
    "several next hops": "route add {p} nexthop via 10.0.0.2 dev veth0 nexthop via 10.0.1.2 dev veth1",
    "weights": "route add {p} nexthop via 10.0.0.2 dev veth0 weight 3 nexthop via 10.0.1.2 dev veth1 weight 200",
    "next hops by devices, with realms and flags": "route add {p} nexthop dev veth0 weight 2 realms 1/2"
    " nexthop via 172.16.0.1 dev veth1 onlink",
    "next hops of both families": "route add {p} mtu 1400 nexthop via inet6 fd00::2 dev veth0 nexthop via 10.0.1.2",
    "local": "route add local {p} dev veth0 table 100|table=100",
    "the second of two, by its device": "route add {p} via 10.0.0.2 metric 8\nroute add {p} dev veth1|device=veth1",
    "IPv6 by device": "-6 route add {q} dev veth0",
    "IPv6 by gateway": "-6 route add {q} via fd00::2",
    "IPv6 metric, mtu, source": "-6 route add {q} via fd00::2 metric 55 mtu lock 1300 hoplimit 9 src fd00::1",
    "IPv6 table and preference": "-6 route add {q} via fd00::2 table 100 pref high proto static|table=100",
    "IPv6 from a source": "-6 route add {q} from fd12::/16 via fd00::2 dev veth0",
    "IPv6 that expires": "-6 route add {q} via fd00::2 dev veth0 expires 600",
    "IPv6 on link": "-6 route add {q} via fdee::1 dev veth0 onlink",
    "IPv6 next hops": "-6 route add {q} nexthop via fd00::2 dev veth0 weight 2 nexthop via fd01::2 dev veth1 weight 9",
    "IPv6 with and without gateway": "-6 route add {q} dev veth1\n"
    "-6 route append {q} via fd00::2 dev veth0|device=veth0",
    "IPv6 metrics side by side": "-6 route add {q} via fd00::2 metric 5\n"
    "-6 route add {q} via fd01::2 metric 6|metric=6",
}


@pytest.fixture(scope="module")
def ground(tmp_path_factory: pytest.TempPathFactory) -> Iterator[OperatorGround]:
    with operator_ground(tmp_path_factory.mktemp("run")) as made:
        yield made


def selected(text: str) -> dict[str, int | str]:
    name, _, value = text.partition("=")
    return {name: int(value) if value.isdecimal() else value} if name else {}


@pytest.mark.parametrize("shape", SHAPES)
def test_a_route_is_the_same_but_for_its_program_and_afterwards_just_the_same(ground, read, shape):
    lines, _, choice = SHAPES[shape].partition("|")
    words, prefix = selected(choice), PREFIX6 if lines.startswith("-6") else PREFIX
    source = read(COUNT % ("lwt_xmit", "BPF_OK"))
    for line in lines.format(p=PREFIX, q=PREFIX6).splitlines():
        ground.ip(line)
    try:
        before = ground.routes()
        (done,) = ground.attach(source, prefix, **words)
        assert done.what == "attach"
        with_program = ground.routes()
        assert ground.bare_routes() == before
        carrying = [one for one in with_program if done.program in str(one)]
        assert len(carrying) == 1
        assert carrying[0]["dst"] == prefix
        hops = carrying[0].get("nexthops", [carrying[0]])
        assert all(done.program in str(hop) for hop in hops)
        ground.detach(prefix, **words)
        assert ground.routes() == before
    finally:
        for words in (PREFIX, f"{PREFIX6}", f"{PREFIX6} from fd12::/16"):
            for table in ("main", "100", "70000"):
                flush = f"ip {'-6' if ':' in words else '-4'} route flush table {table} exact {words}"
                ground.run_inside(*flush.split(), check=False)


def test_the_default_route_is_one_like_others(ground, read):
    ground.ip("route add default via 10.0.0.2")
    ground.ip("-6 route add default via fd00::2")
    before = ground.routes()
    source = read(COUNT % ("lwt_xmit", "BPF_OK"))
    ground.attach(source, "default", "::/0")
    assert ground.encap("default").count("encap bpf") == 1
    assert ground.encap("::/0").count("encap bpf") == 1
    assert ground.bare_routes() == before
    ground.detach("default", "::/0")
    assert ground.routes() == before
