"""Namespaces of ours: made, entered, gone; and swept up after a process that was killed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from netns_folder import own_folder
from routebpf.errors import InputError
from routebpf.kernel import namespaces
from routebpf.kernel.namespaces import Namespace

pytestmark = pytest.mark.kernel


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    with own_folder(tmp_path / "netns") as made:
        yield made


def _inode(path: str) -> int:
    return os.stat(path).st_ino


def _listed() -> list[str]:
    """As iproute2 lists them."""
    shown = subprocess.run(["ip", "netns", "list"], capture_output=True, text=True, check=True).stdout
    return [line.split()[0] for line in shown.splitlines()]


def _child(text: str) -> subprocess.Popen[str]:
    return subprocess.Popen([sys.executable, "-c", textwrap.dedent(text)], stdout=subprocess.PIPE, text=True)


def test_a_namespace_is_one_that_ip_sees_and_is_gone_when_removed() -> None:
    made = namespaces.create_namespace()
    try:
        assert made.name in _listed()
        links = subprocess.run(["ip", "-n", made.name, "-o", "link"], capture_output=True, text=True, check=True).stdout
        assert links.startswith("1: lo:")
        assert len(links.splitlines()) == 1
    finally:
        namespaces.remove_namespace(made)
    assert made.name not in _listed()
    assert not os.path.exists(made.path)


def test_a_namespace_goes_though_somebody_holds_it_open() -> None:
    made = namespaces.create_namespace()
    with open(made.path):
        namespaces.remove_namespace(made)
        assert not os.path.exists(made.path)


def test_only_the_thread_that_runs_inside_is_in_the_namespace() -> None:
    made = namespaces.create_namespace()
    try:
        here = _inode("/proc/thread-self/ns/net")
        there = namespaces.run_inside(made, lambda: _inode("/proc/thread-self/ns/net"))
        assert there == os.stat(made.path).st_ino != here
        assert _inode("/proc/thread-self/ns/net") == here
        assert _inode(f"/proc/self/task/{threading.get_native_id()}/ns/net") == here
    finally:
        namespaces.remove_namespace(made)


def test_what_fails_inside_is_raised_outside() -> None:
    made = namespaces.create_namespace()
    try:
        with pytest.raises(ZeroDivisionError):
            namespaces.run_inside(made, lambda: 1 // 0)
    finally:
        namespaces.remove_namespace(made)


def test_a_sysctl_is_set_inside_only() -> None:
    path = Path("/proc/sys/net/ipv4/conf/default/rp_filter")
    before = path.read_text()
    made = namespaces.create_namespace()
    try:
        assert namespaces.write_sysctl(made, "ipv4/conf/default/rp_filter", 2)
        assert namespaces.run_inside(made, path.read_text) == "2\n"
        assert path.read_text() == before
        assert not namespaces.write_sysctl(made, "ipv4/no_such_thing", 1)
    finally:
        namespaces.remove_namespace(made)


def test_a_namespace_that_is_not_there_is_told_with_those_that_are() -> None:
    with pytest.raises(InputError, match="there is no network namespace rbpf-none"):
        namespaces.existing_namespace("rbpf-none")
    with pytest.raises(InputError, match="there is no network namespace"):
        namespaces.existing_namespace("../../etc/passwd")
    for name in ("", ".", ".."):
        with pytest.raises(InputError, match="there is no network namespace"):
            namespaces.existing_namespace(name)


def test_a_namespace_that_is_mounted_elsewhere_is_told_as_such():
    """What a command in a mount namespace of its own leaves behind for all others."""
    name = f"rbpf-{os.getpid()}-elsewhere"
    subprocess.run(["unshare", "--mount", "ip", "netns", "add", name], check=True)
    try:
        with pytest.raises(InputError, match=f"{name} is an empty file; it was mounted where this process does not"):
            namespaces.open_route_socket(namespaces.existing_namespace(name))
    finally:
        subprocess.run(["ip", "netns", "del", name], check=True)


def test_the_next_run_removes_what_a_killed_process_left_and_nothing_else(folder: Path) -> None:
    child = _child(f"""
        import time
        from pathlib import Path
        from routebpf.kernel import namespaces
        namespaces.FOLDER = Path({str(folder)!r})
        print(namespaces.create_namespace().name, flush=True)
        time.sleep(60)
    """)
    assert child.stdout is not None
    name = child.stdout.readline().strip()
    others = {"rbpf-1-1-1-other", "rbpf-mine", "rbpf-1-1-1-1"}  # the last: of a PID namespace that is not seen
    for one in others:
        (folder / one).touch()
    assert Namespace(name) not in namespaces.left_behind()
    child.send_signal(signal.SIGKILL)
    os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)  # dead, though nobody has asked how it ended
    assert name in os.listdir(folder)
    made = namespaces.create_namespace()
    namespaces.remove_namespace(made)
    child.wait()
    assert set(os.listdir(folder)) == others


def test_another_process_that_has_the_number_of_the_dead_one_does_not_keep_its_namespace(folder: Path) -> None:
    made = namespaces.create_namespace()
    pid, start, place = made.name.split("-")[1:4]
    reused = Namespace(f"rbpf-{pid}-{int(start) - 1}-{place}-0")
    Path(reused.path).touch()
    assert namespaces.left_behind() == [reused]
    assert namespaces.remove_left_behind() == [reused]
    assert os.listdir(folder) == [made.name]


@pytest.mark.parametrize(
    "inside",
    [
        ["unshare", "--pid", "--fork", "--mount-proc"],
        ["unshare", "--pid", "--fork"],
        ["unshare", "--mount", "sh", "-c", 'umount --lazy /proc && exec "$@"', "sh"],
    ],
)
def test_who_does_not_see_a_process_leaves_its_namespace_alone(folder: Path, inside: list[str]) -> None:
    """In a PID namespace of its own, with the /proc of it or of another, and without /proc."""
    made = namespaces.create_namespace()
    script = f"""
        from pathlib import Path
        from routebpf.kernel import namespaces
        namespaces.FOLDER = Path({str(folder)!r})
        print(namespaces.remove_left_behind())
    """
    command = [*inside, sys.executable, "-c", textwrap.dedent(script)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.stdout, done.stderr) == ("[]\n", "")
    assert os.listdir(folder) == [made.name]


def test_a_namespace_goes_though_ip_has_made_its_first_one_meanwhile() -> None:
    """`ip netns add` mounts /run/netns upon itself where it is no shared mount yet: here in mounts of this test's own,
    which none shares, with nothing in /run."""
    script = """
        import os, subprocess
        from routebpf.kernel import namespaces
        made = namespaces.create_namespace()
        subprocess.run(["ip", "netns", "add", "rbpf-by-ip"], check=True)
        namespaces.remove_namespace(made)
        print(os.listdir("/run/netns"))
        subprocess.run(["ip", "netns", "delete", "rbpf-by-ip"], check=True)
        print(os.listdir("/run/netns"))
    """
    inside = [
        "unshare",
        "--mount",
        "--propagation",
        "private",
        "sh",
        "-c",
        'mount -t tmpfs none /run && exec "$@"',
        "sh",
    ]
    command = [*inside, sys.executable, "-c", textwrap.dedent(script)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.stdout, done.stderr) == ("['rbpf-by-ip']\n[]\n", "")
