"""Small programs that are loaded to find out what the running kernel takes."""

from __future__ import annotations

from routebpf.isa import assemble
from routebpf.kernel.programs import KernelProgram, load_program
from routebpf.objects.model import Program


def load_probe(program_type: str, code: str, kfuncs: tuple[str, ...] = ()) -> KernelProgram:
    """Load a program written in the kernel's syntax, which names kfuncs by their place in `kfuncs`. Raises what
    `load_program` raises."""
    program = Program("probe", "", program_type, tuple(assemble(code)), (), kfuncs=kfuncs)
    return load_program(program, license="GPL", maps={})
