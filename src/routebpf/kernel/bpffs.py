"""The BPF file system: what is pinned there stays in the kernel without a process that holds it.

kernel: kernel/bpf/inode.c. Names in it hold no dots.
"""

from __future__ import annotations

import ctypes
import errno
import os
import struct

from routebpf.errors import Error, InputError, MissingError
from routebpf.kernel.handle import Handle
from routebpf.kernel.permission import permission_error
from routebpf.kernel.syscall import ObjectGet, ObjectPin, bpf, buffer

MOUNT_POINT = "/sys/fs/bpf"
_MAGIC = 0xCAFE4A11  # BPF_FS_MAGIC
_STATFS_BYTES = 256  # more than struct statfs takes anywhere
_NEEDS_MOUNT = {"CAP_SYS_ADMIN": "to mount a file system"}
_NEEDS_PIN = {"CAP_BPF": "to pin programs and maps"}
_libc = ctypes.CDLL(None, use_errno=True)


def is_bpffs(path: str) -> bool:
    """Whether a path is in a mounted BPF file system."""
    found = ctypes.create_string_buffer(_STATFS_BYTES)
    if _libc.statfs(os.fsencode(path), found):
        return False
    kind: int = struct.unpack_from("@l", found.raw)[0]
    return kind == _MAGIC


def mount_bpffs(path: str = MOUNT_POINT) -> bool:
    """Mount the BPF file system where it is not, for root only. True if that was to be done.

    Raises MissingError if this process may not, or the kernel has none.
    """
    if is_bpffs(path):
        return False
    doing = f"mount the BPF file system at {path}"
    done = _libc.mount(b"bpf", os.fsencode(path), b"bpf", ctypes.c_ulong(0), b"mode=0700")
    if done == 0:
        return True
    number = ctypes.get_errno()
    if number == errno.EPERM:
        error = permission_error(doing, _NEEDS_MOUNT)
        raise MissingError(f"{error}; or have it mounted before: mount -t bpf bpf {path}")
    why = {
        errno.ENOENT: "there is no such folder; mount sysfs at /sys first",
        errno.ENODEV: "this kernel has none; it needs CONFIG_BPF_SYSCALL=y",
    }.get(number, os.strerror(number))
    raise MissingError(f"{doing}: {why}")


def make_folder(path: str) -> None:
    """Make a folder that only its owner may enter, and those above it that are not there."""
    above = os.path.dirname(path.rstrip("/"))
    if above and not os.path.isdir(above):
        make_folder(above)
    try:
        os.mkdir(path, 0o700)
    except FileExistsError:
        if not os.path.isdir(path):
            raise InputError(f"make folder {path}: something else has this name") from None
    except OSError as error:
        raise _error(f"make folder {path}", error) from error


def pin(held: Handle, path: str) -> None:
    """Pin a map or program; what was pinned there gives way, at no moment is nothing there.

    Raises InputError for a path that is not in a BPF file system or that cannot be.
    """
    doing = f"pin {path}"
    if "." in os.path.basename(path):
        raise InputError(f"{doing}: names in the BPF file system hold no dots")
    # BPF_OBJ_PIN makes no pin where there is one; a rename replaces it.
    new = f"{path}-{os.getpid()}"
    text = buffer(os.fsencode(new) + b"\0")
    try:
        bpf(ObjectPin(pathname=ctypes.addressof(text), bpf_fd=held.fd))
        try:
            os.rename(new, path)
        except OSError:
            os.unlink(new)
            raise
    except OSError as error:
        if os.path.isdir(os.path.dirname(path)) and not is_bpffs(os.path.dirname(path)):
            raise InputError(f"{doing}: this is in no BPF file system; that is mounted at {MOUNT_POINT}") from error
        raise _error(doing, error) from error


def open_pin(path: str, kind: str) -> int:
    """The fd of what is pinned at a path: a `kind`, "map" or "prog". Raises InputError if there is none."""
    text = buffer(os.fsencode(path) + b"\0")
    try:
        fd = bpf(ObjectGet(pathname=ctypes.addressof(text)))
    except OSError as error:
        if os.path.isdir(path):
            raise InputError(f"open pin {path}: it is a folder") from error
        if os.path.exists(path) and not is_bpffs(path):
            raise InputError(
                f"open pin {path}: it is in no BPF file system; that is mounted at {MOUNT_POINT}"
            ) from error
        raise _error(f"open pin {path}", error) from error
    found = os.readlink(f"/proc/self/fd/{fd}").rpartition("bpf-")[2]
    if found != kind:
        os.close(fd)
        raise InputError(f"open pin {path}: it is a {found}, not a {kind}")
    return fd


def unpin(path: str) -> bool:
    """Take a pin away, False if there is none. What was pinned goes when nothing else holds it."""
    try:
        os.unlink(path)
    except FileNotFoundError:
        return False
    except OSError as error:
        raise _error(f"unpin {path}", error) from error
    return True


def _error(doing: str, error: OSError) -> Error:
    if error.errno == errno.EPERM:
        return permission_error(doing, _NEEDS_PIN)
    if error.errno == errno.EACCES:
        return MissingError(f"{doing}: {error.strerror}: folders of pins are their owner's only; run it as root")
    if error.errno == errno.EROFS:
        return MissingError(f"{doing}: {error.strerror}; mount -o remount,rw {MOUNT_POINT}")
    return InputError(f"{doing}: {error.strerror}")
