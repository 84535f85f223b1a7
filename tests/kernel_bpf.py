"""The running kernel by raw bpf(2), for tests: what it answers is what ours must answer."""

from __future__ import annotations

import ctypes
import os
import struct
from collections.abc import Sequence

SYS_BPF = {"x86_64": 321, "aarch64": 280}.get(os.uname().machine, 0)
MAP_CREATE, PROG_LOAD, TEST_RUN = 0, 5, 10
PROGRAM_TYPES = {"LWT_IN": 10, "LWT_OUT": 11, "LWT_XMIT": 12}
_libc = ctypes.CDLL(None, use_errno=True)


def bpf(command: int, attributes: bytes) -> tuple[int, int, bytes]:
    """(what the system call returned, errno or 0, the attributes after it)."""
    buffer = ctypes.create_string_buffer(attributes, len(attributes))
    result = _libc.syscall(SYS_BPF, command, buffer, len(attributes))
    return result, ctypes.get_errno() if result < 0 else 0, buffer.raw


def address(buffer: ctypes.Array) -> int:
    return ctypes.addressof(buffer)


def instruction(opcode: int, dst: int = 0, src: int = 0, offset: int = 0, imm: int = 0) -> bytes:
    """The 8 bytes of an instruction."""
    return struct.pack("<BBhI", opcode, src << 4 | dst, offset, imm & 0xFFFFFFFF)


def load_program(
    code: bytes,
    *,
    program_type: int = 12,
    licence: str = "GPL",
    log_level: int = 1,
    fds: Sequence[int] = (),
    log_bytes: int = 1 << 16,
) -> tuple[int | None, int, str]:
    """(fd or None, errno or 0, the verifier's log). `fds` is the fd_array that instructions refer to by index."""
    instructions = ctypes.create_string_buffer(code, len(code))
    license_text = ctypes.create_string_buffer(licence.encode())
    log = ctypes.create_string_buffer(log_bytes)
    fd_array = (ctypes.c_uint32 * max(len(fds), 1))(*fds)
    attributes = struct.pack(
        "<IIQQIIQII16sIIIIQIIQIIIIQQI",
        program_type,
        len(code) // 8,
        address(instructions),
        address(license_text),
        log_level,
        log_bytes if log_level else 0,
        address(log) if log_level else 0,
        *(0, 0, b"test", 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0),
        *(0, address(fd_array), 0, 0),
    )
    fd, error, _ = bpf(PROG_LOAD, attributes)
    return (fd if fd >= 0 else None), error, log.value.decode(errors="replace")


def create_map(
    kind: int,
    key_size: int,
    value_size: int,
    max_entries: int,
    *,
    flags: int = 0,
    inner_fd: int = 0,
    map_extra: int = 0,
) -> tuple[int | None, int]:
    """(fd or None, errno or 0)."""
    attributes = struct.pack(
        "<IIIIIII16sIIIIIQ",
        *(kind, key_size, value_size, max_entries, flags, inner_fd, 0, b"test", 0, 0, 0, 0, 0, map_extra),
    )
    fd, error, _ = bpf(MAP_CREATE, attributes)
    return (fd if fd >= 0 else None), error


def run_program(fd: int, packet: bytes = bytes(64), *, repeat: int = 1) -> tuple[int, int, bytes]:
    """(what the program returned, signed 32 bits; errno or 0; the packet after it), by BPF_PROG_TEST_RUN.

    The packet starts with an Ethernet header.
    """
    data = ctypes.create_string_buffer(packet, len(packet))
    out = ctypes.create_string_buffer(len(packet) + 512)
    attributes = struct.pack(
        "<IIIIQQIIIIQQ", fd, 0, len(packet), len(out), address(data), address(out), repeat, 0, 0, 0, 0, 0
    )
    _, error, after = bpf(TEST_RUN, attributes)
    returned, _, size_out = struct.unpack_from("<iII", after, 4)
    return returned, error, out.raw[:size_out]
