"""The system call bpf(2): one declaration for each command, and the call.

kernel: include/uapi/linux/bpf.h, union bpf_attr; kernel/bpf/syscall.c. A kernel that knows fewer attributes takes a
longer struct as long as what it does not know is zero.
"""

from __future__ import annotations

import ctypes
import errno
import os
from typing import Any, ClassVar

from routebpf.errors import MissingError

ENOTSUPP = 524  # kernel-internal, and seen by users of bpf(2) all the same
OBJECT_NAME_BYTES = 16  # BPF_OBJ_NAME_LEN, with the zero at its end
_ATTEMPTS = 20

# By machine: the numbers of bpf(2) and perf_event_open(2).
_NUMBERS = {
    "x86_64": (321, 298),
    "aarch64": (280, 241),
    "riscv64": (280, 241),
    "loongarch64": (280, 241),
    "ppc64le": (361, 319),
}
_libc = ctypes.CDLL(None, use_errno=True)

Buffer = ctypes.Array[ctypes.c_char]
_Fields = tuple[tuple[str, Any], ...]


def _u32(*names: str) -> _Fields:
    return tuple((name, ctypes.c_uint32) for name in names)


def _u64(*names: str) -> _Fields:
    return tuple((name, ctypes.c_uint64) for name in names)


def _name(name: str) -> _Fields:
    return ((name, ctypes.c_char * OBJECT_NAME_BYTES),)


class Attributes(ctypes.Structure):
    """What a command takes and answers. Addresses are those of buffers that the caller keeps alive."""

    command: ClassVar[int]


class MapCreate(Attributes):
    """BPF_MAP_CREATE: the fd of a new map."""

    command = 0
    _fields_ = (
        *_u32("map_type", "key_size", "value_size", "max_entries", "map_flags", "inner_map_fd", "numa_node"),
        *_name("map_name"),
        *_u32("map_ifindex", "btf_fd", "btf_key_type_id", "btf_value_type_id", "btf_vmlinux_value_type_id"),
        *_u64("map_extra"),
    )


class MapElement(Attributes):
    """What the commands on one entry take. `value` is where BPF_MAP_GET_NEXT_KEY puts the next key."""

    _fields_ = (*_u32("map_fd"), *_u64("key", "value", "flags"))


class MapLookup(MapElement):
    """BPF_MAP_LOOKUP_ELEM."""

    command = 1


class MapUpdate(MapElement):
    """BPF_MAP_UPDATE_ELEM."""

    command = 2


class MapDelete(MapElement):
    """BPF_MAP_DELETE_ELEM."""

    command = 3


class MapNextKey(MapElement):
    """BPF_MAP_GET_NEXT_KEY."""

    command = 4


class MapTake(MapElement):
    """BPF_MAP_LOOKUP_AND_DELETE_ELEM."""

    command = 21


class MapFreeze(Attributes):
    """BPF_MAP_FREEZE: no changes by user space from now on."""

    command = 22
    _fields_ = _u32("map_fd")


class MapLookupBatch(Attributes):
    """BPF_MAP_LOOKUP_BATCH: `count` is how many entries fit, then how many there are."""

    command = 24
    _fields_ = (
        *_u64("in_batch", "out_batch", "keys", "values"),
        *_u32("count", "map_fd"),
        *_u64("elem_flags", "flags"),
    )


class ProgramLoad(Attributes):
    """BPF_PROG_LOAD: the fd of a new program."""

    command = 5
    _fields_ = (
        *_u32("prog_type", "insn_cnt"),
        *_u64("insns", "license"),
        *_u32("log_level", "log_size"),
        *_u64("log_buf"),
        *_u32("kern_version", "prog_flags"),
        *_name("prog_name"),
        *_u32("prog_ifindex", "expected_attach_type", "prog_btf_fd", "func_info_rec_size"),
        *_u64("func_info"),
        *_u32("func_info_cnt", "line_info_rec_size"),
        *_u64("line_info"),
        *_u32("line_info_cnt", "attach_btf_id", "attach_prog_fd", "core_relo_cnt"),
        *_u64("fd_array", "core_relos"),
        *_u32("core_relo_rec_size", "log_true_size"),
    )


class ProgramTestRun(Attributes):
    """BPF_PROG_TEST_RUN: `retval`, `duration` (ns a run), the sizes and buffers `…_out` are answers."""

    command = 10
    _fields_ = (
        *_u32("prog_fd", "retval", "data_size_in", "data_size_out"),
        *_u64("data_in", "data_out"),
        *_u32("repeat", "duration", "ctx_size_in", "ctx_size_out"),
        *_u64("ctx_in", "ctx_out"),
        *_u32("flags", "cpu", "batch_size"),
    )


class ObjectPath(Attributes):
    """What the commands on pins take."""

    _fields_ = (*_u64("pathname"), *_u32("bpf_fd", "file_flags"))


class ObjectPin(ObjectPath):
    """BPF_OBJ_PIN."""

    command = 6


class ObjectGet(ObjectPath):
    """BPF_OBJ_GET: the fd of what is pinned there."""

    command = 7


class ObjectId(Attributes):
    """What the commands on ids take."""

    _fields_ = _u32("id", "next_id", "open_flags")


