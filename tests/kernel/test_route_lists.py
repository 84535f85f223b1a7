"""Routes of a table that others change all the while: none of ours is missed, none is told twice."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from operator_ground import COUNT, OperatorGround, operator_ground
from routebpf.errors import InputError
from routebpf.kernel.attached_routes import list_attached

pytestmark = pytest.mark.kernel

ROUTES = {
    "IPv4": ("10.0.0.2", "50.{}.{}.0/24", "49.{}.{}.0/24"),
    "IPv6": ("fd00::2", "fd50:{:x}:{:x}::/48", "fd40:{:x}:{:x}::/48"),
}


@pytest.fixture
def ground(tmp_path) -> Iterator[OperatorGround]:
    with operator_ground(tmp_path / "run") as made:
        yield made


@contextmanager
def coming_and_going(ground: OperatorGround, prefixes: list[str], gateway: str) -> Iterator[None]:
    """Another process adds these routes and deletes them, over and over."""
    lines = "\n".join(f"route {verb} {one} via {gateway}" for verb in ("add", "del") for one in prefixes)
    is_over = threading.Event()

    def work() -> None:
        while not is_over.is_set():
            ground.batch(lines)

    thread = threading.Thread(target=work)
    thread.start()
    try:
        yield
    finally:
        is_over.set()
        thread.join()


@pytest.mark.parametrize("family", ROUTES)
def test_all_of_ours_are_seen_while_others_come_and_go(ground, read, family):
    gateway, ours, others = ROUTES[family]
    mine = [ours.format(number >> 8, number & 255) for number in range(4_000)]
    noise = [others.format(number >> 8, number & 255) for number in range(400)]
    ground.batch("\n".join(f"route add {one} via {gateway}" for one in mine))
    before = ground.routes()
    source, other = read(COUNT % ("lwt_xmit", "BPF_OK")), read(COUNT % ("lwt_xmit", "BPF_DROP"))
    with coming_and_going(ground, noise, gateway):
        for _ in range(5):
            assert Counter(one.what for one in ground.attach(source, *mine)) == {"attach": 4_000}
            assert Counter(one.what for one in ground.attach(other, *mine)) == {"replace": 4_000}
            for _ in range(5):
                listed = [one.state for one in list_attached(ground.namespace).routes]
                assert Counter(listed) == {"attached": 4_000}
            assert Counter(one.what for one in ground.detach()) == {"detach": 4_000}
    assert ground.routes() == before
    assert ground.pinned() == []


@pytest.mark.parametrize("prefix", ["::/0", "100::/16"])
def test_a_route_of_many_next_hops_is_listed_though_it_is_the_first_and_longer_than_a_page(ground, read, prefix):
    """iproute2 lists it no more, once it has programs."""
    ground.batch("\n".join(f"route append {prefix} via fd00::{number:x} dev veth0" for number in range(2, 130)))
    before = ground.routes()
    (done,) = ground.attach(read(COUNT % ("lwt_xmit", "BPF_OK")), prefix)
    (listed,) = list_attached(ground.namespace).routes
    assert (listed.state, listed.programs) == ("attached", {"xmit": done.program})
    assert [one.what for one in ground.detach(prefix)] == ["detach"]
    assert ground.routes() == before


@pytest.mark.parametrize("dry_run", [True, False])
def test_a_route_that_the_kernel_could_not_list_any_more_is_refused(ground, read, dry_run):
    """With 420 next hops and these programs it still can."""
    source = read(COUNT % ("lwt_xmit", "BPF_OK"))
    ground.batch("\n".join(f"route append 100::/16 via fd00::{number:x} dev veth0" for number in range(2, 502)))
    with pytest.raises(InputError, match=r"100::/16: it has 500 next hops, and .* could not list it any more"):
        ground.attach(source, "100::/16", dry_run=dry_run)
    assert (ground.pinned(), list_attached(ground.namespace).routes) == ([], [])
    ground.batch("\n".join(f"route del 100::/16 via fd00::{number:x} dev veth0" for number in range(402, 502)))
    before = ground.routes()
    assert [one.what for one in ground.attach(source, "100::/16")] == ["attach"]
    assert [one.what for one in ground.detach()] == ["detach"]
    assert ground.routes() == before
