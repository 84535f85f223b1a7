"""Readers of instructions that we did not write: clang's assembler, llvm-objdump, and the running kernel's log."""

from __future__ import annotations

import ctypes
import importlib.util
import os
import re
import struct
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

_PROG_LOAD = 5
_LWT_XMIT = 12
_SYS_BPF = 321


@pytest.fixture(scope="session")
def llvm_assemble(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], bytes]:
    """Assembles LLVM's BPF syntax with the clang that comes from pip, ISA v4: the bytes of .text."""
    if importlib.util.find_spec("ziglang") is None:
        pytest.skip("needs a clang of ISA v4: pip install routebpf[clang]")
    folder = tmp_path_factory.mktemp("llvm")

    def run(text: str) -> bytes:
        source, out = folder / "t.s", folder / "t.o"
        source.write_text(text + "\n")
        command = [sys.executable, "-m", "ziglang", "cc", "-target", "bpfel-freestanding", "-mcpu=v4", "-c"]
        subprocess.run([*command, str(source), "-o", str(out)], check=True, capture_output=True)
        return text_section(out)

    return run


def text_section(path: Path) -> bytes:
    """The .text of an ELF file."""
    from elftools.elf.elffile import ELFFile

    with path.open("rb") as file:
        section = ELFFile(file).get_section_by_name(".text")
        assert section is not None
        return bytes(section.data())


@pytest.fixture(scope="session")
def kernel_text() -> Callable[[bytes], dict[int, str]]:
    """Loads a program with a verifier log: instruction number to the text that the kernel prints for it."""
    libc = ctypes.CDLL(None, use_errno=True)

    def run(code: bytes) -> dict[int, str]:
        log = ctypes.create_string_buffer(1 << 20)
        program = ctypes.create_string_buffer(code, len(code))
        licence = ctypes.create_string_buffer(b"GPL")
        attributes = struct.pack(
            "<IIQQIIQ88x", _LWT_XMIT, len(code) // 8, ctypes.addressof(program), ctypes.addressof(licence), 2, len(log),
            ctypes.addressof(log),
        )  # fmt: skip
        fd = libc.syscall(_SYS_BPF, _PROG_LOAD, attributes, len(attributes))
        if fd >= 0:
            os.close(fd)
        lines = re.findall(r"^(\d+): \([0-9a-f]{2}\) ([^;\n]*)", log.value.decode(), re.M)
        return {int(number): text.strip() for number, text in lines}

    return run