class ProgramById(ObjectId):
    """BPF_PROG_GET_FD_BY_ID."""

    command = 13


class MapById(ObjectId):
    """BPF_MAP_GET_FD_BY_ID."""

    command = 14


class BtfById(ObjectId):
    """BPF_BTF_GET_FD_BY_ID."""

    command = 19


class ObjectInfo(Attributes):
    """BPF_OBJ_GET_INFO_BY_FD: fills one of the structs below."""

    command = 15
    _fields_ = (*_u32("bpf_fd", "info_len"), *_u64("info"))


class BtfLoad(Attributes):
    """BPF_BTF_LOAD: the fd of new BTF."""

    command = 18
    _fields_ = (
        *_u64("btf", "btf_log_buf"),
        *_u32("btf_size", "btf_log_size", "btf_log_level", "btf_log_true_size"),
    )


class ProgramInfoStruct(ctypes.Structure):
    """struct bpf_prog_info."""

    _fields_ = (
        *_u32("type", "id"),
        ("tag", ctypes.c_ubyte * 8),
        *_u32("jited_prog_len", "xlated_prog_len"),
        *_u64("jited_prog_insns", "xlated_prog_insns", "load_time"),
        *_u32("created_by_uid", "nr_map_ids"),
        *_u64("map_ids"),
        *_name("name"),
        *_u32("ifindex", "gpl_compatible"),
        *_u64("netns_dev", "netns_ino"),
        *_u32("nr_jited_ksyms", "nr_jited_func_lens"),
        *_u64("jited_ksyms", "jited_func_lens"),
        *_u32("btf_id", "func_info_rec_size"),
        *_u64("func_info"),
        *_u32("nr_func_info", "nr_line_info"),
        *_u64("line_info", "jited_line_info"),
        *_u32("nr_jited_line_info", "line_info_rec_size", "jited_line_info_rec_size", "nr_prog_tags"),
        *_u64("prog_tags", "run_time_ns", "run_cnt", "recursion_misses"),
        *_u32("verified_insns", "attach_btf_obj_id", "attach_btf_id", "reserved"),
    )


class MapInfoStruct(ctypes.Structure):
    """struct bpf_map_info."""

    _fields_ = (
        *_u32("type", "id", "key_size", "value_size", "max_entries", "map_flags"),
        *_name("name"),
        *_u32("ifindex", "btf_vmlinux_value_type_id"),
        *_u64("netns_dev", "netns_ino"),
        *_u32("btf_id", "btf_key_type_id", "btf_value_type_id", "btf_vmlinux_id"),
        *_u64("map_extra"),
    )


class BtfInfoStruct(ctypes.Structure):
    """struct bpf_btf_info."""

    _fields_ = (*_u64("btf"), *_u32("btf_size", "id"), *_u64("name"), *_u32("name_len", "kernel_btf"))


def bpf(attributes: Attributes) -> int:
    """What the kernel returns for the attributes' command: an fd or 0; answers are in the attributes then.

    Raises OSError with the kernel's errno, and MissingError where there is no bpf(2).
    """
    number = syscall_numbers()[0]
    for attempt in range(_ATTEMPTS):
        result: int = _libc.syscall(
            ctypes.c_long(number),
            ctypes.c_int(attributes.command),
            ctypes.byref(attributes),
            ctypes.c_uint(ctypes.sizeof(attributes)),
        )
        if result >= 0:
            return result
        # A signal stops the verifier with EAGAIN, a test run and a batch with EINTR: Python has handled it by now.
        error = ctypes.get_errno()
        if error not in (errno.EINTR, errno.EAGAIN) or attempt + 1 == _ATTEMPTS:
            break
    if error == errno.ENOSYS:
        raise MissingError("this kernel has no bpf(2); it needs CONFIG_BPF_SYSCALL=y")
    raise OSError(error, os.strerror(error))


def fill_info(fd: int, info: ctypes.Structure) -> None:
    """Fill a struct bpf_…_info of what `fd` is. Raises OSError."""
    bpf(ObjectInfo(bpf_fd=fd, info_len=ctypes.sizeof(info), info=ctypes.addressof(info)))


def syscall_numbers() -> tuple[int, int]:
    """The numbers of bpf(2) and perf_event_open(2) on this machine."""
    machine = os.uname().machine
    if machine not in _NUMBERS:
        raise MissingError(f"bpf(2) on {machine} is not known; machines that are: {', '.join(_NUMBERS)}")
    return _NUMBERS[machine]


def buffer(content: bytes | int) -> Buffer:
    """Memory for the kernel: a copy of bytes, or that many zero bytes. It has an address even if it is empty."""
    size = content if isinstance(content, int) else len(content)
    return ctypes.create_string_buffer(content if isinstance(content, bytes) else b"", max(size, 1))


def errno_name(number: int) -> str:
    """EPERM and the like."""
    return "ENOTSUPP" if number == ENOTSUPP else errno.errorcode.get(number, str(number))


def kernel_name(name: str) -> bytes:
    """A name as the kernel takes it for maps and programs: at most 15 bytes of letters, digits, `_` and `.`."""
    plain = "".join(one if one.isascii() and (one.isalnum() or one in "_.") else "_" for one in name)
    return plain.encode()[: OBJECT_NAME_BYTES - 1]
