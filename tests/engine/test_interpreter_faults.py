"""What the interpreter stops, and what it says: one case for each thing that a program must not do.

The verdicts are the kernel's rules (a program that the running kernel refuses for the same reason is given beside
the message in `test_the_kernel_refuses_each_of_them`); the messages are for people, so their parts are held, not all.
"""

from __future__ import annotations

import os
import struct

import pytest
from embedded import Embedded

from kernel_bpf import create_map, load_program
from routebpf.errors import RuntimeFault
from routebpf.isa import Names, assemble, encode
from routebpf.objects.model import Function, LineInfo, MapDefinition, Object, Program

MAPS = {
    "hash": MapDefinition("hash", 1, 4, 8, 16),
    "array": MapDefinition("array", 2, 4, 16, 4),
    "ring": MapDefinition("ring", 27, 0, 0, 4096),
    "jumps": MapDefinition("jumps", 3, 4, 4, 2),
    "constant": MapDefinition("constant", 2, 4, 8, 1, 1 << 7, data=bytes(8), read_only=True),
}
PACKET = bytes(range(0x45, 0x45 + 60))
BOUNDS = "r6 = r1\nr2 = *(u32 *)(r1 +76)\nr3 = *(u32 *)(r1 +80)\n"
KEY = "*(u32 *)(r10 -4) = 0\nr2 = r10\nr2 += -4\n"
LOOKUP = KEY + "r1 = map[array]\ncall bpf_map_lookup_elem\n"

