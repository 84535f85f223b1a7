"""Loading for a kernel host: a file becomes maps and programs of the running kernel, which verifies them."""

from __future__ import annotations

import os
from collections.abc import Mapping
from functools import cached_property
from typing import TYPE_CHECKING

from routebpf.errors import InputError
from routebpf.kernel.lwt_encap import EncapProgram
from routebpf.kernel.object import KernelObject, load_in_kernel, read_for_kernel
from routebpf.objects.model import Object, Program

if TYPE_CHECKING:
    from routebpf.hosts.map_view import MapView
    from routebpf.kernel.maps import KernelMap
    from routebpf.kernel.programs import KernelProgram


class KernelLoadedProgram:
    """A program of an object that was loaded for a kernel host: what `KernelHost.add_route` takes. The kernel gets it,
    and verifies it, when it is first needed."""

    is_plain = False

    def __init__(self, owner: KernelLoadedObject, program: Program) -> None:
        self.object = owner
        self.program = program

    @property
    def name(self) -> str:
        return self.program.name

    @property
    def section(self) -> str:
        return self.program.section

    @property
    def program_type(self) -> str:
        """LWT_IN, LWT_OUT or LWT_XMIT."""
        return self.program.program_type

    @property
    def in_kernel(self) -> KernelProgram:
        """The program in the kernel. Raises RejectedError if the kernel does not let it run."""
        return self.object.in_kernel(self.name).programs[self.name]

    @property
    def entry(self) -> int:
        """A program of the kernel has no address in this process."""
        raise InputError(f"program {self.name} was loaded into the kernel; an embedded host needs one of its own load")

    @property
    def on_route(self) -> EncapProgram:
        """The program as a route carries it. Its name says which it is: the kernel takes equal names for equal
        programs, and would keep the old one."""
        held = self.in_kernel
        return EncapProgram(f"{self.name} id {held.id} tag {held.tag}", held.fd)

    def __repr__(self) -> str:
        return f"<{self.program_type} program {self.name} of {self.object.path}, for the kernel>"


class KernelLoadedObject:
    """An object in the running kernel: `programs` by function name, `maps` by name as mappings, typed by their BTF."""

    def __init__(self, source: Object) -> None:
        self.object = source
        self.path = source.path
        self.programs = {name: KernelLoadedProgram(self, program) for name, program in source.programs.items()}
        self._parts: list[KernelObject] = []

    def program(self, selector: str | None = None) -> KernelLoadedProgram:
        """The program that a function or section name chooses; None: the only one. InputError lists them.

        Raises RejectedError if the kernel does not let it run.
        """
        chosen = self.programs[self.object.program(selector).name]
        self.in_kernel(chosen.name)
        return chosen

    @cached_property
    def maps(self) -> Mapping[str, MapView]:
        """The maps, by name: keys and values as their BTF says."""
        from routebpf.hosts.map_view import MapView

        if not self._parts:
            self._parts.append(load_in_kernel(self.object))
        found = self._maps()
        return {name: MapView(found[name], self.object.btf) for name in self.object.maps if name in found}

    def _maps(self) -> dict[str, KernelMap]:
        """The maps as they were first opened: what reads samples is with these."""
        return {name: one for part in reversed(self._parts) for name, one in part.maps.items()}

    def in_kernel(self, program: str) -> KernelObject:
        """The part of the object that is in the kernel and holds a program: loaded now if it was not. Programs that
        are loaded later share the maps of those before."""
        for part in self._parts:
            if program in part.programs:
                return part
        held = self._maps()
        self._parts.append(load_in_kernel(self.object, programs=[program], reuse_maps=held))
        self._parts[-1].open_perf_buffers(besides=held)
        vars(self).pop("maps", None)
        return self._parts[-1]

    def close(self) -> None:
        """Give back what is not on a route."""
        for part in self._parts:
            part.close()

    def __repr__(self) -> str:
        return f"<object {self.path} in the kernel: {', '.join(self.programs)}>"


def load_for_kernel(
    source: str | os.PathLike[str] | bytes, *, program_type: str | None = None
) -> KernelLoadedObject:  # fmt: skip
    """Load an object file, its bytes, or C source for kernel hosts. `program_type` is that of programs whose section
    name says none.

    Raises InputError for a file that is wrong. What the kernel refuses is known when a program is first used.
    """
    if isinstance(source, bytes):
        from routebpf.kernel.kernel_btf import kernel_btf
        from routebpf.kernel.running import kernel_version
        from routebpf.objects.loader import load_object

        found = load_object(source, program_type=program_type, target_btf=kernel_btf(), kernel_version=kernel_version())
    else:
        found = read_for_kernel(source, program_type=program_type)
    return KernelLoadedObject(found)
