"""Pins in the BPF file system: made, replaced, opened, taken away; and the file system where there is none."""

from __future__ import annotations

import ctypes
import os
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from kernel_view import fdinfo
from routebpf.errors import InputError, MissingError
from routebpf.kernel.bpffs import is_bpffs, make_folder, mount_bpffs, pin, unpin
from routebpf.kernel.map_create import create_map
from routebpf.kernel.map_open import map_at
from routebpf.kernel.object import load_in_kernel
from routebpf.kernel.programs import program_at
from routebpf.objects.model import MapDefinition
from without_capabilities import without

pytestmark = pytest.mark.kernel

DEFINITION = MapDefinition("flows", 1, 4, 8, 16)
_libc = ctypes.CDLL(None, use_errno=True)


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    """A BPF file system of this test's own, mounted by ours."""
    assert not is_bpffs(str(tmp_path))
    assert mount_bpffs(str(tmp_path))
    yield tmp_path
    assert _libc.umount2(os.fsencode(tmp_path), 0) == 0


def pins(folder: Path) -> list[str]:
    """The paths of what is pinned there: files with a dot in their name are the kernel's own."""
    return [str(one) for one in folder.iterdir() if "." not in one.name]


def test_the_file_system_is_mounted_once_and_for_root_only(folder):
    assert is_bpffs(str(folder))
    assert not mount_bpffs(str(folder))
    mounts = [line.split() for line in Path("/proc/self/mounts").read_text().splitlines()]
    assert [one[2] for one in mounts if one[1] == str(folder)] == ["bpf"]
    assert folder.stat().st_mode & 0o777 == 0o700


def test_it_cannot_be_mounted_where_there_is_no_folder(tmp_path):
    with pytest.raises(MissingError, match=r"mount the BPF file system at .*/nowhere: there is no such folder"):
        mount_bpffs(str(tmp_path / "nowhere"))


def test_folders_are_for_their_owner_only(folder):
    place = folder / "routes" / "inner"
    make_folder(str(place))
    make_folder(str(place))
    for one in (place, place.parent):
        assert stat.S_IMODE(one.stat().st_mode) == 0o700


def test_a_folder_that_cannot_be_made_names_what_is_in_the_way(folder):
    remount, read_only = 0x20, 0x1  # MS_REMOUNT, MS_RDONLY
    assert _libc.mount(b"bpf", os.fsencode(folder), b"bpf", ctypes.c_ulong(remount | read_only), None) == 0
    with pytest.raises(MissingError, match="Read-only file system; mount -o remount,rw /sys/fs/bpf"):
        make_folder(str(folder / "a"))
    assert _libc.mount(b"bpf", os.fsencode(folder), b"bpf", ctypes.c_ulong(remount), None) == 0
    make_folder(str(folder / "a"))

    def as_nobody() -> str:
        os.setuid(65534)
        make_folder(str(folder / "a" / "b"))
        return "made"

    folder.chmod(0o711)
    answer = without((), as_nobody)
    assert answer.startswith("MissingError: make folder ")
    assert answer.endswith("Permission denied: folders of pins are their owner's only; run it as root")


def test_a_pinned_map_outlives_what_made_it(folder):
    path = str(folder / "flows")
    with create_map(DEFINITION) as made:
        made.update(b"key1", bytes(8))
        number = made.id
        pin(made, path)
    with map_at(path) as again:
        assert again.id == number == int(fdinfo(again.fd)["map_id"])
        assert dict(again.items()) == {b"key1": bytes(8)}
        assert again.definition == DEFINITION
    assert pins(folder) == [path]
    assert unpin(path)
    assert not unpin(path)
    assert not pins(folder)


def test_a_pin_does_not_take_the_place_of_a_folder(folder):
    path = folder / "flows"
    make_folder(str(path))
    with create_map(DEFINITION) as made, pytest.raises(InputError, match=r"pin .*/flows: Is a directory"):
        pin(made, str(path))
    assert pins(folder) == [str(path)]


def test_a_folder_does_not_take_the_place_of_a_pin(folder):
    with create_map(DEFINITION) as made:
        pin(made, str(folder / "flows"))
    with pytest.raises(InputError, match=r"make folder .*/flows: something else has this name"):
        make_folder(str(folder / "flows"))


def test_who_may_not_mount_it_is_told_how_to_do_without(tmp_path):
    said = without(("CAP_SYS_ADMIN",), lambda: str(mount_bpffs(str(tmp_path))))
    assert said.startswith("MissingError: mount the BPF file system at ")
    assert "this process lacks CAP_SYS_ADMIN (to mount a file system)" in said
    assert said.endswith(f"; or have it mounted before: mount -t bpf bpf {tmp_path}")


def test_a_pin_is_replaced_and_nothing_else_is_left(folder, read):
    path = str(folder / "run")
    with load_in_kernel(read('SEC("lwt_xmit") int run(struct __sk_buff *skb) { return 1; }')) as first:
        pin(first.programs["run"], path)
    with load_in_kernel(read('SEC("lwt_xmit") int run(struct __sk_buff *skb) { return 2; }')) as second:
        pin(second.programs["run"], path)
    with program_at(path) as program:
        assert program.run(bytes(64)).returned == 2
        assert program.tag == fdinfo(program.fd)["prog_tag"]
    assert pins(folder) == [path]


def test_what_is_pinned_is_not_taken_for_something_else(folder):
    with create_map(DEFINITION) as made:
        pin(made, str(folder / "flows"))
    with pytest.raises(InputError, match=r"open pin .*/flows: it is a map, not a prog"):
        program_at(str(folder / "flows"))


@pytest.mark.parametrize(
    ("name", "text"),
    [("a.b", "names in the BPF file system hold no dots"), ("none/flows", "No such file or directory")],
)
def test_a_pin_that_cannot_be_says_why(folder, name, text):
    with create_map(DEFINITION) as made, pytest.raises(InputError, match=f"pin .*/{name}: {text}"):
        pin(made, str(folder / name))
    with pytest.raises(InputError, match=r"open pin .*: No such file or directory"):
        map_at(str(folder / "nothing"))


def test_a_pin_elsewhere_is_refused(tmp_path):
    with (
        create_map(DEFINITION) as made,
        pytest.raises(InputError, match="this is in no BPF file system; that is mounted"),
    ):
        pin(made, str(tmp_path / "flows"))
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(InputError, match=r"open pin /etc/passwd: it is in no BPF file system; that is mounted"):
        map_at("/etc/passwd")
    with pytest.raises(InputError, match=r"open pin /sys/fs/bpf: it is a folder"):
        map_at("/sys/fs/bpf")