# name: (instructions, parts of the message, what the kernel's log says of it)
CASES = {
    "past the packet": (
        BOUNDS + "r0 = *(u32 *)(r2 +60)\nexit",
        [
            "reading 4 bytes",
            "4 bytes past the end of the packet (60 bytes)",
            "r2=",
            "(packet+0)",
            "r0 = *(u32 *)(r2 +60)",
        ],
        "invalid access to packet",
    ),
    "half past the packet": (
        BOUNDS + "r0 = *(u32 *)(r2 +58)\nexit",
        ["2 bytes past the end of the packet (60 bytes)"],
        "invalid access to packet",
    ),
    "before the packet": (
        BOUNDS + "r0 = *(u8 *)(r2 -1)\nexit",
        ["1 byte before the packet (60 bytes)"],
        "invalid access to packet",
    ),
    "at data_end": (
        BOUNDS + "r0 = *(u8 *)(r3 +0)\nexit",
        ["1 byte past the end of the packet"],
        "R3 invalid mem access 'pkt_end'",
    ),
    "a null pointer from a lookup": (
        KEY + "r1 = map[hash]\ncall bpf_map_lookup_elem\nr0 = *(u64 *)(r0 +0)\nexit",
        ["reading 8 bytes at 0x0: a null pointer, the result of bpf_map_lookup_elem at instruction 5 was not checked"],
        "R0 invalid mem access 'map_value_or_null'",
    ),
    "a null pointer moved, spilled and passed to a function": (
        KEY + "r1 = map[hash]\ncall bpf_map_lookup_elem\n*(u64 *)(r10 -16) = r0\nr1 = *(u64 *)(r10 -16)\nr1 += 4\n"
        "call f\nexit\nf: r0 = *(u32 *)(r1 +0)\nexit",
        ["4 bytes from a null pointer, the result of bpf_map_lookup_elem at instruction 5 was not checked"],
        "R1 pointer arithmetic on map_value_or_null prohibited",
    ),
    "past a map value": (
        LOOKUP + "if r0 == 0 goto pc+1\nr0 = *(u64 *)(r0 +12)\nr0 = 0\nexit",
        ["4 bytes past the end of the value of map array (16 bytes)"],
        "invalid access to map value",
    ),
    "writing read-only data": (
        "r1 = map[constant][0]+0\n*(u8 *)(r1 +0) = 1\nr0 = 0\nexit",
        ["the value of map constant is read-only"],
        "write into map forbidden",
    ),
    "the stack not written": (
        "*(u32 *)(r10 -8) = 1\nr0 = *(u64 *)(r10 -8)\nexit",
        ["byte 4 of 8", "fp-8 of test", "never written"],
        None,  # a privileged program may
    ),
    "beyond the stack": (
        "*(u64 *)(r10 -520) = 1\nr0 = 0\nexit",
        ["writing 8 bytes", "8 bytes before the stack of test (512 bytes)"],
        "invalid write to stack R10 off=-520 size=8",
    ),
    "above the stack": (
        "*(u64 *)(r10 +0) = 1\nr0 = 0\nexit",
        ["8 bytes past the end of the stack of test"],
        "invalid write to stack R10 off=0 size=8",
    ),
    "a number as an address": (
        "r1 = 0x123456789\nr0 = *(u8 *)(r1 +0)\nexit",
        ["in no memory of the program"],
        "R1 invalid mem access 'scalar'",
    ),
    "a field that is not for the program type": (
        "r0 = *(u32 *)(r1 +72)\nexit",
        ["invalid bpf_context access off=72 size=4 (tc_classid)"],
        "invalid bpf_context access off=72 size=4",
    ),
    "a field that can only be read": (
        "*(u32 *)(r1 +0) = 5\nr0 = 0\nexit",
        ["off=0 size=4 (len)", "cannot be written"],
        "invalid bpf_context access off=0 size=4",
    ),
    "half of data": (
        "r0 = *(u16 *)(r1 +76)\nexit",
        ["off=76 size=2 (data)", "4 bytes can be read"],
        "invalid bpf_context access off=76 size=2",
    ),
    "behind the context": (
        "r0 = *(u32 *)(r1 +192)\nexit",
        ["4 bytes past the end of the context (192 bytes)"],
        "invalid bpf_context access off=192 size=4",
    ),
    "an atomic on the context": (
        "r2 = 1\nlock *(u32 *)(r1 +8) += r2\nr0 = 0\nexit",
        ["BPF_ATOMIC stores into R1 ctx is not allowed"],
        "BPF_ATOMIC stores into R1 ctx is not allowed",
    ),
    "an atomic that is not aligned": (
        LOOKUP + "if r0 == 0 goto pc+2\nr1 = 1\nlock *(u64 *)(r0 +4) += r1\nr0 = 0\nexit",
        ["an atomic access of 8 bytes", "no multiple"],
        "misaligned",
    ),
    "a register that nothing was put into": ("r0 = r7\nexit", ["R7 !read_ok", "r7"], "R7 !read_ok"),
    "a register that a call took": (
        "call bpf_ktime_get_ns\nr0 = r1\nexit",
        ["R1 !read_ok"],
        "R1 !read_ok",
    ),
    "no result": ("exit", ["R0 !read_ok"], "R0 !read_ok"),
    "the result of a helper that has none": (
        "r1 = map[ring]\nr2 = 8\nr3 = 0\ncall bpf_ringbuf_reserve\nif r0 == 0 goto out\nr1 = r0\nr2 = 0\n"
        "call bpf_ringbuf_discard\nexit\nout: exit",
        ["R0 !read_ok"],
        "R0 !read_ok",
    ),
    "the packet moved": (
        BOUNDS + "r7 = r2\nr1 = r6\nr2 = 20\ncall bpf_skb_pull_data\nr0 = *(u8 *)(r7 +0)\nexit",
        ["from before instruction 6", "Load data and data_end again"],
        "R7 invalid mem access 'scalar'",
    ),
    "no map": (
        KEY + "r1 = 5\ncall bpf_map_lookup_elem\nr0 = 0\nexit",
        ["argument 1 of bpf_map_lookup_elem, `map` (r1 = 0x5), is no map"],
        "R1 type=scalar expected=map_ptr",
    ),
    "a key that is not on the stack in full": (
        "*(u16 *)(r10 -2) = 0\nr2 = r10\nr2 += -2\nr1 = map[hash]\ncall bpf_map_lookup_elem\nr0 = 0\nexit",
        ["argument 2 of bpf_map_lookup_elem, `key`", "memory of 4 bytes", "2 bytes past the end of the stack"],
        "invalid read from stack R2 off=-2 size=4",
    ),
    "a context that is none": (
        "r1 = r10\nr2 = 0\ncall bpf_skb_pull_data\nr0 = 0\nexit",
        ["argument 1 of bpf_skb_pull_data", "is not the context"],
        "R1 type=fp expected=ctx",
    ),
    "a size of nothing": (
        "r2 = 0\nr3 = r10\nr3 += -8\nr4 = 0\ncall bpf_skb_load_bytes\nr0 = 0\nexit",
        ["argument 4 of bpf_skb_load_bytes", "must not be 0"],
        "R4 invalid zero-sized read: u64=[0,0]",
    ),
    "a buffer that is too small": (
        "r2 = 0\nr3 = r10\nr3 += -8\nr4 = 16\ncall bpf_skb_load_bytes\nr0 = 0\nexit",
        ["argument 3 of bpf_skb_load_bytes, `to`", "memory of 16 bytes", "8 bytes past the end of the stack"],
        "invalid write to stack R3 off=-8 size=16",
    ),
    "the packet as a buffer of a helper that cannot": (
        BOUNDS + "r5 = r2\nr5 += 8\nif r5 > r3 goto out\nr3 = r2\nr1 = r6\nr2 = 0\nr4 = 8\n"
        "call bpf_skb_load_bytes\nout: r0 = 0\nexit",
        ["argument 3 of bpf_skb_load_bytes", "is in the packet"],
        "helper access to the packet is not allowed",
    ),
    "a record that was not reserved": (
        "r1 = r10\nr1 += -8\nr2 = 0\ncall bpf_ringbuf_submit\nr0 = 0\nexit",
        ["argument 1 of bpf_ringbuf_submit", "no record that was reserved"],
        "R1 type=fp expected=ringbuf_mem",
    ),
    "a record that is left": (
        "r1 = map[ring]\nr2 = 8\nr3 = 0\ncall bpf_ringbuf_reserve\nr0 = 0\nexit",
        ["the record of bpf_ringbuf_reserve, reserved at instruction 4, is still there", "Submit or discard"],
        "Unreleased reference",
    ),
    "a record after it was submitted": (
        "r1 = map[ring]\nr2 = 8\nr3 = 0\ncall bpf_ringbuf_reserve\nif r0 == 0 goto out\nr6 = r0\nr1 = r0\nr2 = 0\n"
        "call bpf_ringbuf_submit\n*(u64 *)(r6 +0) = 1\nout: r0 = 0\nexit",
        ["writing 8 bytes"],
        "R6 invalid mem access 'scalar'",
    ),
    "nine frames": (
        "r1 = 0\ncall f1\nexit\n" + "".join(f"f{n}: call f{n + 1}\nexit\n" for n in range(1, 8)) + "f8: r0 = 0\nexit",
        ["the call stack of 9 frames is too deep"],
        "the call stack of 9 frames is too deep",
    ),
    "a tail call into a map that is no program array": (
        "r2 = map[array]\nr3 = 0\ncall bpf_tail_call\nr0 = 0\nexit",
        ["bpf_tail_call needs a program array; map array is none"],
        "expected prog array map for tail call",
    ),
    "a helper of another program type": (
        "r2 = 0\ncall bpf_skb_get_tunnel_opt_not_there\nexit".replace(
            "bpf_skb_get_tunnel_opt_not_there", "bpf_clone_redirect#9999"
        ),
        ["invalid func unknown#9999"],
        "invalid func unknown#9999",
    ),
    "no end": ("r0 = 0\nnext: r0 += 1\ngoto next", ["ran 10,000 instructions"], None),
}


