"""A program in the kernel: loading it, running it on one packet, what the kernel tells of it.

kernel: kernel/bpf/syscall.c, bpf_prog_load(); net/bpf/test_run.c, bpf_prog_test_run_skb().
"""

from __future__ import annotations

import ctypes
import errno
from collections.abc import Mapping
from typing import NamedTuple

from routebpf.errors import Error, InputError, MissingError
from routebpf.kernel.bpffs import open_pin
from routebpf.kernel.handle import Handle
from routebpf.kernel.permission import permission_error
from routebpf.kernel.program_code import code_for_kernel, function_info, line_info
from routebpf.kernel.syscall import (
    ProgramById,
    ProgramInfoStruct,
    ProgramLoad,
    ProgramTestRun,
    bpf,
    buffer,
    errno_name,
    fill_info,
    kernel_name,
)
from routebpf.objects.model import Program
from routebpf.spec.context import CONTEXT_BYTES
from routebpf.spec.program_types import PROGRAM_TYPES

NEEDS = {"CAP_BPF": "to load programs", "CAP_NET_ADMIN": "to load programs of routes"}
_LINES_OF_THE_PATH = 1  # BPF_LOG_LEVEL1: what the verifier did on the path where it stopped
_FIRST_LOG_BYTES = 1 << 18
_LAST_LOG_BYTES = (1 << 24) - 1  # kernels before 5.2 take no larger one
_PACKET_OUT_BYTES = 1 << 16
_NUMBERS = {row.name: row.number for row in PROGRAM_TYPES}
_NAMES = {row.number: row.name for row in PROGRAM_TYPES}
# The verifier says these; any other error came before it or beside it.
_VERIFIER_ERRNOS = frozenset(
    (errno.EACCES, errno.EINVAL, errno.E2BIG, errno.EFAULT, errno.ENOTSUP, errno.ENOSPC, errno.ENOMEM)
)
# With too many jumps pending it says ENOMEM, as where there is no memory: its words tell the two apart.
_TOO_COMPLEX_ERRNOS, _TOO_COMPLEX = frozenset((errno.E2BIG, errno.ENOMEM)), "jumps is too complex"


class ProgramInfo(NamedTuple):
    """What the kernel tells of a program. Sizes in bytes, times in ns.

    `run_time` and `run_count` grow only while statistics are on.
    """

    id: int
    type: int
    name: str
    tag: str
    jited_bytes: int
    map_ids: tuple[int, ...]
    btf_id: int
    verified_instructions: int
    run_time: int
    run_count: int


class TestRun(NamedTuple):
    """What a program made of a packet: what it returned (signed 32 bits), packet and context after it.

    `duration`: ns a run, the mean of all runs.
    """

    returned: int
    packet: bytes
    context: bytes
    duration: int


class KernelProgram(Handle):
    """A program, open. `name` is the kernel's, at most 15 bytes: not always the function's."""

    def __init__(self, fd: int) -> None:
        super().__init__(fd)
        info = self.info()
        self.id = info.id
        self.tag = info.tag
        self.name = info.name
        self._type = info.type

    @property
    def program_type(self) -> str:
        """LWT_IN, LWT_OUT or LWT_XMIT; "type 6" and the like for others."""
        return _NAMES.get(self._type, f"type {self._type}")

    def info(self) -> ProgramInfo:
        """What the kernel tells of it now."""
        return _read_info(self.fd)

    def run(self, packet: bytes, *, context: bytes = b"", repeat: int = 1) -> TestRun:
        """Run it on a packet that has an Ethernet header, which the program does not see: BPF_PROG_TEST_RUN.

        `context`: a struct __sk_buff to begin with, of which the kernel takes mark, priority, cb and a few more.
        `repeat` runs work on the same packet, one after the other. Raises InputError for what the kernel refuses.
        """
        data, data_out = buffer(packet), buffer(_PACKET_OUT_BYTES)
        context_in, context_out = buffer(context), buffer(CONTEXT_BYTES)
        attributes = ProgramTestRun(
            prog_fd=self.fd,
            data_size_in=len(packet),
            data_size_out=len(data_out),
            data_in=ctypes.addressof(data),
            data_out=ctypes.addressof(data_out),
            repeat=repeat,
            ctx_size_in=len(context),
            ctx_size_out=len(context_out),
            ctx_in=ctypes.addressof(context_in) if context else 0,
            ctx_out=ctypes.addressof(context_out),
        )
        try:
            bpf(attributes)
        except OSError as error:
            raise InputError(
                f"test run of program {self.name} on {len(packet)} bytes: {errno_name(error.errno or 0)}; the kernel"
                " takes frames of 14 to 3712 bytes, and of a context mark, priority, cb, ifindex, tstamp, wire_len and"
                " gso_*"
            ) from error
        return TestRun(
            returned=ctypes.c_int32(attributes.retval).value,
            packet=data_out.raw[: attributes.data_size_out],
            context=context_out.raw[: attributes.ctx_size_out],
            duration=attributes.duration,
        )

    def __repr__(self) -> str:
        return f"<{self.program_type} program {self.name} of the kernel, id {self.id}, tag {self.tag}>"


