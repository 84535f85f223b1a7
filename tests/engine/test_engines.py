"""What the engines promise besides the results of instructions: ends of loops, watching, faults across programs."""

from __future__ import annotations

import threading
from collections.abc import Sequence

import pytest
from embedded import ENGINES, Embedded
from three_machines import INPUTS, State, agree, around_text

from routebpf.engine import run_raw
from routebpf.errors import RejectedError, RuntimeFault
from routebpf.isa import Names, assemble
from routebpf.objects.model import MapDefinition, Object, Program
from routebpf.runtime.registry import is_implemented

COUNTS = MapDefinition("counts", 2, 4, 8, 1)
JUMPS = MapDefinition("jumps", 3, 4, 4, 2, initial_slots={0: "second"})


def _program(text: str, name: str = "test", maps: tuple[str, ...] = (), **fields: tuple[str, ...]) -> Program:
    names = Names(maps=maps, **fields)
    return Program(name, "lwt_xmit", "LWT_XMIT", tuple(assemble(text, names)), (), maps=maps, **fields)


def _object(*programs: Program, maps: Sequence[MapDefinition] = ()) -> Object:
    by_name = {one.name: one for one in programs}
    return Object("test.o", "GPL", 0, by_name, {one.name: one for one in maps}, None, {}, {})


ENDLESS = "r0 = 0\nr3 = 0\nnext: may_goto out\nr3 += 1\ngoto next\nout: r0 = 7"


@pytest.mark.kernel
def test_a_loop_with_may_goto_ends_as_in_the_kernel() -> None:
    body = ENDLESS + "\nr3 = 0"
    agree(around_text(body), [State((0,) * INPUTS)], engines=("jit",))


def test_may_goto_goes_on_8388608_times_in_each_frame() -> None:
    code = assemble(f"call f\nr6 = r0\ncall f\nr0 += r6\nexit\nf: {ENDLESS}\nr0 = r3\nexit")
    assert run_raw(code, engine="jit")[0] == 2 * 8_388_608


def test_the_interpreter_stops_what_never_ends() -> None:
    program = _program("r0 = 0\nnext: r0 += 1\ngoto next")
    ours = Embedded(_object(program), "interpreter", checked=False, instruction_limit=1000)
    with pytest.raises(RuntimeFault, match="1,000 instructions"):
        ours.run("test")
    assert run_raw(assemble("r0 = 0\nnext: r0 += 1\nif r0 < 1000 goto next\nexit"))[0] == 1000


def test_an_observer_sees_each_instruction_before_it_is_run() -> None:
    program = _program("r6 = 5\ncall f\nr0 += r6\nexit\nf: r0 = 2\nexit")
    seen: list[tuple[int, int | None, int | None]] = []
    ours = Embedded(_object(program), "interpreter", observer=lambda _, at, r: seen.append((at, r[0], r[6])))
    assert ours.run("test") == 7
    assert seen == [(0, None, None), (1, None, 5), (4, None, None), (5, 2, None), (2, 2, 5), (3, 7, 5)]


@pytest.mark.parametrize("engine", ENGINES)
def test_bare_instructions_have_the_memory_and_its_size(engine: str) -> None:
    code = assemble("r0 = *(u16 *)(r1 +1)\n*(u8 *)(r1 +3) = 9\nr0 += r2\nexit")
    assert run_raw(code, bytes([1, 2, 3, 4]), engine=engine) == (0x302 + 4, bytes([1, 2, 3, 9]))
    assert run_raw(assemble("r0 = -1\nexit"), engine=engine) == ((1 << 64) - 1, b"")


@pytest.mark.parametrize("engine", ENGINES)
def test_bare_instructions_that_are_not_well_formed_are_rejected(engine: str) -> None:
    with pytest.raises(RejectedError, match="last insn is not an exit or jmp"):
        run_raw(assemble("r0 = 0"), engine=engine)


