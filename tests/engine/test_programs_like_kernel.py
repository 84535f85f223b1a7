"""C programs return the same, and leave the same packet and arrays, on both engines and in the running kernel."""

from __future__ import annotations

import struct
from pathlib import Path

import pytest
from embedded import ENGINES, ETHERNET, Embedded

from compilers import Compiler
from object_in_kernel import InKernel
from routebpf.objects.btf import Btf, read_btf_file
from routebpf.objects.compiler import compile_source
from routebpf.objects.loader import load_object
from routebpf.objects.model import Object

pytestmark = pytest.mark.kernel

_ARRAY = 2
PROGRAMS = Path(__file__).parent / "programs"
WILD_PROGRAMS = Path(__file__).parent / "wild_programs"
PACKETS = [bytes((7 * i + 0x45) & 255 for i in range(size)) for size in (20, 40, 50, 333)]


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("path", sorted(PROGRAMS.glob("*.c")), ids=lambda path: path.stem)
def test_a_program_does_the_same_as_in_the_kernel(compiler: Compiler, path: Path, engine: str) -> None:
    kernel_btf = read_btf_file(Path("/sys/kernel/btf/vmlinux")) if "__ksym" in path.read_text() else None
    compiled = compiler.compile(path.read_text(), "-O2", "-g", "-mcpu=v3", f"-I{PROGRAMS}")
    _compare(load_object(compiled, target_btf=kernel_btf), engine, kernel_btf)


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("path", sorted(WILD_PROGRAMS.glob("*.c")), ids=lambda path: path.stem)
def test_a_program_in_the_manner_of_others_compiles_with_our_headers_and_does_the_same(path: Path, engine: str) -> None:
    _compare(load_object(compile_source(str(path))), engine, None)


def _compare(loaded: Object, engine: str, kernel_btf: Btf | None) -> None:
    ours = Embedded(loaded, engine)
    with InKernel(loaded, kernel_btf) as kernel:
        for packet in PACKETS:
            want, after = kernel.run_on("run", ETHERNET + packet)
            assert ours.run("run", packet) == want
            assert ours.packet.data == after[len(ETHERNET) :]
            for name in (name for name, one in ours.maps.items() if one.definition.type == _ARRAY):
                for index in range(ours.maps[name].definition.max_entries):
                    key = struct.pack("<I", index)
                    assert ours.maps[name].lookup(key) == kernel.lookup(name, key), f"{name}[{index}]"