def _program(text: str) -> Program:
    maps = tuple(name for name in MAPS if f"map[{name}]" in text)
    return Program("test", "lwt_xmit", "LWT_XMIT", tuple(assemble(text, Names(maps=maps))), (), maps=maps)


def _in_kernel(one: MapDefinition) -> int:
    fd, _ = create_map(one.type, one.key_size, one.value_size, one.max_entries, flags=one.flags)
    assert fd is not None
    return fd


def _run(program: Program) -> Embedded:
    loaded = Object("test.o", "GPL", 0, {"test": program}, {name: MAPS[name] for name in program.maps}, None, {}, {})
    ours = Embedded(loaded, "interpreter", checked=False, instruction_limit=10_000)
    ours.run("test", PACKET)
    return ours


@pytest.mark.parametrize("name", CASES)
def test_it_is_stopped_and_told_why(name: str) -> None:
    text, parts, _ = CASES[name]
    with pytest.raises(RuntimeFault) as stopped:
        _run(_program(text))
    message = str(stopped.value)
    assert message.startswith("running test: ")
    for part in (*parts, "registers: "):
        assert part in message


@pytest.mark.kernel
@pytest.mark.parametrize("name", [name for name, case in CASES.items() if case[2]])
def test_the_kernel_refuses_each_of_them(name: str) -> None:
    text, _, reason = CASES[name]
    program = _program(text)
    fds = [_in_kernel(MAPS[name]) for name in program.maps]
    _, error, log = load_program(encode(program.instructions), fds=fds)
    for fd in fds:
        os.close(fd)
    assert error
    assert reason in log, log


def test_the_message_names_file_line_and_source() -> None:
    program = _program("r0 = 1\nr1 = 0\nr0 = *(u8 *)(r1 +3)\nexit")
    lines = (LineInfo(0, "drop.c", 10, 1, "int a = 1;"), LineInfo(2, "drop.c", 12, 5, "    return *p;"))
    program = program._replace(functions=(Function("test", 0, 4, 0, True),), lines=lines)
    with pytest.raises(RuntimeFault) as stopped:
        _run(program)
    assert str(stopped.value).startswith(
        "running test: drop.c:12: instruction 2 (r0 = *(u8 *)(r1 +3)): reading 1 bytes"
    )
    assert "\n  12 | return *p;\n" in str(stopped.value)


def test_a_fault_in_a_callback_stops_the_helper_that_called_it() -> None:
    program = _program(
        "r1 = 1000\nr2 = subprog[f]\nr3 = 0\nr4 = 0\ncall bpf_loop\nr0 = 0\nexit\nf: r0 = *(u8 *)(r2 +0)\nexit"
    )
    with pytest.raises(RuntimeFault, match="null pointer") as stopped:
        _run(program)
    assert "instruction 8" in str(stopped.value)


def test_good_programs_are_not_stopped() -> None:
    ours = _run(
        _program(
            LOOKUP + "if r0 == 0 goto out\nr1 = 7\n*(u64 *)(r0 +8) = r1\nout: r1 = map[ring]\nr2 = 16\nr3 = 0\n"
            "call bpf_ringbuf_reserve\nif r0 == 0 goto end\n*(u64 *)(r0 +8) = 5\n*(u64 *)(r0 +0) = 6\nr1 = r0\nr2 = 0\n"
            "call bpf_ringbuf_submit\nend: r0 = 3\nexit"
        )
    )
    assert ours.maps["array"].lookup(bytes(4)) == struct.pack("<QQ", 0, 7)
