"""The same helper calls on the same packet, in the running kernel (BPF_PROG_TEST_RUN) and natively here."""

from __future__ import annotations

import ctypes
import struct
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

from kernel_bpf import TEST_RUN, address, bpf, create_map, instruction, load_program
from routebpf.objects.btf import Btf, read_btf_file
from routebpf.objects.btf_types import Composite, Kind
from routebpf.runtime import skb as layout
from routebpf.runtime.cpu import CPU_HOST, CPU_SINK, new_cpu
from routebpf.runtime.device import (
    DEVICE_BYTES,
    DEVICE_FLAGS,
    DEVICE_HARD_HEADER_LEN,
    DEVICE_MTU,
    DEVICE_PRESENT,
    DEVICE_TYPE,
    FRAME_HEADER_BYTES,
    HOST_BYTES,
    HOST_DEVICE_COUNT,
    HOST_DEVICES,
    SINK_BASE,
    SINK_BYTES,
    SINK_SIZE,
    SINK_USED,
)
from routebpf.runtime.memory import Memory
from routebpf.runtime.packet import PacketBuffer
from routebpf.runtime.registry import implementation

LWT_XMIT = 12
IDS = {
    "skb_store_bytes": 9, "l3_csum_replace": 10, "l4_csum_replace": 11, "clone_redirect": 13, "get_cgroup_classid": 17,
    "skb_get_tunnel_key": 20, "skb_set_tunnel_key": 21, "redirect": 23, "get_route_realm": 24, "skb_load_bytes": 26,
    "csum_diff": 28, "skb_get_tunnel_opt": 29, "skb_set_tunnel_opt": 30, "get_hash_recalc": 34, "skb_change_tail": 38,
    "skb_pull_data": 39, "csum_update": 40, "set_hash_invalid": 41, "skb_change_head": 43, "lwt_push_encap": 73,
    "csum_level": 135,
}  # fmt: skip
R0, R1, R2, R6, R7, R8, R10 = 0, 1, 2, 6, 7, 8, 10
MOV, MOVI, ADDI, CALL, EXIT, JEQI, JGTI, LDW, LDH, LDB, LDD, STD, STW = (
    0xBF, 0xB7, 0x07, 0x85, 0x95, 0x15, 0x25, 0x61, 0x69, 0x71, 0x79, 0x7B, 0x63,
)  # fmt: skip

# The array map's value, and the same memory here: results, then the state after, then scalars, then buffers.
RESULTS, STATE, SCALARS, BUFFERS, VALUE_BYTES = 0, 128, 512, 1024, 4096


class Context:
    """The argument that is the context."""


CONTEXT = Context()


@dataclass(frozen=True)
class Buffer:
    """A pointer to `size` bytes that hold `data` before the calls."""

    data: bytes
    size: int = 0

    @property
    def room(self) -> int:
        return max(self.size, len(self.data))


@dataclass(frozen=True)
class Size:
    """A size that the verifier knows to be at most `limit`."""

    value: int
    limit: int
    may_be_zero: bool = False


Argument = Context | Buffer | Size | int


@dataclass(frozen=True)
class Call:
    helper: str
    arguments: tuple[Argument, ...]


def call(helper: str, *arguments: Argument) -> Call:
    return Call(helper, arguments)


@dataclass
class Outcome:
    """What the calls left: results as signed 64-bit numbers, buffers, the packet, the state of context and sk_buff."""

    results: list[int]
    buffers: list[bytes]
    packet: bytes
    state: dict[str, int] = field(default_factory=dict)


# What a program reads of the context at the end: (name, offset).
CONTEXT_FIELDS = [
    ("len", 0),
    ("pkt_type", 4),
    ("mark", 8),
    ("protocol", 16),
    ("hash", 68),
    ("gso_segs", 164),
    ("gso_size", 176),
]
# …and of struct sk_buff, which bpf_cast_to_kern_ctx gives: (name, the field here).
HEADER_FIELDS = [
    ("mac_header", layout.SKB_MAC_HEADER),
    ("network_header", layout.SKB_NETWORK_HEADER),
    ("transport_header", layout.SKB_TRANSPORT_HEADER),
]
PLAIN_FIELDS = [
    ("mac_len", layout.SKB_MAC_LEN),
    ("ip_summed", layout.SKB_IP_SUMMED),
    ("csum_level", layout.SKB_CSUM_LEVEL),
    ("encapsulation", layout.SKB_ENCAPSULATION),
    ("inner_protocol", layout.SKB_INNER_PROTOCOL),
]


def ethernet(packet: bytes, protocol: int) -> bytes:
    return bytes(12) + protocol.to_bytes(2, "big") + packet


