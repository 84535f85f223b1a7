"""Loading for the embedded host: a file becomes maps that exist and programs that can be put on routes."""

from __future__ import annotations

import os
from collections.abc import Mapping
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal

from routebpf.errors import InputError
from routebpf.hosts.arguments import check_cpus
from routebpf.hosts.program_effects import is_plain
from routebpf.objects.loader import load_object
from routebpf.objects.model import PROG_ARRAY, MapDefinition, Object, Program
from routebpf.runtime.maps import Map, create_map
from routebpf.verifier.facts import Facts

if TYPE_CHECKING:
    from routebpf.engine.compiled import Compiled
    from routebpf.hosts.map_view import MapView

Engine = Literal["jit", "interpreter"]


class LoadedProgram:
    """A program of a loaded object: what `EmbeddedHost.add_route` takes. It is compiled when it is first needed.

    Its address (`entry`) and its maps are valid as long as this lives.
    """

    def __init__(self, owner: LoadedObject, program: Program) -> None:
        self.object = owner
        self.program = program

    @property
    def name(self) -> str:
        """That of its function."""
        return self.program.name

    @property
    def section(self) -> str:
        """The ELF section that it is of."""
        return self.program.section

    @property
    def program_type(self) -> str:
        """LWT_IN, LWT_OUT or LWT_XMIT."""
        return self.program.program_type

    @property
    def cpus(self) -> int:
        """How many CPUs its maps have."""
        return self.object.cpus

    def check(self) -> None:
        """Raise RejectedError if it may not run."""
        _ = self.facts

    @cached_property
    def facts(self) -> Facts | None:
        """What the verifier found out; None where it was not asked. Raises RejectedError for a program that may not
        run."""
        if not self.object.verify:
            return None
        from routebpf.verifier.gate import admit

        source = self.object.object
        definitions = [source.maps[name] for name in self.program.maps]
        return admit(self.program, definitions, license=source.license, btf=source.btf)

    @cached_property
    def compiled(self) -> Compiled:
        """The program for its engine. Raises RejectedError for what the embedded host does not have."""
        maps = [self.object.raw_maps[name] for name in self.program.maps]
        if self.object.engine == "interpreter":
            from routebpf.engine.interpreter import interpret

            compiled: Compiled = interpret(self.program, maps)
        else:
            from routebpf.engine.jit import compile_program

            assert self.facts is not None
            compiled = compile_program(self.program, self.facts, maps)
        return compiled

    @property
    def entry(self) -> int:
        """The address of `i64 entry(i64 cpu, i64 skb)`."""
        compiled = self.compiled
        self.object.fill_program_arrays(self.program)
        return compiled.entry

    def take_fault(self, cpu: int) -> BaseException | None:
        """Why the program's last run on the CPU at that address was stopped, where the engine checks runs; once."""
        return self.compiled.take_fault(cpu) if "compiled" in vars(self) else None

    @cached_property
    def is_plain(self) -> bool:
        """Whether it leaves packet and context as they are, and redirects nothing."""
        return self.facts is not None and is_plain(self.program, self.facts)

    def __repr__(self) -> str:
        return f"<{self.program_type} program {self.name} of {self.object.path}>"


class LoadedObject:
    """An object in this process: `programs` by function name, `maps` by name as mappings, typed by their BTF."""

    def __init__(self, source: Object, *, engine: Engine, cpus: int, verify: bool = True) -> None:
        if engine == "jit" and not verify:
            raise InputError(f"{source.path}: only the interpreter runs a program that the verifier has not seen")
        check_cpus(cpus)
        self.object = source
        self.engine = engine
        self.verify = verify
        self.cpus = cpus
        self.path = source.path
        self.raw_maps: dict[str, Map] = {
            name: create_map(definition, cpus=cpus, btf=source.btf) for name, definition in source.maps.items()
        }
        self.programs: dict[str, LoadedProgram] = {
            name: LoadedProgram(self, program) for name, program in source.programs.items()
        }
        self._filled: set[str] = set()
        for name, definition in source.maps.items():
            if definition.type != PROG_ARRAY:
                self._fill_maps(name, definition)

    @cached_property
    def maps(self) -> Mapping[str, MapView]:
        """The maps, by name: keys and values as their BTF says."""
        from routebpf.hosts.map_view import MapView

        return {name: MapView(one, self.object.btf) for name, one in self.raw_maps.items()}

    def program(self, selector: str | None = None) -> LoadedProgram:
        """The program that a function or section name chooses; None: the only one. InputError lists them.

        Raises RejectedError if it may not run.
        """
        chosen = self.programs[self.object.program(selector).name]
        chosen.check()
        return chosen

    def fill_program_arrays(self, program: Program) -> None:
        """Put the programs that the object names into the program arrays that a program uses, compiled."""
        for name in program.maps:
            definition = self.object.maps[name]
            if definition.type != PROG_ARRAY or name in self._filled:
                continue
            self._filled.add(name)
            for index, held in definition.initial_slots.items():
                self.raw_maps[name].set_slot(index, self.programs[held].entry)

    def _fill_maps(self, name: str, definition: MapDefinition) -> None:
        for index, held in definition.initial_slots.items():
            self.raw_maps[name].set_slot(index, self.raw_maps[held])

    def __repr__(self) -> str:
        return f"<object {self.path}: {', '.join(self.programs)}>"


def load(
    source: str | os.PathLike[str] | bytes,
    *,
    program_type: str | None = None,
    engine: Engine = "jit",
    cpus: int = 1,
    verify: bool = True,
    **options: Any,
) -> LoadedObject:
    """Load an object file, its bytes, or C source that is compiled first; verify its programs, create its maps.

    `program_type` ("LWT_XMIT"…) is that of programs whose section name says none. `engine`: jit, or the interpreter,
    which checks every access. `cpus`: of the host that will run it. `verify` False lets what the verifier has not seen
    into the interpreter. `options`: of `objects.source.load_program_file`. Raises InputError for a file that is wrong,
    RejectedError for a program that may not run.
    """
    loaded = load_unchecked(source, program_type=program_type, engine=engine, cpus=cpus, verify=verify, **options)
    for program in loaded.programs.values():
        program.check()
    return loaded


def load_unchecked(
    source: str | os.PathLike[str] | bytes,
    *,
    program_type: str | None = None,
    engine: Engine = "jit",
    cpus: int = 1,
    verify: bool = True,
    **options: Any,
) -> LoadedObject:
    """The same, but a program is checked when it is asked for (`program`) or compiled: one that may not run does not
    stand in the way of the others in its file."""
    if engine not in ("jit", "interpreter"):
        raise InputError(f"the engine is jit or interpreter, not {engine}")
    if isinstance(source, bytes):
        found = load_object(source, program_type=program_type, **options)
    else:
        from routebpf.objects.source import load_program_file

        found = load_program_file(source, program_type=program_type, **options)
    return LoadedObject(found, engine=engine, cpus=cpus, verify=verify)
