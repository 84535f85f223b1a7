"""What an object declares `extern`: kernel configuration (`__kconfig`), kernel functions and variables (`__ksym`)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from routebpf.errors import InputError
from routebpf.objects.btf import Btf
from routebpf.objects.btf_types import Array, Enum, Func, Int, Kind, Var, Void
from routebpf.objects.elf import SHN_UNDEF, STB_WEAK, Elf
from routebpf.objects.global_data import BPF_F_RDONLY_PROG, BPF_MAP_TYPE_ARRAY, find_datasec
from routebpf.objects.model import Extern, ExternKind, MapDefinition, MapKind

# What libbpf calls virtual configuration values: they stand for abilities of the kernel, not for lines of its .config.
_ABILITIES = {"LINUX_HAS_BPF_COOKIE": 1, "LINUX_HAS_SYSCALL_WRAPPER": 1}
_TRISTATE = "libbpf_tristate"
_MAX_TEXT = 4096


class Kconfig(NamedTuple):
    """The map that holds the configuration values, and each value's offset in it by its name."""

    definition: MapDefinition
    offsets: Mapping[str, int]


def find_externs(elf: Elf, btf: Btf | None) -> dict[str, Extern]:
    """Every extern of sections .kconfig and .ksyms, by name."""
    if btf is None:
        return {}
    weak = {symbol.name for symbol in elf.symbols if symbol.section == SHN_UNDEF and symbol.binding == STB_WEAK}
    externs: dict[str, Extern] = {}
    for section, kind in ((".kconfig", ExternKind.KCONFIG), (".ksyms", ExternKind.KSYM)):
        datasec = find_datasec(btf, section)
        for variable in datasec[1].variables if datasec else ():
            found = btf.type(variable.type_id)
            if not isinstance(found, Var) and (kind is ExternKind.KCONFIG or not isinstance(found, Func)):
                raise InputError(f"{btf.where}: DATASEC {section} holds type {variable.type_id}, which is no extern")
            externs[found.name] = Extern(
                name=found.name,
                kind=ExternKind.KFUNC if isinstance(found, Func) else kind,
                weak=found.name in weak,
                btf_type_id=variable.type_id,
                typed=not isinstance(btf.strip(found.type_id)[1], Void),
            )
    return externs


def kconfig_map(
    externs: Mapping[str, Extern], btf: Btf | None, kernel_version: tuple[int, int, int], path: str
) -> Kconfig | None:
    """The read-only map of the configuration values, as libbpf lays it out: each value aligned to its size, in order.

    Weak CONFIG_… values are 0. Raises InputError for one that is not weak and not known.
    """
    wanted = [extern for extern in externs.values() if extern.kind is ExternKind.KCONFIG]
    if not wanted or btf is None:
        return None
    offsets: dict[str, int] = {}
    data = bytearray()
    for extern in wanted:
        size, alignment, signed = _value_form(extern, btf, path)
        data += bytes(-len(data) % alignment)
        offsets[extern.name] = len(data)
        value = _value(extern, kernel_version, path)
        limit = 1 << (8 * size - signed)
        if not -limit * signed <= value < limit:
            raise InputError(f"{path}: extern {extern.name}: {value} does not fit its {size} bytes")
        data += value.to_bytes(size, "little", signed=value < 0)
    datasec = find_datasec(btf, ".kconfig")
    definition = MapDefinition(
        name=".kconfig",
        type=BPF_MAP_TYPE_ARRAY,
        key_size=4,
        value_size=len(data),
        max_entries=1,
        flags=BPF_F_RDONLY_PROG,
        section=".kconfig",
        kind=MapKind.KCONFIG,
        btf_value_type_id=datasec[0] if datasec else 0,
        data=bytes(data),
        read_only=True,
    )
    return Kconfig(definition, offsets)


def _value_form(extern: Extern, btf: Btf, path: str) -> tuple[int, int, bool]:
    """Size and alignment in bytes, and signedness, of a configuration value."""
    var = btf.type(extern.btf_type_id)
    assert isinstance(var, Var)
    _, found = btf.strip(var.type_id)
    match found:
        case Int(size=1 | 2 | 4 | 8 as size, signed=signed):
            return size, size, signed
        case Enum(size=4 as size, signed=signed, name=name) if name == _TRISTATE:
            return size, size, signed
        case Array(length=length) if extern.weak and 0 < length <= _MAX_TEXT and btf.size_of(found.type_id) == 1:
            return length, 1, False
    raise InputError(
        f"{path}: extern {extern.name}: a __kconfig value must be an integer, an enum libbpf_tristate or a text"
    )


def _value(extern: Extern, kernel_version: tuple[int, int, int], path: str) -> int:
    if extern.name == "LINUX_KERNEL_VERSION":
        major, minor, patch = kernel_version
        return major << 16 | minor << 8 | min(patch, 255)
    if extern.name in _ABILITIES:
        return _ABILITIES[extern.name]
    if not extern.weak:
        raise InputError(
            f"{path}: extern {extern.name} __kconfig: no configuration to take its value from; "
            "declare it __weak, and it is 0"
        )
    return 0


def is_in_kernel(extern: Extern, kernel: Btf) -> bool:
    """Whether the BTF of a kernel has the function or variable."""
    kind = Kind.FUNC if extern.kind is ExternKind.KFUNC else Kind.VAR
    # Local copies of a kfunc with another prototype are called name___flavor.
    return kernel.find(extern.name.partition("___")[0], kind) is not None
