"""A program file as users name it, C source or object: it becomes an `Object`."""

from __future__ import annotations

import os
from collections.abc import Sequence

from routebpf.errors import InputError
from routebpf.objects.btf import Btf
from routebpf.objects.loader import load_object
from routebpf.objects.model import Object

_ELF_MAGIC = b"\x7fELF"
_SOURCE_SUFFIX = ".c"


def load_program_file(
    path: str | os.PathLike[str],
    *,
    program_type: str | None = None,
    target_btf: Btf | None = None,
    kernel_version: tuple[int, int, int] | None = None,
    clang: str | None = None,
    flags: Sequence[str] = (),
) -> Object:
    """Read a program file: a `.c` (or `.bpf.c`) is compiled, an ELF file is taken as it is.

    `program_type`, `target_btf` and `kernel_version` as for `load_object`, `clang` and `flags` as for
    `compile_source`. Raises InputError for a file that is neither, or that is wrong, and MissingError if a source
    needs a compiler that is not here.
    """
    name = os.fspath(path)
    data = _read_object(name)
    if data is None:
        if not name.endswith(_SOURCE_SUFFIX):
            raise InputError(f"cannot read program {name}: it is neither an ELF object nor C source (*.c)")
        from routebpf.objects.compiler import compile_source  # an object needs none of what that imports

        data = compile_source(name, clang=clang, flags=flags)
    return load_object(data, program_type=program_type, target_btf=target_btf, kernel_version=kernel_version, name=name)


def _read_object(name: str) -> bytes | None:
    """The whole file, read once as it may be a pipe; None if it is no ELF file."""
    try:
        with open(name, "rb") as file:
            start = file.read(len(_ELF_MAGIC))
            if start == _ELF_MAGIC:
                return start + file.read()
    except IsADirectoryError as error:
        raise InputError(f"cannot read program {name}: it is a directory; name the file in it") from error
    except OSError as error:
        raise InputError(f"cannot read program {name}: {error.strerror}") from error
    if not start:
        raise InputError(f"cannot read program {name}: it is empty")
    return None
