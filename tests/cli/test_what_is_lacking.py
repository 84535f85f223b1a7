"""A machine or a process that lacks something: what, by name, with exit 3, and no namespace stays."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Sequence

import pytest

from command_line import COMMAND, DROP_SMTP, MAIL, ROOT
from routebpf.kernel.namespaces import FOLDER
from routebpf.kernel.syscall import syscall_numbers

pytestmark = pytest.mark.kernel

RUN = ["run", DROP_SMTP, "--pcap", MAIL, "--backend", "kernel"]
ALONE = ["unshare", "--mount", "--propagation", "private", "sh", "-c"]  # in mounts that nobody else sees


def where(setting: str) -> list[str]:
    """What makes a shell do something in mounts of its own, and then be the command that follows."""
    return [*ALONE, f'{setting} && exec "$@"', "sh"]


def without(*capabilities: str) -> list[str]:
    lost = ",".join(f"-{one}" for one in capabilities)
    return ["setpriv", "--bounding-set", lost, "--inh-caps", lost]


# Has the system calls of these numbers refused, and then is the command that follows.
REFUSE = """
import ctypes, os, struct, sys
numbers, libc = [int(one) for one in sys.argv[1].split(",")], ctypes.CDLL(None)
steps = [(0x20, 0, 0, 0)]  # the number of the call
steps += [(0x15, len(numbers) - at, 0, one) for at, one in enumerate(numbers)]
steps += [(6, 0, 0, 0x7FFF0000), (6, 0, 0, 0x50001)]  # let it through; EPERM
code = ctypes.create_string_buffer(b"".join(struct.pack("=HBBI", *one) for one in steps))
program = ctypes.create_string_buffer(struct.pack("@HP", len(steps), ctypes.addressof(code)))
assert libc.prctl(38, 1, 0, 0, 0) == 0 and libc.prctl(22, 2, program) == 0
os.execv(sys.argv[2], sys.argv[2:])
"""
SCHED_SETAFFINITY = {"x86_64": 203}.get(os.uname().machine, 122)


def refused(number: int) -> list[str]:
    return [sys.executable, "-c", REFUSE, str(number)]


def command(before: Sequence[str], *arguments: object) -> subprocess.CompletedProcess[str]:
    """Run it: no traceback, and none of its namespaces is left."""
    words = [*before, str(COMMAND), *map(str, arguments)]
    child = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=ROOT)
    output, errors = child.communicate()
    assert "Traceback" not in errors, errors
    assert [one for one in os.listdir(FOLDER) if one.startswith(f"rbpf-{child.pid}-")] == []
    return subprocess.CompletedProcess(words, child.returncode, output, errors)


# A user who may do nothing but read, as the interpreter may be where only root looks.
NOBODY = (
    *("--reuid", "65534", "--clear-groups"),
    *("--inh-caps", "+dac_read_search", "--ambient-caps", "+dac_read_search"),
)
LACKING = {
    "CAP_SYS_ADMIN": (without("sys_admin"), "EPERM: this process lacks CAP_SYS_ADMIN (to make and enter network"),
    "CAP_NET_ADMIN": (without("net_admin"), "EPERM: this process lacks CAP_NET_ADMIN (to set what a network"),
    "CAP_NET_RAW": (without("net_raw"), "EPERM: this process lacks CAP_NET_RAW (to send and see packets)"),
    "the right user": (["setpriv", *NOBODY], "Permission denied; run it as root"),
    "the first user namespace": (["unshare", "--user", "--map-root-user"], "in a user namespace, where they do not"),
    "user namespace, mounts": (["unshare", "--user", "--map-root-user", "--mount"], "in a user namespace, where they"),
    "a /run to write to": (where("mount -t tmpfs -o ro none /run"), ": /run/netns: Read-only file system"),
    "a folder of namespaces": (where("mount -t tmpfs none /run && touch /run/netns"), ": /run/netns: File exists"),
    "/proc": (where("umount --lazy /proc"), "/proc does not show this process; mount -t proc proc /proc"),
    "the /proc of its PID namespace": (["unshare", "--pid", "--fork"], "/proc does not show this process"),
    "settings to change": (
        where("mount --bind /proc/sys /proc/sys && mount -o remount,ro,bind /proc/sys"),
        "setting net/ipv4/ip_forward to 1: /proc/sys/net/ipv4/ip_forward: Read-only file system",
    ),
    "bpf(2)": (refused(syscall_numbers()[0]), "EPERM: it has the capabilities; a seccomp filter"),
    "any other call": (refused(SCHED_SETAFFINITY), "the machine refuses a system call (EPERM): a seccomp filter does"),
    "file descriptors": (where("ulimit -n 9"), "as many files open as it may (EMFILE): raise the limit"),
}


@pytest.mark.parametrize("what", LACKING)
def test_the_kernel_backend_says_what_it_lacks(what: str) -> None:
    before, said = LACKING[what]
    done = command(before, *RUN)
    assert (done.returncode, done.stdout) == (3, "")
    assert said in done.stderr
    assert len(done.stderr.splitlines()) == 1


@pytest.mark.parametrize("what", [what for what in LACKING if what != "any other call"])
def test_doctor_tells_beforehand(what: str) -> None:
    before, _ = LACKING[what]
    rows = {row["name"]: row for row in json.loads(command(before, "doctor", "--json").stdout)}
    found = rows.get(what, rows["kernel backend"])
    assert not found["is_there"]
    assert found["detail"]
    if what.startswith("CAP_"):
        assert what in rows["kernel backend"]["detail"]


@pytest.mark.parametrize("setting", ["ulimit -l 0", "umount /sys/fs/bpf", "umount --lazy /sys", "umount --lazy /dev"])
def test_what_the_kernel_backend_does_not_need_is_not_asked_for(setting: str) -> None:
    assert command(where(setting), *RUN).returncode == 0


def test_capabilities_are_known_without_proc() -> None:
    rows = {row["name"]: row for row in json.loads(command(where("umount --lazy /proc"), "doctor", "--json").stdout)}
    assert all(row["is_there"] for name, row in rows.items() if name != "kernel backend")


def test_no_other_kernel_is_advised_where_the_process_is_what_is_wrong() -> None:
    done = command(["unshare", "--user", "--map-root-user"], "doctor", "--json")
    assert done.returncode == 3
    found = json.loads(done.stdout)
    assert {row["detail"] for row in found if row["name"].startswith("CAP_")} == {"held, in a user namespace"}
    rows = [row for row in found if not row["is_there"]]
    assert {row["name"] for row in rows} >= {"bpf(2)", "LWT_XMIT programs", "perf buffers", "encap bpf"}
    assert all(row["mend"] is None and "in a user namespace" in row["detail"] for row in rows)


def test_without_the_kernels_types_only_what_needs_them_is_refused() -> None:
    hidden = where("mount -t tmpfs none /sys/kernel/btf")
    assert command(hidden, *RUN).returncode == 0
    assert command(hidden, "verify", "--kernel", DROP_SMTP).returncode == 0
    done = command(hidden, "spec", "--kernel", "kfuncs")
    assert done.returncode == 3
    assert "/sys/kernel/btf/vmlinux" in done.stderr
    rows = {row["name"]: row for row in json.loads(command(hidden, "doctor", "--json").stdout)}
    assert [name for name, row in rows.items() if not row["is_there"]] == ["kernel BTF", "kfuncs"]
