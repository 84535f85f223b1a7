"""Machine code by LLVM: link bitcode, optimise for this processor, load, and find addresses."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Sequence
from functools import cache

import llvmlite.binding as llvm

from routebpf.runtime import cache as files
from routebpf.runtime.bitcode import bitcode, cached_name
from routebpf.runtime.native import Native, closure

_loading = threading.RLock()


@cache
def _initialised() -> None:
    llvm.initialize_native_target()
    llvm.initialize_native_asmprinter()


@cache
def target_machine(portable: bool = False) -> llvm.TargetMachine:
    """Code generation for this processor, or for any of its architecture."""
    _initialised()
    target = llvm.Target.from_default_triple()
    if portable:
        return target.create_target_machine(opt=2, reloc="pic", codemodel="small")
    features = llvm.get_host_cpu_features().flatten()
    return target.create_target_machine(
        cpu=llvm.get_host_cpu_name(), features=features, opt=2, reloc="pic", codemodel="small"
    )


def optimise(module: llvm.ModuleRef, machine: llvm.TargetMachine, *, inline: bool, level: int = 2) -> None:
    """LLVM's standard passes on the whole module."""
    tuning = llvm.create_pipeline_tuning_options(speed_level=level)
    tuning.loop_vectorization = False  # loops here run over a few bytes; its code is large and slow to make
    tuning.slp_vectorization = False
    tuning.loop_unrolling = False
    if inline:
        tuning.inlining_threshold = 400
    builder = llvm.create_pass_builder(machine, tuning)
    builder.getModulePassManager().run(module, builder)


def linked(functions: Sequence[Native], into: llvm.ModuleRef | None = None) -> llvm.ModuleRef:
    """One module of `functions` and all that they call, or `into` with them; they are internal to it."""
    module = into or llvm.parse_assembly("")
    needed = closure(list(functions))
    for one in needed:
        module.link_in(llvm.parse_bitcode(bitcode(one)))
    for one in needed:  # only now: a declaration that is linked in does not find an internal function
        module.get_function(one.symbol).linkage = "internal"
    return module


class Code:
    """Machine code in memory: addresses are valid as long as this object lives.

    LLVM's JITLink puts all sections of an object side by side. MCJIT maps each by itself, and where maps of gigabytes
    leave small holes only, code and its constants end up further apart than their 32-bit references reach.
    """

    def __init__(self, data: bytes, exported: Sequence[str]) -> None:
        self._jit = llvm.create_lljit_compiler(target_machine(), use_jit_link=True)
        library = llvm.JITLibraryBuilder().add_object_img(data).add_current_process()
        for symbol in exported:
            library.export_symbol(symbol)
        self._library = library.link(self._jit, "code")

    def address(self, symbol: str) -> int:
        """The address of an exported symbol."""
        return int(self._library[symbol])


def emit(module: llvm.ModuleRef, exported: Sequence[str]) -> bytes:
    """Optimise a module for this processor and give the object file; all but `exported` is internal."""
    for one in module.functions:
        if not one.is_declaration:
            one.linkage = "external" if one.name in exported else "internal"
    machine = target_machine()
    module.triple = machine.triple
    module.data_layout = str(machine.target_data)
    optimise(module, machine, inline=True)
    return bytes(machine.emit_object(module))


@cache
def _processor() -> str:
    _initialised()
    features = llvm.get_host_cpu_features().flatten()
    return hashlib.sha256(f"{llvm.get_host_cpu_name()} {features} {llvm.llvm_version_info}".encode()).hexdigest()[:12]


def object_name(function: Native) -> str:
    """The name in the cache of a function's machine code, with all that it calls, for this processor."""
    needed = sorted(map(cached_name, closure([function])))
    key = hashlib.sha256("\n".join(needed).encode()).hexdigest()[:16]
    return f"{function.symbol}-{key}-{_processor()}.o"


def compile_object(function: Native) -> bytes:
    """A function's machine code, with all that it calls, as an object file: compiled, always."""
    return emit(linked([function]), [function.symbol])


@cache
def _code_of(function: Native) -> Code:
    name = object_name(function)
    found = files.read(name)
    if found is None:
        found = compile_object(function)
        files.write(name, found)
    return Code(found, [function.symbol])


def function_address(function: Native) -> int:
    """The address of one function's machine code, valid for the life of this process."""
    with _loading:  # or each of two threads would load it, and the code of one of them be gone at once
        return _code_of(function).address(function.symbol)
