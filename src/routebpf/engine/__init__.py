"""Engines: they run a program. The JIT is fast; the interpreter checks every access and can be watched."""

from __future__ import annotations

from typing import TYPE_CHECKING

from routebpf import importer

if TYPE_CHECKING:
    from routebpf.engine.interpreter import interpret as interpret
    from routebpf.engine.jit import compile_program as compile_program
    from routebpf.engine.raw import run_raw as run_raw

# Imported at their first use: the interpreter does not need LLVM.
_PLACES = {"compile_program": "jit", "interpret": "interpreter", "run_raw": "raw"}
__all__ = sorted(_PLACES)


__getattr__ = importer(__name__, _PLACES)