def in_kernel(
    calls: Sequence[Call], packet: bytes, *, protocol: int = 0x0800, context: dict[int, int] | None = None
) -> Outcome:
    """Run the calls in the kernel. `context`: 32-bit fields of struct __sk_buff to begin with, by offset."""
    shape = tuple((one.helper, tuple(_shape(a) for a in one.arguments)) for one in calls)
    program, values = _program(shape)
    _write_map(values, _memory_image(calls))
    frame = ethernet(packet, protocol)
    data = ctypes.create_string_buffer(frame, len(frame))
    out = ctypes.create_string_buffer(1 << 17)
    before = bytearray(192)
    for offset, value in (context or {}).items():
        struct.pack_into("<I", before, offset, value)
    context_in = ctypes.create_string_buffer(bytes(before), 192)
    attributes = struct.pack(
        "<IIIIQQIIIIQQ", program, 0, len(frame), len(out), address(data), address(out), 1, 0, 192, 0,
        address(context_in), 0,
    )  # fmt: skip
    _, error, after = bpf(TEST_RUN, attributes)
    if error:
        raise OSError(error, "BPF_PROG_TEST_RUN")
    (size_out,) = struct.unpack_from("<I", after, 12)
    memory = _read_map(values)
    names = [name for name, _ in CONTEXT_FIELDS] + [name for name, _ in HEADER_FIELDS + PLAIN_FIELDS]
    state = dict(zip(names, struct.unpack_from(f"<{len(names)}q", memory, STATE), strict=True))
    return _outcome(calls, memory, out.raw[14:size_out], state)


class Machine:
    """A CPU, a host with devices and a sink for what they send."""

    def __init__(self, devices: dict[int, Device] | None = None) -> None:
        devices = devices or {}
        count = max(devices, default=0) + 1
        self._cpu, self._scratch = new_cpu(0)
        self._host, self._table = Memory(HOST_BYTES), Memory(count * DEVICE_BYTES)
        self._sink, self._room = Memory(SINK_BYTES), Memory(1 << 16)
        self.cpu = self._cpu.address
        for memory, offset, value in (
            (self._cpu, CPU_HOST, self._host.address),
            (self._cpu, CPU_SINK, self._sink.address),
            (self._host, HOST_DEVICES, self._table.address),
            (self._host, HOST_DEVICE_COUNT, count),
            (self._sink, SINK_BASE, self._room.address),
            (self._sink, SINK_SIZE, self._room.size),
        ):
            memory.write(offset, value.to_bytes(8, "little"))
        for ifindex, device in devices.items():
            for offset, value in (
                (DEVICE_FLAGS, device.flags | DEVICE_PRESENT),
                (DEVICE_MTU, device.mtu),
                (DEVICE_HARD_HEADER_LEN, device.hard_header_len),
                (DEVICE_TYPE, device.type),
            ):
                self._table.write(ifindex * DEVICE_BYTES + offset, value.to_bytes(4, "little"))

    def frames(self) -> list[tuple[int, bytes]]:
        """(ifindex, bytes) of every frame that left, in order."""
        (used,) = struct.unpack("<q", self._sink.read(SINK_USED, 8))
        place, found = 0, []
        while place < used:
            ifindex, size = struct.unpack("<II", self._room.read(place, 8))
            found.append((ifindex, self._room.read(place + FRAME_HEADER_BYTES, size)))
            place += FRAME_HEADER_BYTES + (size + 7 & ~7)
        return found


@dataclass(frozen=True)
class Device:
    flags: int
    mtu: int = 1500
    hard_header_len: int = 14
    type: int = 1


def natively(
    calls: Sequence[Call],
    packet: bytes,
    *,
    protocol: int = 0x0800,
    context: dict[int, int] | None = None,
    machine: Machine | None = None,
) -> Outcome:
    """Run the calls here, on a packet as BPF_PROG_TEST_RUN makes it."""
    buffer = received_packet(packet, protocol)
    for offset, value in (context or {}).items():
        buffer.write32(offset, value)
    return on_buffer(calls, buffer, machine)


