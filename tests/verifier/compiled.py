"""The programs in C of the corpus, compiled at each optimisation and for each instruction set.

A program whose name begins with `refused_` is one that the kernel refuses, however it is compiled.
"""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from functools import cache
from itertools import product
from pathlib import Path

from against_kernel import Subject

from compilers import commands
from routebpf.hosts.verification import ProgramVerdict, verify_programs
from routebpf.kernel.kernel_btf import has_kernel_btf, kernel_btf
from routebpf.objects.compiler import INCLUDE
from routebpf.objects.loader import load_object
from routebpf.objects.model import Object

DIRECTORY = Path(__file__).with_name("corpus")
SOURCES = tuple(sorted(DIRECTORY.glob("*.bpf.c")))
WAYS = tuple(product(("-O1", "-O2", "-Os"), ("v1", "v2", "v3", "v4")))
REFUSED = "refused_"
_FROM_CLANG = 18  # the first clang that knows v4


@cache
def compiler(cpu: str) -> tuple[str, ...] | None:
    """The command that compiles for an instruction set, None if there is none here."""
    found = {name: command for name, (command, _) in commands().items()}
    if cpu == "v4" and "clang" in found and _clang_version() < _FROM_CLANG:
        del found["clang"]
    return found.get("clang") or found.get("zig")


@cache
def _clang_version() -> int:
    said = subprocess.run([shutil.which("clang") or "clang", "--version"], capture_output=True, text=True).stdout
    return int(said.partition("version ")[2].partition(".")[0])


@cache
def compiled(source: Path, optimisation: str, cpu: str) -> bytes:
    command = compiler(cpu)
    assert command is not None
    with tempfile.TemporaryDirectory(prefix="routebpf-") as directory:
        made = Path(directory, "program.o")
        options = (optimisation, "-g", "-w", f"-mcpu={cpu}", "-isystem", str(INCLUDE))
        subprocess.run([*command, *options, "-c", str(source), "-o", str(made)], check=True)
        return made.read_bytes()


@cache
def read(source: Path, optimisation: str, cpu: str) -> Object:
    """The object, for the running kernel's types if there are any."""
    types = kernel_btf() if has_kernel_btf() else None
    return load_object(compiled(source, optimisation, cpu), target_btf=types, name=source.name)


def subjects(source: Path, optimisation: str, cpu: str) -> Iterator[Subject]:
    """Its programs, to be asked about one by one."""
    held = read(source, optimisation, cpu)
    assert held.btf is not None
    for one in held.programs.values():
        maps = [held.maps[name] for name in one.maps]
        yield Subject(one, maps, held.btf, held.license, f"{source.name} {optimisation} {cpu}")


def verdicts(source: Path, optimisation: str, cpu: str, *, ask_kernel: bool) -> list[ProgramVerdict]:
    """Ours on each program, and the running kernel's if it is to be asked."""
    return list(verify_programs(read(source, optimisation, cpu), ask_kernel=ask_kernel))
