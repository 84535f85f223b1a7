"""The running kernel's own types: its BTF, and what kfuncs and kernel variables are in it.

Opening it takes 35 ms and the first look-up 20 ms more, so it is opened when something first asks it: a program
without CO-RE relocations, kfuncs and ksyms never does.
"""

from __future__ import annotations

import os
from functools import cache
from typing import Any

from routebpf.errors import InputError, MissingError
from routebpf.objects.btf import Btf
from routebpf.objects.btf_types import Kind

VMLINUX = "/sys/kernel/btf/vmlinux"
SYMBOLS = "/proc/kallsyms"


class KernelBtf(Btf):
    """The BTF of a kernel, read at the first use. Raises MissingError then, if the kernel has none."""

    def __init__(self, path: str) -> None:
        self.where = path

    def __getattr__(self, name: str) -> Any:
        """Called for what is not there yet."""
        if "data" in vars(self) or name.startswith("__"):
            raise AttributeError(name)
        super().__init__(_read(self.where), where=self.where)
        return getattr(self, name)


@cache
def kernel_btf() -> KernelBtf:
    """The types of the running kernel; those of its modules are not among them."""
    return KernelBtf(VMLINUX)


def has_kernel_btf() -> bool:
    """Whether the running kernel tells its types."""
    return os.access(VMLINUX, os.R_OK)


def function_id(name: str) -> int:
    """The BTF id of a kernel function. Local copies of a kfunc, with another prototype, are called name___flavor.

    Raises InputError for one that the kernel does not have.
    """
    found = kernel_btf().find(_essential(name), Kind.FUNC)
    if found is None:
        raise InputError(f"kernel function {_essential(name)} is not in the BTF of this kernel ({VMLINUX})")
    return found


def variable_id(name: str) -> int | None:
    """The BTF id of a kernel variable, or of a function whose address is meant; None if BTF does not list it."""
    return kernel_btf().find(_essential(name), Kind.VAR, Kind.FUNC)


def symbol_address(name: str) -> int:
    """The address of a kernel symbol. Raises InputError for one that is not there, MissingError if they are hidden."""
    wanted = f" {_essential(name)}".encode()
    try:
        with open(SYMBOLS, "rb") as file:
            content = file.read()
    except OSError as error:
        raise MissingError(f"address of kernel symbol {name}: cannot read {SYMBOLS}: {error.strerror}") from error
    for end in (b"\n", b"\t"):
        at = content.find(wanted + end)
        if at >= 0:
            line = content[content.rfind(b"\n", 0, at) + 1 : at]
            return _visible_address(int(line.split()[0], 16), name)
    raise InputError(f"kernel symbol {name} is not in {SYMBOLS} of this kernel")


def _visible_address(address: int, name: str) -> int:
    if not address:
        raise MissingError(
            f"address of kernel symbol {name}: {SYMBOLS} shows zeros; it takes CAP_SYSLOG and kernel.kptr_restrict"
            " below 2"
        )
    return address


def _essential(name: str) -> str:
    return name.partition("___")[0]


def _read(path: str) -> bytes:
    try:
        with open(path, "rb") as file:
            return file.read()
    except OSError as error:
        raise MissingError(
            f"cannot read the kernel's types from {path}: {error.strerror}; CO-RE, kfuncs and ksyms need a kernel"
            " with CONFIG_DEBUG_INFO_BTF=y"
        ) from error
