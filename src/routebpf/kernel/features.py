"""What routebpf needs of the running kernel, as rows: how each is found out, and what would mend it.

The route attribute itself (CONFIG_LWTUNNEL_BPF) is probed by netlink, not here.
"""

from __future__ import annotations

import errno
import resource
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial

from routebpf.errors import Error, MissingError
from routebpf.kernel.bpffs import MOUNT_POINT, is_bpffs
from routebpf.kernel.kernel_btf import VMLINUX, kernel_btf
from routebpf.kernel.map_create import create_map
from routebpf.kernel.perf_reader import PerfReader
from routebpf.kernel.permission import has_capability, in_user_namespace
from routebpf.kernel.probe import load_probe
from routebpf.kernel.running import kernel_version, lockdown, setting
from routebpf.objects.model import MapDefinition
from routebpf.spec.program_types import PROGRAM_TYPES

_JIT = "/proc/sys/net/core/bpf_jit_enable"
_FIRST_VERSION = (4, 10, 0)
_UNCOUNTED_MEMORY = (5, 11, 0)
_ENOUGH_LOCKED_MEMORY = 64 << 20  # bytes: a few maps of usual sizes
_JIT_STATES = {"0": "", "1": "on", "2": "on, with a debug log"}
_COMPILED = "compiled by the JIT"
# What another kernel would not mend: these are of the process, and the error says what to do.
_OF_THE_PROCESS = frozenset((errno.EPERM, errno.EACCES, errno.EMFILE, errno.ENFILE, errno.ENOMEM))


@dataclass(frozen=True, slots=True)
class Feature:
    """A thing that the kernel, or this process, has or lacks.

    `doc` is what routebpf uses it for, `needs` the capabilities that using it takes. `probe` returns what it found, in
    words, and raises an Error that says what is missing; `mend` says what would bring it, "" where the error does.
    Without one that `is_required`, no program goes on a route.
    """

    name: str
    doc: str
    probe: Callable[[], str]
    mend: str
    needs: tuple[str, ...] = ()
    is_required: bool = False


@dataclass(frozen=True, slots=True)
class Finding:
    """Whether a feature is there, in words what was found or what is missing, and what would mend that."""

    feature: Feature
    is_there: bool
    detail: str
    mend: str = ""


def probe_features(features: Iterable[Feature] | None = None) -> list[Finding]:
    """Find out about each feature. What a probe makes in the kernel is gone afterwards."""
    return [_find(one) for one in (FEATURES if features is None else features)]


def _find(feature: Feature) -> Finding:
    missing = [name for name in feature.needs if not has_capability(name)]
    if missing:
        return Finding(feature, False, f"needs {' and '.join(missing)}, which this process does not have", _AS_ROOT)
    try:
        return Finding(feature, True, feature.probe())
    except Error as error:
        cause = error.__cause__
        is_of_process = isinstance(cause, OSError) and cause.errno in _OF_THE_PROCESS
        return Finding(feature, False, str(error), "" if is_of_process else feature.mend)
    except OSError as error:
        return Finding(feature, False, error.strerror or str(error))


def _version() -> str:
    text = ".".join(map(str, kernel_version()))
    if kernel_version() < _FIRST_VERSION:
        raise MissingError(f"this is Linux {text}; routes have programs since 4.10")
    return text


def _capability(name: str) -> str:
    if not has_capability(name):
        raise MissingError("this process does not have it")
    return "held, in a user namespace" if in_user_namespace() else "held"


def _syscall() -> str:
    with create_map(MapDefinition("probe", 2, 4, 4, 1)):
        return "makes maps"


def _ring_buffer() -> str:
    with create_map(MapDefinition("probe", 27, 0, 0, resource.getpagesize())):
        return "there"


def _perf_buffer() -> str:
    with create_map(MapDefinition("probe", 4, 4, 4, 0)) as array, PerfReader(array, pages=1):
        return "there"


def _program(program_type: str, code: str = "r0 = 0\nexit", kfuncs: tuple[str, ...] = ()) -> str:
    with load_probe(program_type, code, kfuncs) as loaded:
        return _COMPILED if loaded.info().jited_bytes else "interpreted"


def _kfuncs() -> str:
    _program("LWT_XMIT", "call kfunc#0\nr0 = 0\nexit", ("bpf_cast_to_kern_ctx",))
    return "callable"