def load_program(
    program: Program,
    *,
    license: str,
    maps: Mapping[str, Handle],
    btf: Handle | None = None,
    name: str = "",
    path: str = "",
) -> KernelProgram:
    """Load a program of an object whose maps, by name, are there. `btf`: the object's, loaded.

    `name`: what the kernel calls it, at most 15 letters, digits, `_` and `.`; the function's, cut to that, if none is
    given. `path` is the object's, for messages. Raises RejectedError with the verifier's log, MissingError for a
    missing capability, InputError for a kfunc or ksym that this kernel does not have.
    """
    if name and kernel_name(name) != name.encode():
        raise InputError(f"program name {name}: the kernel takes at most 15 letters, digits, `_` and `.`")
    request = _Request(program, license, maps, btf, name)
    try:
        return KernelProgram(bpf(request.attributes))
    except OSError as error:
        doing = f"load program {program.name} ({program.program_type}){f' of {path}' if path else ''}"
        if error.errno == errno.EPERM:
            raise permission_error(doing, NEEDS) from error
        if error.errno not in _VERIFIER_ERRNOS:
            raise _refusal(doing, error) from error
        number, refused = error.errno, error
    # The path of a program that is too complex is longer than any log: the verifier shall not walk it twice.
    found = _load_with_log(request, _LAST_LOG_BYTES if number in _TOO_COMPLEX_ERRNOS else _FIRST_LOG_BYTES)
    if isinstance(found, KernelProgram):
        return found
    if number == errno.ENOMEM and _TOO_COMPLEX not in found:
        raise _refusal(doing, refused) from refused
    from routebpf.kernel.verifier_log import rejection

    raise rejection(program, number, found, license=license, path=path)


class _Request:
    """The attributes of a load, and the memory that they point to."""

    def __init__(
        self, program: Program, license: str, maps: Mapping[str, Handle], btf: Handle | None, name: str
    ) -> None:
        self.code = buffer(code_for_kernel(program, [maps[one].fd for one in program.maps]))
        self.license = buffer(license.encode() + b"\0")
        self.attributes = ProgramLoad(
            prog_type=_NUMBERS[program.program_type],
            insn_cnt=len(program.instructions),
            insns=ctypes.addressof(self.code),
            license=ctypes.addressof(self.license),
            prog_name=kernel_name(name or program.name),
        )
        if btf is not None and all(one.btf_type_id for one in program.functions):
            self._tell_source(program, btf)

    def _tell_source(self, program: Program, btf: Handle) -> None:
        functions, lines = function_info(program), line_info(program)
        self.functions, self.lines = buffer(functions.data), buffer(lines.data)
        self.attributes.prog_btf_fd = btf.fd
        self.attributes.func_info = ctypes.addressof(self.functions)
        self.attributes.func_info_rec_size, self.attributes.func_info_cnt = functions.record_bytes, functions.entries
        if lines.entries:
            self.attributes.line_info = ctypes.addressof(self.lines)
            self.attributes.line_info_rec_size, self.attributes.line_info_cnt = lines.record_bytes, lines.entries


def _load_with_log(request: _Request, size: int) -> KernelProgram | str:
    """Load again to learn why it is refused: the log, of which `size` bytes are enough for most; at most 16 MB."""
    while True:
        log = buffer(size)
        request.attributes.log_level = _LINES_OF_THE_PATH
        request.attributes.log_buf, request.attributes.log_size = ctypes.addressof(log), size
        try:
            return KernelProgram(bpf(request.attributes))
        except OSError as error:
            if error.errno != errno.ENOSPC or size >= _LAST_LOG_BYTES:
                return log.value.decode(errors="replace")
        size = min(16 * size, _LAST_LOG_BYTES)


def _refusal(doing: str, error: OSError) -> Error:
    if error.errno == errno.ENOMEM:
        return MissingError(f"{doing}: ENOMEM: the kernel has no memory for it (limits of cgroups count)")
    return MissingError(f"{doing}: {errno_name(error.errno or 0)}: {error.strerror}")


def program_at(path: str) -> KernelProgram:
    """The program that is pinned at a path. Raises InputError if there is none."""
    return KernelProgram(open_pin(path, "prog"))


def program_by_id(program_id: int) -> KernelProgram:
    """The program with this id. Raises InputError if there is none, MissingError without CAP_SYS_ADMIN."""
    try:
        return KernelProgram(bpf(ProgramById(id=program_id)))
    except OSError as error:
        doing = f"open program {program_id}"
        if error.errno == errno.EPERM:
            raise permission_error(doing, {"CAP_SYS_ADMIN": "to open programs by their id"}) from error
        raise InputError(f"{doing}: the kernel has no program with this id") from error


def _read_info(fd: int) -> ProgramInfo:
    first = ProgramInfoStruct()
    fill_info(fd, first)
    # How many ids there are is known by then, and a second call fills them in.
    ids = (ctypes.c_uint32 * max(first.nr_map_ids, 1))()
    info = ProgramInfoStruct(nr_map_ids=first.nr_map_ids, map_ids=ctypes.addressof(ids) if first.nr_map_ids else 0)
    fill_info(fd, info)
    return ProgramInfo(
        id=info.id,
        type=info.type,
        name=info.name.decode(errors="replace"),
        tag=bytes(info.tag).hex(),
        jited_bytes=info.jited_prog_len,
        map_ids=tuple(ids[: info.nr_map_ids]),
        btf_id=info.btf_id,
        verified_instructions=info.verified_insns,
        run_time=info.run_time_ns,
        run_count=info.run_cnt,
    )
