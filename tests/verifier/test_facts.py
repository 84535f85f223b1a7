"""What verification finds out for the engines."""

from __future__ import annotations

import pytest

from routebpf.errors import RejectedError
from routebpf.isa import Names, assemble
from routebpf.objects.model import LineInfo, MapDefinition, Poison, Program
from routebpf.verifier.facts import ContextAccess, Facts
from routebpf.verifier.verify import verify

ARRAY = MapDefinition("array", 2, 4, 16, 4)
DATA = MapDefinition("rodata", 2, 4, 8, 1, 1 << 7, data=bytes([5, 0, 0, 0, 0, 0, 0, 0]), read_only=True)


def _facts(text: str, **fields: tuple[Poison, ...] | tuple[LineInfo, ...]) -> Facts:
    names = ("array", "rodata")
    program = Program(
        "test", "lwt_xmit", "LWT_XMIT", tuple(assemble(text, Names(maps=names))), (), maps=names, **fields
    )
    return verify(program, [ARRAY, DATA]).facts


def test_context_accesses_are_known_by_instruction() -> None:
    facts = _facts(
        "r6 = r1\n*(u32 *)(r6 +8) = 1\n*(u64 *)(r10 -8) = r6\nr7 = *(u64 *)(r10 -8)\nr0 = *(u16 *)(r7 +18)\ncall f\n"
        "exit\nf: r0 = 0\nexit"
    )
    assert facts.context == {1: ContextAccess(8, 4, True), 4: ContextAccess(18, 2, False)}


def test_a_function_is_known_to_have_the_context_from_its_callers() -> None:
    facts = _facts("r2 = r1\nr1 = 5\ncall f\nexit\nf: r0 = *(u32 *)(r2 +0)\nexit")
    assert facts.context == {4: ContextAccess(0, 4, False)}


def test_calls_are_known_with_their_maps() -> None:
    facts = _facts(
        "r6 = r1\n*(u32 *)(r10 -4) = 0\nr2 = r10\nr2 += -4\nr1 = map[array]\ncall bpf_map_lookup_elem\n"
        "r1 = r6\nr2 = 10\nr3 = 0\ncall bpf_skb_change_tail\nr0 = 0\nexit"
    )
    assert facts.calls == {6: 0, 10: None}


def test_a_map_that_depends_on_the_path_is_not_known() -> None:
    facts = _facts(
        "*(u32 *)(r10 -4) = 0\nr3 = *(u32 *)(r1 +0)\nr2 = r10\nr2 += -4\nr1 = map[array]\nif r3 == 0 goto out\n"
        "r1 = map[rodata]\nout: call bpf_map_lookup_elem\nr0 = 0\nexit"
    )
    assert facts.calls == {9: None}


def test_functions_are_known_with_their_stack() -> None:
    facts = _facts("*(u64 *)(r10 -24) = 0\ncall f\nexit\nf: r1 = r10\nr1 += -40\n*(u32 *)(r1 +4) = 0\nr0 = 0\nexit")
    assert [(one.start, one.end, one.stack_bytes) for one in facts.functions] == [
        (0, 3, 24),
        (3, 8, 40),
    ]


def test_a_frame_is_as_large_as_the_lowest_place_of_an_address_on_the_stack_that_varies() -> None:
    facts = _facts("r2 = *(u32 *)(r1 +0)\nr2 &= 7\nr3 = r10\nr3 += -64\nr3 += r2\n*(u8 *)(r3 +0) = 1\nr0 = 0\nexit")
    assert facts.functions[0].stack_bytes == 64


def test_code_behind_a_branch_on_constant_data_is_not_reachable() -> None:
    facts = _facts("r2 = map[rodata][0]+0\nr3 = *(u32 *)(r2 +0)\nif r3 == 5 goto out\nr0 = 1\nexit\nout: r0 = 2\nexit")
    assert list(facts.reachable) == [1, 0, 1, 1, 0, 0, 1, 1]


def test_a_poisoned_instruction_that_is_not_reached_is_left_alone() -> None:
    text = "r3 = 5\nif r3 == 5 goto out\ncall unknown#195896080\nexit\nout: r0 = 2\nexit"
    assert _facts(text, poisons=(Poison(2, "struct sk_buff has no field x"),)).reachable[2] == 0


def test_a_poisoned_instruction_that_is_reached_is_refused_with_its_reason_and_line() -> None:
    lines = (LineInfo(0, "a.c", 7, 1, "  return skb->x;"),)
    with pytest.raises(RejectedError, match="struct sk_buff has no field x") as refused:
        _facts("call unknown#195896080\nexit", poisons=(Poison(0, "struct sk_buff has no field x"),), lines=lines)
    assert "instruction 0: invalid func unknown#195896080" in str(refused.value)
