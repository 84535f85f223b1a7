"""Assembler and disassembler, held against clang's assembler and the running kernel's verifier log."""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest

from routebpf.errors import InputError
from routebpf.isa import Instruction, Names, assemble, decode, disassemble, disassemble_lines, encode

# The kernel's text, and LLVM's for the same instruction where it differs.
KERNEL_AND_LLVM = [
    ("r0 = 0", ""),
    ("w7 = -1", ""),
    ("w1 += w2", ""),
    ("r1 -= -7", ""),
    ("r1 *= r9", ""),
    ("r3 /= 6", ""),
    ("r3 s/= r4", ""),
    ("w3 s%= 5", ""),
    ("w3 %= w5", ""),
    ("r1 |= 255", ""),
    ("w1 &= -256", ""),
    ("r1 ^= r1", ""),
    ("r1 <<= 63", ""),
    ("w1 >>= 31", ""),
    ("r1 s>>= r2", ""),
    ("w1 s>>= 7", ""),
    ("r1 = -r1", ""),
    ("w1 = -w1", ""),
    ("r1 = r10", ""),
    ("r1 = (s8)r2", ""),
    ("r1 = (s16)r2", ""),
    ("r1 = (s32)r2", ""),
    ("w1 = (s8)w2", ""),
    ("w1 = (s16)w2", ""),
    ("r0 = bswap16 r0", ""),
    ("r0 = bswap32 r0", ""),
    ("r0 = bswap64 r0", ""),
    ("r9 = be16 r9", ""),
    ("r9 = be32 r9", ""),
    ("r9 = be64 r9", ""),
    ("r9 = le16 r9", ""),
    ("r9 = le32 r9", ""),
    ("r9 = le64 r9", ""),
    ("*(u64 *)(r10 -8) = r1", ""),
    ("*(u32 *)(r10 -8) = r1", ""),
    ("*(u16 *)(r10 +512) = r1", ""),
    ("*(u8 *)(r10 +0) = r1", ""),
    ("*(u64 *)(r10 -8) = 7", ""),
    ("*(u8 *)(r10 -8) = -7", ""),
    ("r1 = *(u64 *)(r10 -8)", ""),
    ("r1 = *(u32 *)(r2 +76)", ""),
    ("r1 = *(u16 *)(r10 -8)", ""),
    ("r1 = *(u8 *)(r10 -1)", ""),
    ("r1 = *(s32 *)(r10 -8)", ""),
    ("r1 = *(s16 *)(r10 -8)", ""),
    ("r1 = *(s8 *)(r10 -8)", ""),
    ("lock *(u64 *)(r1 +0) += r2", ""),
    ("lock *(u64 *)(r1 +0) |= r2", ""),
    ("lock *(u32 *)(r1 +8) &= r2", "lock *(u32 *)(r1 + 8) &= w2"),
    ("lock *(u64 *)(r1 +0) ^= r2", ""),
    ("r2 = atomic64_fetch_add((u64 *)(r1 +0), r2)", "r2 = atomic_fetch_add((u64 *)(r1 + 0), r2)"),
    ("r2 = atomic64_fetch_or((u64 *)(r1 +0), r2)", "r2 = atomic_fetch_or((u64 *)(r1 + 0), r2)"),
    ("r2 = atomic64_fetch_xor((u64 *)(r1 +0), r2)", "r2 = atomic_fetch_xor((u64 *)(r1 + 0), r2)"),
    ("r2 = atomic_fetch_and((u32 *)(r1 +4), r2)", "w2 = atomic_fetch_and((u32 *)(r1 + 4), w2)"),
    ("r2 = atomic64_xchg((u64 *)(r1 +0), r2)", "r2 = xchg_64(r1 + 0, r2)"),
    ("r2 = atomic_xchg((u32 *)(r1 +0), r2)", "w2 = xchg32_32(r1 + 0, w2)"),
    ("r0 = atomic64_cmpxchg((u64 *)(r1 +8), r0, r2)", "r0 = cmpxchg_64(r1 + 8, r0, r2)"),
    ("r0 = atomic_cmpxchg((u32 *)(r1 +8), r0, r2)", "w0 = cmpxchg32_32(r1 + 8, w0, w2)"),
    ("r1 = load_acquire((u64 *)(r2 +0))", ""),
    ("r1 = load_acquire((u32 *)(r2 +4))", "w1 = load_acquire((u32 *)(r2 + 4))"),
    ("r1 = load_acquire((u8 *)(r2 +0))", "w1 = load_acquire((u8 *)(r2 + 0))"),
    ("store_release((u64 *)(r2 +0), r1)", ""),
    ("store_release((u16 *)(r2 -2), r1)", "store_release((u16 *)(r2 - 2), w1)"),
    ("r1 = 0x1122334455667788", "r1 = 0x1122334455667788 ll"),
    ("r1 = 0xffffffff", "r1 = 0xffffffff ll"),
    ("exit", ""),
    ("call bpf_get_prandom_u32#7", "call 7"),
    ("r0 = *(u16 *)skb[12]", ""),
    ("r0 = *(u8 *)skb[0]", ""),
    ("r0 = *(u32 *)skb[r1 + 0]", "r0 = *(u32 *)skb[r1]"),
    ("goto pc+2", "goto +2"),
    ("goto pc-2", "goto -2"),
    ("gotol pc+7000", "gotol +7000"),
    ("may_goto pc+5", "may_goto +5"),
    *[(f"if r1 {operator} 0x5 goto pc+3", f"if r1 {operator} 5 goto +3")
      for operator in ("==", "!=", ">", ">=", "<", "<=", "s>", "s>=", "s<", "s<=", "&")],
    *[(f"if w1 {operator} w2 goto pc-3", f"if w1 {operator} w2 goto -3")
      for operator in ("==", "!=", ">", ">=", "<", "<=", "s>", "s>=", "s<", "s<=", "&")],
    ("if r1 s< 0xfffffffe goto pc+0", "if r1 s< -2 goto +0"),
    ("r1 = addr_space_cast(r2, 0, 1)", "r1 = addr_space_cast(r2, 0x0, 0x1)"),
    ("r1 = addr_space_cast(r2, 1, 0)", "r1 = addr_space_cast(r2, 0x1, 0x0)"),
]  # fmt: skip