@pytest.mark.parametrize("engine", ENGINES)
def test_a_kernel_variable_is_refused_by_name(engine: str) -> None:
    program = _program("r1 = ksym[bpf_prog_active]\nr0 = 0\nexit", ksyms=("bpf_prog_active",))
    with pytest.raises(RejectedError, match=r"ksym\[bpf_prog_active\].*kernel object"):
        Embedded(_object(program), engine).run("test")


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("name", ["bpf_dynptr_from_skb", "bpf_wq_init___weak"])
def test_a_kfunc_that_is_not_there_is_null(engine: str, name: str) -> None:
    text = f"r0 = ksym[{name}]\nif r0 == 0 goto out\nr0 = 1\nout: exit"
    ours = Embedded(_object(_program(text, ksyms=(name,))), engine)
    assert ours.run("test") == int(is_implemented(name.partition("___")[0]))


def test_a_fault_behind_a_tail_call_is_the_callers_too() -> None:
    first = _program("r2 = map[jumps]\nr3 = 0\ncall bpf_tail_call\nr0 = 0\nexit", "first", ("jumps",))
    second = _program("r1 = 0\nr0 = *(u8 *)(r1 +0)\nexit", "second")
    ours = Embedded(_object(first, second, maps=[JUMPS]), "interpreter", checked=False)
    with pytest.raises(RuntimeFault, match=r"running second: .*null pointer"):
        ours.run("first")


@pytest.mark.parametrize(("caller", "callee"), [("jit", "interpreter"), ("interpreter", "jit")])
def test_programs_of_different_engines_go_on_in_one_another(caller: str, callee: str) -> None:
    second = _program("r0 = *(u32 *)(r1 +0)\nr0 += 1000\nexit", "second")
    first = _program("r2 = map[jumps]\nr3 = 0\ncall bpf_tail_call\nr0 = 0\nexit", "first", ("jumps",))
    there = Embedded(_object(second), callee)
    here = Embedded(_object(first, maps=[MapDefinition("jumps", 3, 4, 4, 2)]), caller)
    here.maps["jumps"].set_slot(0, there.programs["second"].entry)
    assert here.run("first", bytes(60)) == 1060


def test_threads_run_one_interpreted_program_at_a_time_each() -> None:
    text = "r6 = 0\nnext: r6 += 1\nif r6 < 300 goto next\nr0 = *(u32 *)(r1 +0)\nr0 += r6\nexit"
    program = _program(text)
    runs = [Embedded(_object(program), "interpreter") for _ in range(4)]
    for one in runs[1:]:
        one.programs = runs[0].programs
    found: list[int] = []
    threads = [
        threading.Thread(target=lambda one=one, size=size: found.append(one.run("test", bytes(size))))
        for size, one in zip((20, 21, 22, 23), runs, strict=True)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(found) == [320, 321, 322, 323]


def test_an_interpreted_fault_leaves_the_next_run_alone() -> None:
    program = _program("r2 = *(u32 *)(r1 +76)\nr0 = *(u8 *)(r2 +30)\nexit")
    ours = Embedded(_object(program), "interpreter", checked=False)
    with pytest.raises(RuntimeFault):
        ours.run("test", bytes(20))
    assert ours.run("test", bytes(31)) == 0
    assert ours.programs["test"].take_fault(ours.cpu.address) is None


def test_atomics_of_several_threads_of_machine_code_lose_nothing() -> None:
    loop = "next: lock *(u64 *)(r7 +0) += r8\nr6 += 1\nif r6 < 20000 goto next"
    text = f"r6 = 0\nr7 = map[counts][0]+0\nr8 = 1\n{loop}\nr0 = 0\nexit"
    program = _program(text, maps=("counts",))
    runs = [Embedded(_object(program, maps=[COUNTS]), "jit") for _ in range(2)]
    runs[1].programs = runs[0].programs

    def run(one: Embedded) -> None:
        for _ in range(25):
            one.run("test")

    threads = [threading.Thread(target=run, args=(one,)) for one in runs]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert runs[0].maps["counts"].lookup(bytes(4)) == (1_000_000).to_bytes(8, "little")