def on_buffer(calls: Sequence[Call], buffer: PacketBuffer, machine: Machine | None = None) -> Outcome:
    """Run the calls here, on any packet."""
    machine = machine or Machine()
    memory = Memory(VALUE_BYTES)
    memory.write(0, _memory_image(calls))
    number = 0
    for index, one in enumerate(calls):
        function = implementation(f"bpf_{one.helper}")
        assert function is not None, one.helper
        arguments = []
        for argument in one.arguments:
            if isinstance(argument, Context):
                arguments.append(buffer.address)
            elif isinstance(argument, Buffer):
                arguments.append(memory.address + _place(calls, number))
                number += 1
            else:
                arguments.append(argument.value if isinstance(argument, Size) else argument)
        result = function(machine.cpu, *arguments)
        memory.write(RESULTS + 8 * index, (result & (1 << 64) - 1).to_bytes(8, "little"))
    state = {name: buffer.read32(offset) for name, offset in CONTEXT_FIELDS}
    start = buffer.read64(layout.SKB_DATA) - buffer.read64(layout.SKB_HEAD)
    for name, offset in HEADER_FIELDS:
        place = buffer.read64(offset)
        state[name] = UNSET_HEADER if place == layout.UNSET else place - start
    state |= {name: buffer.read32(offset) for name, offset in PLAIN_FIELDS}
    return _outcome(calls, memory.read(0, VALUE_BYTES), buffer.data, state)


UNSET_HEADER = 1 << 20


def received_packet(packet: bytes, protocol: int = 0x0800) -> PacketBuffer:
    """kernel: net/bpf/test_run.c: as a received packet whose Ethernet header was taken off, with a socket."""
    buffer = PacketBuffer(packet)
    buffer.set(packet, protocol=protocol, ifindex=1, has_socket=True)
    buffer.write64(layout.SKB_MAC_HEADER, layout.HEADROOM - 14)
    return buffer


def both(calls: Sequence[Call], packet: bytes, **more: object) -> tuple[Outcome, Outcome]:
    """(the kernel's outcome, ours), the flow hash reduced to whether there is one."""
    kernel, ours = in_kernel(calls, packet, **more), natively(calls, packet, **more)  # type: ignore[arg-type]
    for outcome in (kernel, ours):
        outcome.state["hash"] = int(outcome.state["hash"] != 0)
    return kernel, ours


def check(calls: Sequence[Call], packet: bytes, **more: object) -> Outcome:
    """Both outcomes must be the same; it is given."""
    kernel, ours = both(calls, packet, **more)
    assert ours == kernel
    return kernel


def _outcome(calls: Sequence[Call], memory: bytes, packet: bytes, state: dict[str, int]) -> Outcome:
    results = list(struct.unpack_from(f"<{len(calls)}q", memory, RESULTS))
    buffers, place = [], BUFFERS
    for one in calls:
        for argument in one.arguments:
            if isinstance(argument, Buffer):
                buffers.append(memory[place : place + argument.room])
                place += _stride(argument.room)
    return Outcome(results, buffers, packet, state)


def _stride(room: int) -> int:
    return (room + 15) & ~7  # 8 bytes between, to see who writes too far


def _buffers(calls: Sequence[Call]) -> list[Buffer]:
    return [argument for one in calls for argument in one.arguments if isinstance(argument, Buffer)]


def _place(calls: Sequence[Call], number: int) -> int:
    return BUFFERS + sum(_stride(one.room) for one in _buffers(calls)[:number])


def _memory_image(calls: Sequence[Call]) -> bytes:
    image = bytearray(VALUE_BYTES)
    scalars = SCALARS
    for one in calls:
        for argument in one.arguments:
            if isinstance(argument, Size | int):
                value = argument.value if isinstance(argument, Size) else argument
                struct.pack_into("<Q", image, scalars, value & (1 << 64) - 1)
                scalars += 8
    for number, one in enumerate(_buffers(calls)):
        place = _place(calls, number)
        image[place : place + len(one.data)] = one.data
    return bytes(image)


def _shape(argument: Argument) -> tuple[str, int]:
    if isinstance(argument, Context):
        return ("context", 0)
    if isinstance(argument, Buffer):
        return ("buffer", argument.room)
    if isinstance(argument, Size):
        return ("size0" if argument.may_be_zero else "size", argument.limit)
    return ("scalar", 0)