def _llvm(kernel: str, llvm: str) -> str:
    """LLVM's text of a row: `(r10 -8)` is `(r10 - 8)` to it."""
    return llvm or re.sub(r"\((r\d+) ([+-])", r"(\1 \2 ", kernel)


def test_the_text_means_the_bytes_that_clang_makes_of_it(llvm_assemble: Callable[[str], bytes]) -> None:
    expected = llvm_assemble("\n".join(_llvm(*row) for row in KERNEL_AND_LLVM))
    lines = disassemble_lines(decode(expected))
    assert [text for _, text in lines] == [kernel for kernel, _ in KERNEL_AND_LLVM]
    assert encode(assemble("\n".join(kernel for kernel, _ in KERNEL_AND_LLVM))) == expected


@pytest.mark.kernel
def test_the_kernel_prints_the_same_text(kernel_text: Callable[[bytes], dict[int, str]]) -> None:
    skipped = ("call pc", "goto", "may_goto", "if", "exit", "r0 = *(u")  # those that need a program around them
    compared = 0
    for kernel, _ in KERNEL_AND_LLVM:
        if kernel.startswith(skipped):
            continue
        code = encode(assemble(f"r0 = 0; \n {kernel} \n r0 = 0 \n exit"))
        printed = kernel_text(code)
        assert printed.get(1) == kernel, printed
        compared += 1
    assert compared > 60


