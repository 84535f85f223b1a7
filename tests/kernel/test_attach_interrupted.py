"""Ctrl-C, or an error, in the middle of a change of routes: what was done is taken back."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from itertools import count

import pytest

from operator_ground import COUNT, NewRoute, OperatorGround, operator_ground
from routebpf.kernel.attached_routes import list_attached
from routebpf.kernel.netlink import RouteSocket
from routebpf.objects.compiler import compile_source

pytestmark = pytest.mark.kernel

PREFIX, OTHER, SIXTH = "192.168.9.0/24", "192.168.10.0/24", "fd99::/32"
NEW = "172.30.0.0/16"
TAKEN_BACK, DONE = ("planned", "replaced", "verified"), ("done", "cleaned")
OLD_PROGRAM, NEW_PROGRAM = COUNT % ("lwt_xmit", "BPF_OK"), COUNT % ("lwt_xmit", "BPF_DROP")
MANY = [f"11.{number >> 8}.{number & 255}.0/24" for number in range(3_000)]


@pytest.fixture
def ground(tmp_path) -> Iterator[OperatorGround]:
    with operator_ground(tmp_path / "run") as made:
        made.ip("route add", PREFIX, "via 10.0.0.2 mtu 1300")
        made.ip("route add", OTHER, "nexthop via 10.0.0.2 nexthop via 10.0.1.2 weight 3")
        made.ip("-6 route add", SIXTH, "via fd00::2 metric 7")
        yield made


def interrupted_at(step: str) -> Callable[[str], None]:
    def hook(name: str) -> None:
        if name == step:
            raise KeyboardInterrupt

    return hook


def before_each_answer(monkeypatch: pytest.MonkeyPatch, act: Callable[[int], None]) -> Callable[[str], None]:
    """A hook of steps: from the first change of routes on, `act` is called before answers of the kernel are read, with
    the number of the time."""
    receive, times = RouteSocket._receive, count(1)

    def with_act(self: RouteSocket) -> object:
        act(next(times))
        return receive(self)

    def hook(step: str) -> None:
        if step == "planned":
            monkeypatch.setattr(RouteSocket, "_receive", with_act)

    return hook


def seen(ground: OperatorGround) -> tuple[list[object], list[str], list[tuple[str, dict[str, str]]]]:
    """Routes, pins, and what is listed: all that a change may leave."""
    listed = [(one.state, one.programs) for one in list_attached(ground.namespace).routes]
    return ground.routes(), ground.pinned(), listed


@pytest.mark.parametrize("step", TAKEN_BACK)
def test_an_interrupted_attach_leaves_nothing(ground, read, step):
    before = seen(ground)
    with pytest.raises(KeyboardInterrupt):
        ground.attach(read(NEW_PROGRAM), PREFIX, OTHER, SIXTH, on_step=interrupted_at(step))
    assert seen(ground) == before
    assert {one.what for one in ground.attach(read(NEW_PROGRAM), PREFIX, OTHER, SIXTH)} == {"attach"}


@pytest.mark.parametrize("step", TAKEN_BACK)
def test_an_interrupted_replace_leaves_the_old_program_with_its_maps(ground, read, step):
    ground.attach(read(OLD_PROGRAM), PREFIX, OTHER, SIXTH, headroom=14)
    before = seen(ground)
    with pytest.raises(KeyboardInterrupt):
        ground.attach(read(NEW_PROGRAM), PREFIX, SIXTH, OTHER, on_step=interrupted_at(step))
    assert seen(ground) == before


@pytest.mark.parametrize("step", TAKEN_BACK)
def test_an_interrupted_attach_takes_a_route_away_that_it_made(ground, read, step):
    before, way = seen(ground), NewRoute(bytes((10, 0, 1, 2)))
    with pytest.raises(KeyboardInterrupt):
        ground.attach(read(NEW_PROGRAM), NEW, create=way, on_step=interrupted_at(step))
    assert seen(ground) == before


@pytest.mark.parametrize("step", [one for one in TAKEN_BACK if one != "verified"])
def test_an_interrupted_detach_leaves_the_programs(ground, read, step):
    ground.attach(read(OLD_PROGRAM), PREFIX, OTHER, SIXTH)
    ground.attach(read(OLD_PROGRAM), NEW, create=NewRoute(bytes((10, 0, 1, 2))))
    before = seen(ground)
    with pytest.raises(KeyboardInterrupt):
        ground.detach(on_step=interrupted_at(step))
    assert sorted(map(str, seen(ground)[0])) == sorted(map(str, before[0]))
    assert seen(ground)[1:] == before[1:]


@pytest.mark.parametrize("step", DONE)
def test_once_the_ledger_says_done_it_stays(ground, read, step):
    with pytest.raises(KeyboardInterrupt):
        ground.attach(read(NEW_PROGRAM), PREFIX, OTHER, on_step=interrupted_at(step))
    assert [one for one, _ in seen(ground)[2]] == ["attached", "attached"]
    assert {one.what for one in ground.attach(read(NEW_PROGRAM), PREFIX, OTHER)} == {"unchanged"}


@pytest.mark.parametrize("verb", ["attach", "replace", "detach"])
def test_an_interrupt_right_behind_the_first_writing_of_the_ledger_leaves_nothing_under_way(
    ground, read, monkeypatch, verb
):
    if verb != "attach":
        ground.attach(read(OLD_PROGRAM), PREFIX, SIXTH)
    before = seen(ground)
    rename, count = os.rename, 0

    def once(*paths: str) -> None:
        nonlocal count
        rename(*paths)
        count += 1
        if count == 1:
            raise KeyboardInterrupt

    monkeypatch.setattr(os, "rename", once)
    with pytest.raises(KeyboardInterrupt):
        ground.detach() if verb == "detach" else ground.attach(read(NEW_PROGRAM), PREFIX, SIXTH)
    assert count >= 1
    assert seen(ground) == before


@pytest.mark.parametrize("has_program", [False, True])
def test_an_attach_is_taken_back_whose_answers_were_not_all_read(ground, read, monkeypatch, has_program):
    ground.batch("\n".join(f"route add {one} via 10.0.0.2" for one in MANY))
    if has_program:
        ground.attach(read(OLD_PROGRAM), *MANY[::3])
    before = seen(ground)
    numbers: list[int] = []

    def cut(number: int) -> None:
        numbers.append(number)
        if number == 3:  # the second datagram's routes are replaced by now
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        ground.attach(read(NEW_PROGRAM), *MANY, on_step=before_each_answer(monkeypatch, cut))
    assert max(numbers) >= 3
    assert seen(ground) == before


def test_what_is_taken_back_is_so_though_ctrl_c_comes_again_and_again(ground, read, monkeypatch):
    ground.batch("\n".join(f"route add {one} via 10.0.0.2" for one in MANY))
    ground.attach(read(OLD_PROGRAM), *MANY[::3])
    before = seen(ground)
    receive = RouteSocket._receive
    numbers: list[int] = []

    def cut(number: int) -> None:
        numbers.append(number)
        if number >= 3:
            os.kill(os.getpid(), signal.SIGINT)

    # The kernel gives the signal to this one, where the main thread does not take it.
    other = threading.Thread(target=(end := threading.Event()).wait)
    other.start()
    with pytest.raises(KeyboardInterrupt):
        ground.attach(read(NEW_PROGRAM), *MANY, on_step=before_each_answer(monkeypatch, cut))
    end.set()
    other.join()
    assert max(numbers) > 3
    monkeypatch.setattr(RouteSocket, "_receive", receive)
    assert seen(ground) == before


def test_ctrl_c_at_any_moment_of_the_command_leaves_all_routes_alike(ground, tmp_path):
    """The real command and signal, every other time twice."""
    ground.batch("\n".join(f"route add {one} via 10.0.0.2" for one in MANY))
    bare = ground.routes()
    source, program, listed = tmp_path / "program.bpf.c", tmp_path / "program.o", tmp_path / "prefixes"
    source.write_text(f'#include <routebpf.h>\n{NEW_PROGRAM}\nchar LICENSE[] SEC("license") = "GPL";\n')
    program.write_bytes(compile_source(source))
    listed.write_text("\n".join(MANY))
    here = ["--from", str(listed), "--namespace", ground.name]
    generator, outcomes = random.Random(5), set()
    for number in range(30):
        child = subprocess.Popen(
            [sys.executable, "-m", "routebpf", "attach", str(program), *here], stderr=subprocess.PIPE, text=True
        )
        time.sleep(generator.uniform(0.03, 0.2))
        os.kill(child.pid, signal.SIGINT)
        if number % 2:
            time.sleep(generator.uniform(0, 0.01))
            child.send_signal(signal.SIGINT)
        _, said = child.communicate()
        states = [one.state for one in list_attached(ground.namespace).routes]
        assert child.returncode in (0, 130, -signal.SIGINT), said
        assert "Traceback" not in said
        assert (len(states), len(set(states))) in ((0, 0), (len(MANY), 1))
        assert set(states) <= {"attached"}
        outcomes.add((child.returncode, *set(states)))
        if states:
            ground.detach()
        assert ground.routes() == bare
    assert (130,) in outcomes
