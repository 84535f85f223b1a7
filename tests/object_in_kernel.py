"""An object in the running kernel, loaded by raw bpf(2) as a loader would, for tests."""

from __future__ import annotations

import ctypes
import errno
import os
import struct

from routebpf.objects.btf import Btf
from routebpf.objects.btf_placement import btf_for_kernel
from routebpf.objects.btf_types import Kind
from routebpf.objects.model import MapDefinition, Object, Program

_SYS_BPF = 321 if os.uname().machine == "x86_64" else 280
MAP_CREATE, MAP_LOOKUP, MAP_UPDATE, PROG_LOAD, TEST_RUN, BTF_LOAD, MAP_FREEZE = 0, 1, 2, 5, 10, 18, 22
_PROG_TYPES = {"LWT_IN": 10, "LWT_OUT": 11, "LWT_XMIT": 12}
_LOG_BYTES = 1 << 20


def _bpf(command: int, attributes: bytes) -> tuple[int, bytes]:
    buffer = ctypes.create_string_buffer(attributes, len(attributes))
    libc = ctypes.CDLL(None, use_errno=True)
    result = libc.syscall(_SYS_BPF, command, buffer, len(attributes))
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, errno.errorcode.get(number, str(number)))
    return result, buffer.raw


def _address(buffer: ctypes.Array) -> int:
    return ctypes.addressof(buffer)