@pytest.mark.kernel
def test_the_kernel_prints_the_same_text_of_a_program_with_jumps_and_calls(
    kernel_text: Callable[[bytes], dict[int, str]],
) -> None:
    text = """
        r6 = r1
        r0 = *(u32 *)(r6 +0)
        if w0 != 0x5 goto pc+1
        may_goto pc+0
        if r0 s> 0xfffffff0 goto pc+1
        gotol pc+0
        if r0 & 0x80000000 goto pc+0
        if w0 s<= w6 goto pc+0
        call bpf_ktime_get_ns#5
        call bpf_get_prandom_u32#7
        r1 = 1
        call pc+2
        goto pc+0
        exit
        r0 = r1
        exit
    """.replace("if w0 s<= w6", "w7 = 3\n if w0 s<= w7")
    program = assemble(text)
    printed = kernel_text(encode(program))
    ours = dict(disassemble_lines(program))
    assert len(printed) >= 10
    assert {at: ours[at] for at in printed} == printed


def test_bytes_that_are_no_instruction_are_shown_field_by_field_and_assemble_back() -> None:
    bad = [Instruction(0xFF, 11, 3, -1, 7), Instruction(0x18, 1, 9, 0, 5), Instruction(0, imm=-1), Instruction(0x18, 1)]
    assert disassemble(bad).splitlines()[0] == ".insn 0xff, r11, r3, -1, 7"
    assert assemble(disassemble(bad)) == bad


def test_labels_name_places_before_and_after() -> None:
    program = assemble(
        """
        start:  if r1 == 0 goto out        ; comment
                r2 = subprog[callback]     // comment
                call f                     # comment
                gotol start
        out:
                exit
        f:      r0 = 0x5
                exit
        callback: exit
        """
    )
    assert [one.offset for one in program if one.opcode == 0x15] == [4]
    assert program[1].src == 4
    assert 1 + 1 + program[1].imm == 9
    assert program[3] == Instruction(0x85, src=1, imm=2)
    assert program[4] == Instruction(0x06, imm=-5)


def test_names_stand_for_maps_kfuncs_and_ksyms() -> None:
    names = Names(maps=("counters", ".rodata"), kfuncs=("bpf_dynptr_from_skb",), ksyms=("bpf_prog_active",))
    text = """r1 = map[counters]
r2 = map[.rodata][0]+8
r3 = ksym[bpf_prog_active]
call bpf_dynptr_from_skb#0
call bpf_map_lookup_elem#1"""
    program = assemble(text, names)
    assert [(one.opcode, one.src, one.imm) for one in program] == [
        (0x18, 5, 0), (0, 0, 0), (0x18, 6, 1), (0, 0, 8), (0x18, 3, 0), (0, 0, 0), (0x85, 2, 0), (0x85, 0, 1),
    ]  # fmt: skip
    assert disassemble(program, names) == text
    assert assemble("call bpf_dynptr_from_skb\ncall bpf_map_lookup_elem\ncall #1", names)[:2] == program[-2:]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("r11 = 0", "there is no register r11"),
        ("r1 += w2", "mixes 64-bit rN and 32-bit wN"),
        ("r1 += 0xffffffff", "is not in"),
        ("goto nowhere", "no label is named nowhere"),
        ("r1 = r2 + r3", "is no instruction in the kernel's syntax"),
        ("r1 = bswap16 r2", "works in place"),
        ("r1 = *(s64 *)(r2 +0)", "no such instruction"),
        ("r1 = *(u64 *)(r2 +40000)", "is not in -32768 to 32767"),
        ("lock *(u16 *)(r1 +0) += r2", "this atomic works on u32 and u64"),
        ("r1 = atomic_fetch_add((u64 *)(r2 +0), r1)", "atomic64_ is for u64"),
        ("r1 = map[nothing]", "no map is named nothing"),
    ],
)
def test_a_line_that_is_wrong_is_an_error_with_its_number(line: str, message: str) -> None:
    with pytest.raises(InputError, match=r"assembling line 2, `") as caught:
        assemble(f"r0 = 0\n{line}\nexit")
    assert message in str(caught.value)


def test_a_label_too_far_for_its_jump_is_an_error() -> None:
    with pytest.raises(InputError, match="beyond 16 bits; use gotol"):
        assemble("goto far\n" + "r0 = 0\n" * 0x8000 + "far: exit")