def _jit() -> str:
    state = setting(_JIT)
    if state is None:  # only the first network namespace has it
        if not all(map(has_capability, _LOAD)):
            return f"not told here; with {' and '.join(_LOAD)} a program would tell"
        state = "1" if _program("LWT_XMIT") == _COMPILED else "0"
    found = _JIT_STATES.get(state, "on")
    if not found:
        raise MissingError("off: programs are interpreted, if at all")
    return found


def _types() -> str:
    return f"{len(kernel_btf()):,} types"


def _file_system() -> str:
    if not is_bpffs(MOUNT_POINT):
        raise MissingError(f"it is not mounted at {MOUNT_POINT}")
    return f"mounted at {MOUNT_POINT}"


def _lockdown() -> str:
    if lockdown() == "confidentiality":
        raise MissingError("locked down to confidentiality: no helper that reads the kernel's memory")
    return f"locked down to {lockdown()}" if lockdown() != "none" else "none"


def _locked_memory() -> str:
    if kernel_version() >= _UNCOUNTED_MEMORY:
        return "not counted since Linux 5.11"
    limit, _ = resource.getrlimit(resource.RLIMIT_MEMLOCK)
    if limit != resource.RLIM_INFINITY and limit < _ENOUGH_LOCKED_MEMORY:
        raise MissingError(f"{limit:,} bytes at most")
    return "unlimited" if limit == resource.RLIM_INFINITY else f"{limit:,} bytes at most"


_AS_ROOT = "run as root, or with the capability (AmbientCapabilities= of a systemd service)"
_LOAD = ("CAP_BPF", "CAP_NET_ADMIN")

# fmt: off
FEATURES: tuple[Feature, ...] = (
    Feature("Linux", "routes with programs came with 4.10", _version, "a newer kernel", is_required=True),
    Feature("CAP_BPF", "to load programs and create maps", partial(_capability, "CAP_BPF"), _AS_ROOT,
            is_required=True),
    Feature("CAP_NET_ADMIN", "to load programs of routes and to change routes", partial(_capability, "CAP_NET_ADMIN"),
            _AS_ROOT, is_required=True),
    Feature("CAP_PERFMON", "helpers that read the kernel, perf buffers", partial(_capability, "CAP_PERFMON"), _AS_ROOT),
    Feature("CAP_SYS_ADMIN", "to open by id what others loaded, to mount the BPF file system, to make namespaces",
            partial(_capability, "CAP_SYS_ADMIN"), _AS_ROOT),
    Feature("CAP_NET_RAW", "to send and see packets on the kernel backend", partial(_capability, "CAP_NET_RAW"),
            _AS_ROOT),
    Feature("bpf(2)", "maps and programs", _syscall, "a kernel with CONFIG_BPF_SYSCALL=y", ("CAP_BPF",),
            is_required=True),
    *(Feature(f"{row.name} programs", row.doc, partial(_program, row.name), "a kernel with CONFIG_NET=y", _LOAD,
              is_required=True) for row in PROGRAM_TYPES),
    Feature("JIT", "programs at the processor's speed", _jit,
            "sysctl net.core.bpf_jit_enable=1, on a kernel with CONFIG_BPF_JIT=y"),
    Feature("kernel BTF", f"CO-RE, kfuncs, ksyms: {VMLINUX}", _types, "a kernel with CONFIG_DEBUG_INFO_BTF=y"),
    Feature("kfuncs", "kernel functions that programs call", _kfuncs,
            "Linux 6.2 or newer, with CONFIG_DEBUG_INFO_BTF=y", _LOAD),
    Feature("BPF file system", "pins, by which counters outlive a command", _file_system,
            f"attach mounts it; by hand: mount -t bpf bpf {MOUNT_POINT}"),
    Feature("ring buffers", "records for user space", _ring_buffer, "Linux 5.8 or newer", ("CAP_BPF",)),
    Feature("perf buffers", "samples for user space", _perf_buffer, "a kernel with CONFIG_PERF_EVENTS=y",
            ("CAP_BPF", "CAP_PERFMON")),
    Feature("lockdown", "helpers that read the kernel", _lockdown, "boot without lockdown=confidentiality"),
    Feature("locked memory", "counted against maps and programs before 5.11", _locked_memory, "ulimit -l unlimited"),
)
# fmt: on
