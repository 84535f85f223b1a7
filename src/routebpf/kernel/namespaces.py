"""Network namespaces of ours: made, entered by a thread, removed, and swept up after a process that died.

One that we make is called rbpf-PID-START-PLACE-N: the process that made it, when that started (clock ticks since boot),
the PID namespace in which it has this PID, and a number. So the name alone says whether its maker still lives, to those
who see that PID namespace. They stand in /run/netns, where `ip netns` sees them.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import os
import re
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import TypeVar

from routebpf.errors import InputError, MissingError
from routebpf.kernel.netlink import RouteSocket
from routebpf.kernel.permission import permission_error

FOLDER = "/run/netns"

_CLONE_NEWNET = 0x40000000
_MS_BIND, _MS_REC, _MS_SHARED, _MNT_DETACH = 0x1000, 0x4000, 1 << 20, 2
_OURS = re.compile(r"rbpf-(\d+)-(\d+)-(\d+)-\d+")
_MAKING = "making a network namespace"
_NEEDS = {
    "CAP_SYS_ADMIN": "to make and enter network namespaces",
    "CAP_NET_ADMIN": "to set what a network namespace does",
    "CAP_NET_RAW": "to send and see packets",
}
_START_TIME_FIELD = 21 - 2  # in /proc/PID/stat, behind the command's name

_libc = ctypes.CDLL(None, use_errno=True)
_lock = threading.Lock()
_next_number = 0
_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class Namespace:
    """A network namespace that has a name. `fd`: of that namespace, where it is held (see hold_namespace)."""

    name: str
    fd: int | None = None

    @property
    def path(self) -> str:
        return os.path.join(FOLDER, self.name) if self.fd is None else f"/proc/self/fd/{self.fd}"


def create_namespace() -> Namespace:
    """Make a namespace of ours. What dead processes left is removed first.

    Raises MissingError without CAP_SYS_ADMIN or /proc, or if the kernel has no network namespaces.
    """
    global _next_number
    remove_left_behind()
    place = _pid_namespace()
    if place is None:
        raise MissingError(f"{_MAKING}: /proc does not show this process; mount -t proc proc /proc")
    with _lock:
        number, _next_number = _next_number, _next_number + 1
    namespace = Namespace(f"rbpf-{os.getpid()}-{_start_time(os.getpid())}-{place}-{number}")

    def make() -> None:
        _call("unshare", _libc.unshare(_CLONE_NEWNET))
        _share_folder()
        source = f"/proc/self/task/{threading.get_native_id()}/ns/net"
        _call("mount", _libc.mount(source.encode(), os.fsencode(namespace.path), None, _MS_BIND, None))

    try:
        os.makedirs(FOLDER, exist_ok=True)
        os.close(os.open(namespace.path, os.O_RDONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o444))
        _in_thread(make)
    except BaseException as error:
        with contextlib.suppress(OSError):
            remove_namespace(namespace)
        if isinstance(error, OSError):
            raise _missing(_MAKING, error) from error
        raise
    return namespace


def _share_folder() -> None:
    """Make the folder a shared mount, as `ip netns add` does where it is none: that would put the folder upon itself
    while our namespaces are in it, which could not be unmounted then."""
    path = os.fsencode(FOLDER)
    if _libc.mount(b"", path, b"none", _MS_SHARED | _MS_REC, None):
        _call("mount", _libc.mount(path, path, b"none", _MS_BIND | _MS_REC, None))
        _call("mount", _libc.mount(b"", path, b"none", _MS_SHARED | _MS_REC, None))


def existing_namespace(name: str) -> Namespace:
    """The namespace of that name, as `ip netns` lists it. Raises InputError if there is none."""
    namespace = Namespace(name)
    if "/" in name or not os.path.isfile(namespace.path):
        there = ", ".join(sorted(os.listdir(FOLDER))) if os.path.isdir(FOLDER) else ""
        raise InputError(f"there is no network namespace {name}; there are {there or 'none'} (ip netns add {name})")
    return namespace


@contextmanager
def hold_namespace(namespace: Namespace | None) -> Iterator[Namespace | None]:
    """A namespace that stays the same one, whatever its name becomes meanwhile. None: this process's, which stays."""
    if namespace is None:
        yield None
        return
    fd = _open(namespace)
    try:
        yield replace(namespace, fd=fd)
    finally:
        os.close(fd)


