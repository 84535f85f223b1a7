"""C source becomes a BPF object: by the system's clang, else by the one that `pip install routebpf[clang]` brings."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from routebpf.errors import InputError, MissingError

INCLUDE = Path(__file__).resolve().parent.parent / "include"
# Newest first; 10 is the first with the BTF that maps and relocations need.
_CLANG_VERSIONS = range(30, 9, -1)
_REMEDY = "install the distribution's clang, or: pip install routebpf[clang]"
# What a compiler says that cannot make this kind of object at all, whatever the source.
_NO_TARGET = re.compile(r"unable to create target|unknown target triple|No available targets are compatible")
_NO_CPU = re.compile(r"unknown target CPU|unknown CPU")


@dataclass(frozen=True, slots=True)
class _Compiler:
    """A command that takes clang's options, and the name it is called by in messages."""

    name: str
    command: tuple[str, ...]
    is_zig: bool = False


def compile_source(
    path: str | os.PathLike[str], *, clang: str | None = None, cpu: str = "v3", flags: Sequence[str] = ()
) -> bytes:
    """The object file, with BTF, that a C source compiles to.

    `clang` names the compiler to use, by path or as found on PATH; without it, the first that can: clang, clang-NN,
    and the clang of the Python package ziglang. `cpu` is the version of the instruction set (v1 to v4). `flags` come
    before ours, so that their include directories come first; then the source's own directory and the headers that
    routebpf brings. Nothing is written beside the source. What the compiler warns of goes to the log.

    Raises InputError with the compiler's own messages if the source does not compile, and MissingError if there is
    no compiler that can make the object.
    """
    source = os.fspath(path)
    if not os.path.isfile(source):
        raise InputError(f"cannot compile {source}: {'it is no file' if os.path.exists(source) else 'no such file'}")
    unable = []
    for compiler in _compilers(clang):
        done, made = _run(compiler, source, cpu, flags)
        if made is not None:
            if done.stderr:
                _warn(compiler.name, done.stderr)
            return made
        if _NO_TARGET.search(done.stderr) or _NO_CPU.search(done.stderr):
            unable.append((compiler.name, done.stderr))
            continue
        raise InputError(
            f"cannot compile {source}: {compiler.name} stopped with exit {done.returncode}:\n{done.stderr.rstrip()}"
        )
    raise _missing(source, cpu, unable)


def _warn(name: str, said: str) -> None:
    import logging  # only here: it takes 5 ms to import

    logging.getLogger(__name__).warning("%s warns:\n%s", name, said.rstrip())


def _missing(source: str, cpu: str, unable: Sequence[tuple[str, str]]) -> MissingError:
    if not unable:
        return MissingError(f"cannot compile {source}: no clang is here; {_REMEDY}")
    names = ", ".join(name for name, _ in unable)
    said = unable[0][1].strip()
    if _NO_CPU.search(unable[0][1]):
        what = f"instruction set {cpu} (-mcpu={cpu})"
        remedy = "use v3, the default, or bring a newer clang: pip install routebpf[clang]"
    else:
        what, remedy = "the BPF machine", _REMEDY
    return MissingError(f"cannot compile {source}: {names} cannot compile for {what}; {remedy}:\n{said}")


def _compilers(clang: str | None) -> Iterator[_Compiler]:
    if clang is not None:
        found = shutil.which(clang)
        if found is None:
            raise MissingError(f"the compiler {clang} is not here or cannot be run; {_REMEDY}")
        yield _Compiler(clang, (found, "-target", "bpfel"))
        return
    for name in ("clang", *(f"clang-{version}" for version in _CLANG_VERSIONS)):
        found = shutil.which(name)
        if found is not None:
            yield _Compiler(name, (found, "-target", "bpfel"))
    zig = _find_zig()
    if zig is not None:
        yield _Compiler("the clang of ziglang", (zig, "cc", "-target", "bpfel-freestanding"), is_zig=True)


def _find_zig() -> str | None:
    """The program in the package ziglang. It is run itself, because its Python module would only start it."""
    package = find_spec("ziglang")
    if package is None:
        return None
    directories = package.submodule_search_locations or []
    return next((found for place in directories if (found := shutil.which("zig", path=place))), None)


def _run(
    compiler: _Compiler, source: str, cpu: str, flags: Sequence[str]
) -> tuple[subprocess.CompletedProcess[str], bytes | None]:
    """What the compiler did, and the object that it made, None if it made none."""
    with tempfile.TemporaryDirectory(prefix="routebpf-") as directory:
        made = Path(directory, "program.o")
        own = os.path.dirname(source) or "."
        options = ("-O2", "-g", f"-mcpu={cpu}", f"-I{own}", "-isystem", str(INCLUDE))
        command = [*compiler.command, *flags, *options, "-c", source, "-o", str(made)]
        done = subprocess.run(
            command, capture_output=True, text=True, errors="replace", env=_environment(compiler, directory)
        )
        return done, made.read_bytes() if done.returncode == 0 and made.exists() else None


def _environment(compiler: _Compiler, directory: str) -> dict[str, str] | None:
    """Zig keeps caches in the home directory, and hangs where it cannot; a new one costs 80 ms."""
    if not compiler.is_zig:
        return None
    return {**os.environ, "ZIG_GLOBAL_CACHE_DIR": directory, "ZIG_LOCAL_CACHE_DIR": directory}