class InKernel:
    """An object in the running kernel, as a loader would put it there: the oracle of what linking made.

    Use it as a context; at its end everything is given back.
    """

    def __init__(self, loaded: Object, kernel: Btf | None = None) -> None:
        self.object = loaded
        self.kernel = kernel
        self.fds: list[int] = []
        self.btf_fd = self._load_btf(loaded.btf) if loaded.btf else 0
        self.maps: dict[str, int] = {}
        for definition in loaded.maps.values():
            self.maps[definition.name] = self._create(definition)
            if definition.data is not None:
                self.update(definition.name, bytes(4), definition.data)
            if definition.read_only:
                _bpf(MAP_FREEZE, struct.pack("<I", self.maps[definition.name]))
        self.programs: dict[str, int] = {}
        for program in loaded.programs.values():
            self.programs[program.name] = self._load(program)
        for definition in loaded.maps.values():
            for slot, name in definition.initial_slots.items():
                fd = self.programs[name] if definition.type == 3 else self.maps[name]
                self.update(definition.name, struct.pack("<I", slot), struct.pack("<I", fd))

    def __enter__(self) -> InKernel:
        return self

    def __exit__(self, *_: object) -> None:
        for fd in self.fds:
            os.close(fd)

    def _keep(self, fd: int) -> int:
        self.fds.append(fd)
        return fd

    def _load_btf(self, btf: Btf) -> int:
        data = btf_for_kernel(btf)
        blob, log = ctypes.create_string_buffer(data, len(data)), ctypes.create_string_buffer(_LOG_BYTES)
        attributes = struct.pack("<QQIIII", _address(blob), _address(log), len(data), _LOG_BYTES, 1, 0)
        try:
            return self._keep(_bpf(BTF_LOAD, attributes)[0])
        except OSError as error:
            raise AssertionError(f"BTF refused: {error}\n{log.value.decode()[-2000:]}") from error

    def _create(self, definition: MapDefinition) -> int:
        inner = self._create(definition.inner) if definition.inner else 0
        # The kernel takes no BTF for program arrays, perf event arrays and maps of maps.
        typed = definition.btf_value_type_id and definition.type not in (3, 4, 12, 13)
        name = "".join(c if c.isalnum() or c in "_." else "_" for c in definition.name).encode()[:15]
        attributes = struct.pack(
            "<IIIIIII16sIIIIIQ",
            definition.type,
            definition.key_size,
            definition.value_size,
            definition.max_entries,
            definition.flags,
            inner,
            definition.numa_node,
            name,
            0,
            self.btf_fd if typed else 0,
            definition.btf_key_type_id if typed else 0,
            definition.btf_value_type_id if typed else 0,
            0,
            definition.map_extra,
        )
        return self._keep(_bpf(MAP_CREATE, attributes)[0])

    def update(self, name: str, key: bytes, value: bytes) -> None:
        k, v = ctypes.create_string_buffer(key, len(key)), ctypes.create_string_buffer(value, len(value))
        _bpf(MAP_UPDATE, struct.pack("<IIQQQ", self.maps[name], 0, _address(k), _address(v), 0))

    def lookup(self, name: str, key: bytes) -> bytes:
        size = self.object.maps[name].value_size
        k, v = ctypes.create_string_buffer(key, len(key)), ctypes.create_string_buffer(size)
        _bpf(MAP_LOOKUP, struct.pack("<IIQQQ", self.maps[name], 0, _address(k), _address(v), 0))
        return v.raw

    def _code(self, program: Program) -> bytes:
        code = bytearray()
        for one in program.instructions:
            imm = one.imm
            if one.opcode == 0x85 and one.src == 2:
                imm = self._kernel_id(program.kfuncs[imm], Kind.FUNC)
            elif one.opcode == 0x18 and one.src == 3:
                imm = self._kernel_id(program.ksyms[imm], Kind.VAR, Kind.FUNC)
            code += struct.pack("<BBhi", one.opcode, one.src << 4 | one.dst, one.offset, imm)
        return bytes(code)

    def _kernel_id(self, name: str, *kinds: Kind) -> int:
        found = self.kernel.find(name, *kinds) if self.kernel else None
        assert found is not None, name
        return found

    def _load(self, program: Program) -> int:
        code = self._code(program)
        insns, log = ctypes.create_string_buffer(code, len(code)), ctypes.create_string_buffer(_LOG_BYTES)
        license_text = ctypes.create_string_buffer(self.object.license.encode())
        fds = struct.pack(f"<{len(program.maps)}I", *(self.maps[name] for name in program.maps))
        fd_array = ctypes.create_string_buffer(fds, max(len(fds), 1))
        functions = b"".join(struct.pack("<II", f.start, f.btf_type_id) for f in program.functions)
        lines = b"".join(
            struct.pack("<IIII", x.instruction, x.file_offset, x.text_offset, x.line << 10 | x.column)
            for x in program.lines
        )
        has_btf = self.btf_fd and all(f.btf_type_id for f in program.functions)
        info = ctypes.create_string_buffer(functions, max(len(functions), 1))
        line_info = ctypes.create_string_buffer(lines, max(len(lines), 1))
        attributes = struct.pack(
            "<IIQQIIQII16sIIIIQIIQIIIIQQI",
            _PROG_TYPES[program.program_type],
            len(code) // 8,
            _address(insns),
            _address(license_text),
            1,
            _LOG_BYTES,
            _address(log),
            0,
            0,
            program.name.encode()[:15],
            0,
            0,
            self.btf_fd if has_btf else 0,
            8 if has_btf else 0,
            _address(info) if has_btf else 0,
            len(program.functions) if has_btf else 0,
            16 if has_btf else 0,
            _address(line_info) if has_btf else 0,
            len(program.lines) if has_btf else 0,
            0,
            0,
            0,
            _address(fd_array),
            0,
            0,
        )
        try:
            return self._keep(_bpf(PROG_LOAD, attributes)[0])
        except OSError as error:
            raise AssertionError(f"{program.name} refused: {error}\n{log.value.decode()[-3000:]}") from error

    def run(self, name: str, packet: bytes = bytes(64)) -> int:
        """What the program returns, as a signed 32-bit number, on a packet with an Ethernet header."""
        return self.run_on(name, packet)[0]

    def run_on(self, name: str, packet: bytes) -> tuple[int, bytes]:
        """The same, and the packet after it."""
        data, out = ctypes.create_string_buffer(packet, len(packet)), ctypes.create_string_buffer(len(packet) + 512)
        attributes = struct.pack(
            "<IIIIQQIIIIQQ", self.programs[name], 0, len(packet), len(out), _address(data), _address(out), *[0] * 6
        )
        _, answer = _bpf(TEST_RUN, attributes)
        returned, _, size = struct.unpack_from("<iII", answer, 4)
        return returned, out.raw[:size]