def _open(namespace: Namespace) -> int:
    """Raises InputError if the name is gone, or is seen but not what is mounted on it."""
    doing = f"entering the network namespace {namespace.name}"
    try:
        fd = os.open(namespace.path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError as error:
        raise InputError(f"{doing}: {error.strerror}") from None
    if os.fstat(fd).st_dev != os.stat("/proc/self/ns/net").st_dev:  # all namespaces are in one file system
        os.close(fd)
        raise InputError(
            f"{doing}: {namespace.path} is an empty file; it was mounted where this process does not see it, as with"
            f" unshare --mount; or ip netns del {namespace.name} removes what is left of it"
        )
    return fd


def remove_namespace(namespace: Namespace) -> None:
    """Take a namespace's name away; it is gone with its last socket. One that is not there is no error."""
    _libc.umount2(os.fsencode(namespace.path), _MNT_DETACH)
    with contextlib.suppress(FileNotFoundError):
        os.unlink(namespace.path)


def left_behind() -> list[Namespace]:
    """The namespaces of ours whose processes are dead: of this PID namespace, as others are not seen."""
    place = _pid_namespace()
    try:
        names = sorted(os.listdir(FOLDER))
    except OSError:
        return []
    matches = [match for name in names if (match := _OURS.fullmatch(name))]
    return [Namespace(one[0]) for one in matches if int(one[3]) == place and _start_time(int(one[1])) != int(one[2])]


def remove_left_behind() -> list[Namespace]:
    """Remove what dead processes left: what was removed."""
    found = left_behind()
    for one in found:
        with contextlib.suppress(OSError):
            remove_namespace(one)
    return found


def run_inside(namespace: Namespace | None, action: Callable[[], _T]) -> _T:
    """Call `action` in a namespace (None: this one), in a thread of its own: no other thread ever leaves its
    namespace. Sockets that it makes stay inside. Raises what it raises, MissingError without CAP_SYS_ADMIN."""
    if namespace is None:
        return action()
    fd = _open(namespace)

    def enter() -> _T:
        try:
            _call("setns", _libc.setns(fd, _CLONE_NEWNET))
        except OSError as error:
            raise _missing(f"entering the network namespace {namespace.name}", error) from error
        return action()

    try:
        return _in_thread(enter)
    finally:
        os.close(fd)


def open_socket(namespace: Namespace | None, family: int, kind: int, protocol: int = 0) -> socket.socket:
    """A socket inside a namespace."""
    try:
        return run_inside(namespace, lambda: socket.socket(family, kind | socket.SOCK_CLOEXEC, protocol))
    except PermissionError as error:
        raise _missing("opening a raw socket", error, "CAP_NET_RAW") from error


def open_route_socket(namespace: Namespace | None = None) -> RouteSocket:
    """A netlink socket to the routing of a namespace."""
    return RouteSocket(open_socket(namespace, socket.AF_NETLINK, socket.SOCK_RAW, 0))


def write_sysctl(namespace: Namespace | None, name: str, value: str | int) -> bool:
    """Set net.NAME, as "ipv4/ip_forward": whether the kernel has it. Raises MissingError if it cannot be set."""
    path = os.path.join("/proc/sys/net", name)

    def write() -> None:
        with open(path, "w") as file:
            file.write(str(value))

    try:
        run_inside(namespace, write)
    except FileNotFoundError:
        return False
    except OSError as error:
        raise _missing(f"setting net/{name} to {value}", error, "CAP_NET_ADMIN") from error
    return True


def _in_thread(action: Callable[[], _T]) -> _T:
    results: list[_T] = []
    errors: list[BaseException] = []

    def run() -> None:
        try:
            results.append(action())
        except BaseException as error:
            errors.append(error)

    thread = threading.Thread(target=run, name="rbpf-netns")
    thread.start()
    thread.join()
    if errors:
        raise errors[0]
    return results[0]


def _call(name: str, result: int) -> None:
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{name}: {os.strerror(number)}")


def _missing(doing: str, error: OSError, capability: str = "CAP_SYS_ADMIN") -> MissingError:
    if error.errno == errno.EPERM:
        return permission_error(doing, {capability: _NEEDS[capability]})
    if error.filename:  # of a folder or a setting
        doing = f"{doing}: {error.filename}"
    if error.errno == errno.EACCES:
        return MissingError(f"{doing}: {error.strerror}; run it as root")
    if error.errno in (errno.EINVAL, errno.ENOSYS):
        return MissingError(f"{doing}: {error.strerror}; the running kernel has no network namespaces (CONFIG_NET_NS)")
    return MissingError(f"{doing}: {error.strerror}")


def _pid_namespace() -> int | None:
    """The PID namespace of this process, None where /proc does not show its processes by their PIDs in it."""
    try:
        return os.stat("/proc/self/ns/pid").st_ino if os.readlink("/proc/self") == str(os.getpid()) else None
    except OSError:
        return None


def _start_time(pid: int) -> int | None:
    """When a process started, in clock ticks since boot; None if there is none. A zombie counts as dead."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            fields = file.read().rpartition(b")")[2].split()
    except OSError:
        return None
    return None if fields[0] in (b"Z", b"X") else int(fields[_START_TIME_FIELD])
