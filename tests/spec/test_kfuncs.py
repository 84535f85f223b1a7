"""The kfuncs against the running kernel: prototypes by its BTF, who may call them by loading programs."""

from __future__ import annotations

import os
import re

import pytest

from kernel_bpf import PROGRAM_TYPES, instruction, load_program
from routebpf.objects.btf import Btf, read_btf_file
from routebpf.objects.btf_types import DeclTag, Func, FuncProto, Kind
from routebpf.spec import KFUNCS, Extent, Kfunc, KfuncArgKind, kfunc_by_name
from routebpf.spec.arguments import split_prototype

NOT_FOR_TYPE = "is not allowed"
SLEEPABLE = ("must be sleepable", "might sleep", "sleepable progs")
KFUNC_CALL = 2


@pytest.fixture(scope="module")
def kernel() -> Btf:
    return read_btf_file("/sys/kernel/btf/vmlinux")


def log_of_call(btf_id: int, program_type: str, licence: str = "GPL") -> str:
    code = b"".join(instruction(0xB7, register) for register in range(2, 6))
    code += instruction(0x85, 0, KFUNC_CALL, 0, btf_id) + instruction(0xB7, 0) + instruction(0x95)
    fd, _, log = load_program(code, program_type=PROGRAM_TYPES[program_type], licence=licence)
    if fd is not None:
        os.close(fd)
        return ""
    return log


@pytest.mark.kernel
@pytest.mark.parametrize("program_type", PROGRAM_TYPES)
def test_a_kfunc_may_be_called_by_exactly_the_program_types_of_its_row(kernel: Btf, program_type: str) -> None:
    tagged = [one.type_id for _, one in kernel.types() if isinstance(one, DeclTag) and one.name == "bpf_kfunc"]
    assert len(tagged) > 100
    theirs = {
        kernel.name(one)
        for one in tagged
        if not re.search(f"calling kernel function {kernel.name(one)} {NOT_FOR_TYPE}", log_of_call(one, program_type))
    }
    # Metadata of XDP is registered for all types, and refused where it is not bound to a device.
    theirs = {name for name in theirs if not name.startswith("bpf_xdp_metadata_")}
    assert {row.name for row in KFUNCS.values() if program_type in row.program_types} == theirs


@pytest.mark.kernel
def test_exactly_the_rows_that_might_sleep_are_kept_from_programs_that_must_not(kernel: Btf) -> None:
    theirs = set()
    for name in KFUNCS:
        log = log_of_call(kernel.find(name, Kind.FUNC) or 0, "LWT_XMIT")
        if any(words in log for words in SLEEPABLE):
            theirs.add(name)
    assert {row.name for row in KFUNCS.values() if row.might_sleep} == theirs


@pytest.mark.kernel
def test_every_kfunc_asks_for_a_gpl_compatible_licence(kernel: Btf) -> None:
    for name in KFUNCS:
        log = log_of_call(kernel.find(name, Kind.FUNC) or 0, "LWT_XMIT", "Proprietary")
        assert "cannot call kernel function from non-GPL compatible program" in log, name


@pytest.mark.kernel
@pytest.mark.parametrize("row", KFUNCS.values(), ids=lambda row: row.name)
def test_parameters_are_named_as_in_the_kernel_and_pointers_where_it_has_them(kernel: Btf, row: Kfunc) -> None:
    func = kernel.type(kernel.find(row.name, Kind.FUNC) or 0)
    assert isinstance(func, Func)
    proto = kernel.type(func.type_id)
    assert isinstance(proto, FuncProto)
    result, name, parameters = split_prototype(row.prototype)
    assert name == row.name

    def is_pointer(type_id: int) -> bool:
        return kernel.kind(kernel.strip(type_id)[0]) is Kind.PTR

    assert [one for _, one in parameters] == [one.name for one in proto.parameters]
    for (c_type, _), theirs in zip(parameters, proto.parameters, strict=True):
        assert ("*" in c_type or c_type.endswith("callback_t")) is is_pointer(theirs.type_id)
    assert result.endswith("*") is is_pointer(proto.type_id)


@pytest.mark.kernel
def test_fixed_sizes_are_those_of_the_kernel_s_structs(kernel: Btf) -> None:
    seen = set()
    for row in KFUNCS.values():
        for argument in row.arguments:
            struct = re.fullmatch(r"(?:const )?struct (\w+) \*", argument.c_type)
            if argument.extent is Extent.FIXED and struct:
                assert kernel.size_of(kernel.find(struct[1], Kind.STRUCT) or 0) == argument.size_bytes
                seen.add(struct[1])
    assert {"bpf_dynptr", "bpf_iter_num", "bpf_res_spin_lock", "bpf_wq"} <= seen


def test_the_ending_of_a_parameter_s_name_says_what_it_takes() -> None:
    slice_arguments = KFUNCS["bpf_dynptr_slice"].arguments
    assert [one.kind for one in slice_arguments] == [
        KfuncArgKind.DYNPTR,
        KfuncArgKind.SCALAR,
        KfuncArgKind.MEMORY,
        KfuncArgKind.SIZE,
    ]
    assert slice_arguments[2].size_argument == 3
    assert slice_arguments[2].may_be_null
    made = KFUNCS["bpf_dynptr_from_skb"].arguments[2]
    assert (made.reads, made.writes) == (False, True)


def test_a_kfunc_is_found_by_name() -> None:
    assert kfunc_by_name("bpf_iter_num_new") is KFUNCS["bpf_iter_num_new"]
    assert kfunc_by_name("bpf_throw") is None