@cache
def _program(shape: tuple[tuple[str, tuple[tuple[str, int], ...]], ...]) -> tuple[int, int]:
    """(fd of the program, fd of its map) for calls of one shape."""
    values, error = create_map(2, 4, VALUE_BYTES, 1)
    assert values is not None, error
    code = [
        instruction(MOV, R6, R1),
        instruction(MOVI, R1, imm=0), instruction(STW, R10, R1, -4),
        instruction(MOV, R2, R10), instruction(ADDI, R2, imm=-4),
        instruction(0x18, R1, 1, 0, values), instruction(0),
        instruction(CALL, imm=1),
        instruction(0x55, R0, 0, 1, 0), instruction(EXIT),
        instruction(MOV, R7, R0),
    ]  # fmt: skip
    scalar, buffer = SCALARS, BUFFERS
    for index, (helper, arguments) in enumerate(shape):
        for register, (kind, number) in enumerate(arguments, start=1):
            if kind == "context":
                code.append(instruction(MOV, register, R6))
            elif kind == "buffer":
                code += [instruction(MOV, register, R7), instruction(ADDI, register, imm=buffer)]
                buffer += _stride(number)
            else:
                code.append(instruction(LDD, register, R7, scalar))
                scalar += 8
                if kind != "scalar":
                    code += [instruction(JGTI, register, 0, 1, number), instruction(0x05, 0, 0, 2, 0)]
                    code += [instruction(MOVI, R0, imm=0), instruction(EXIT)]
                if kind == "size":
                    code += [instruction(0x55, register, 0, 2, 0), instruction(MOVI, R0, imm=0), instruction(EXIT)]
        code += [instruction(CALL, imm=IDS[helper]), instruction(STD, R7, R0, RESULTS + 8 * index)]
    code += _state_code()
    code += [instruction(MOVI, R0, imm=0), instruction(EXIT)]
    fd, error, log = load_program(b"".join(code), program_type=LWT_XMIT, log_bytes=1 << 20)
    assert fd is not None, log[-3000:]
    return fd, values


def _state_code() -> list[bytes]:
    code, place = [], STATE
    for _, offset in CONTEXT_FIELDS:
        code += [instruction(LDW, R1, R6, offset), instruction(STD, R7, R1, place)]
        place += 8
    btf = _kernel_btf()
    cast = btf.find("bpf_cast_to_kern_ctx", Kind.FUNC)
    assert cast is not None
    code += [instruction(MOV, R1, R6), instruction(CALL, 0, 2, 0, cast), instruction(MOV, R8, R0)]
    head, data = (_member("sk_buff", name)[0] // 8 for name in ("head", "data"))
    for name, _ in HEADER_FIELDS:
        bit, _ = _member("sk_buff", name)
        code += [
            instruction(LDH, R1, R8, bit // 8),
            instruction(0x55, R1, 0, 2, 0xFFFF), instruction(MOVI, R1, imm=UNSET_HEADER), instruction(0x05, 0, 0, 4, 0),
            instruction(LDD, R2, R8, head), instruction(0x0F, R1, R2),
            instruction(LDD, R2, R8, data), instruction(0x1F, R1, R2),
            instruction(STD, R7, R1, place),
        ]  # fmt: skip
        place += 8
    for name, _ in PLAIN_FIELDS:
        bit, size = _member("sk_buff", name)
        if size % 8 == 0:
            code.append(instruction({8: LDB, 16: LDH, 32: LDW}[size], R1, R8, bit // 8))
        else:
            code += [instruction(LDB, R1, R8, bit // 8), instruction(0x77, R1, imm=bit % 8)]
            code.append(instruction(0x57, R1, imm=(1 << size) - 1))
        code.append(instruction(STD, R7, R1, place))
        place += 8
    return code


@cache
def _kernel_btf() -> Btf:
    return read_btf_file(Path("/sys/kernel/btf/vmlinux"))


@cache
def _member(struct_name: str, name: str) -> tuple[int, int]:
    """(the bit where a member begins, its bits) in a struct of the kernel, unnamed members looked into."""
    btf = _kernel_btf()
    type_id = btf.find(struct_name, Kind.STRUCT)
    assert type_id is not None
    found = _search(btf, type_id, name, 0)
    assert found is not None, name
    return found


def _search(btf: Btf, type_id: int, name: str, base: int) -> tuple[int, int] | None:
    composite = btf.strip(type_id)[1]
    assert isinstance(composite, Composite)
    for member in composite.members:
        place = base + member.bit_offset
        if member.name == name:
            return place, member.bits or 8 * btf.size_of(member.type_id)
        if not member.name:
            inner = _search(btf, member.type_id, name, place)
            if inner:
                return inner
    return None


def _write_map(fd: int, value: bytes) -> None:
    key, data = ctypes.create_string_buffer(4), ctypes.create_string_buffer(value, len(value))
    result, error, _ = bpf(2, struct.pack("<IIQQQ", fd, 0, address(key), address(data), 0))
    assert result == 0, error


def _read_map(fd: int) -> bytes:
    key, data = ctypes.create_string_buffer(4), ctypes.create_string_buffer(VALUE_BYTES)
    result, error, _ = bpf(1, struct.pack("<IIQQQ", fd, 0, address(key), address(data), 0))
    assert result == 0, error
    return data.raw
