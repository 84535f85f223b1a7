"""Which capabilities bpf(2) and its like need, which this process has, and what to say when one is missing."""

from __future__ import annotations

import ctypes
import struct
from collections.abc import Mapping

from routebpf.errors import MissingError
from routebpf.kernel.running import kernel_version, lockdown, setting

# kernel: include/uapi/linux/capability.h
CAPABILITIES = {
    "CAP_NET_ADMIN": 12,
    "CAP_NET_RAW": 13,
    "CAP_SYS_ADMIN": 21,
    "CAP_SYSLOG": 34,
    "CAP_PERFMON": 38,
    "CAP_BPF": 39,
}
_SPLIT_FROM_ADMIN = frozenset(("CAP_BPF", "CAP_PERFMON"))
_SPLIT_SINCE = (5, 8, 0)
_MEMORY_LIMIT_UNTIL = (5, 11, 0)
_EVERY_ID = 0xFFFFFFFF  # a user namespace maps fewer
_CAPABILITY_VERSION_3 = 0x20080522
_CAPABILITY_DATA = struct.Struct("=6I")  # effective, permitted, inheritable; twice 32 bits
_libc = ctypes.CDLL(None, use_errno=True)


def has_capability(name: str) -> bool:
    """Whether this thread has a capability. CAP_SYS_ADMIN stands for CAP_BPF and CAP_PERFMON, as in the kernel."""
    held = _effective()
    names = [name, "CAP_SYS_ADMIN"] if name in _SPLIT_FROM_ADMIN else [name]
    if name in _SPLIT_FROM_ADMIN and kernel_version() < _SPLIT_SINCE:
        names = ["CAP_SYS_ADMIN"]
    return any(held >> CAPABILITIES[one] & 1 for one in names)


def missing_capabilities(needs: Mapping[str, str]) -> list[str]:
    """Of the capabilities that `needs` names, those that this thread does not have."""
    return [name for name in needs if not has_capability(name)]


def permission_error(doing: str, needs: Mapping[str, str]) -> MissingError:
    """The error for an EPERM. `needs`: what the operation needs, each capability with what it is for."""
    missing = missing_capabilities(needs)
    if not missing:
        return MissingError(f"{doing}: EPERM: {_other_reason()}")
    reasons = " and ".join(f"{name} ({needs[name]})" for name in missing)
    policy = setting("/proc/sys/kernel/unprivileged_bpf_disabled")
    closed = (
        f"; kernel.unprivileged_bpf_disabled is {policy}, so nobody has bpf(2) without CAP_BPF"
        if "CAP_BPF" in missing and policy in ("1", "2")
        else ""
    )
    return MissingError(
        f"{doing}: EPERM: this process lacks {reasons}{closed};"
        f" run it as root, or with {' and '.join(needs)} (AmbientCapabilities= of a systemd service)"
    )


def _other_reason() -> str:
    """Why an operation may be refused to a process that has the capabilities."""
    if in_user_namespace():
        return "it has the capabilities, but in a user namespace, where they do not count; run it outside"
    if kernel_version() < _MEMORY_LIMIT_UNTIL:
        return (
            "it has the capabilities; before Linux 5.11, maps and programs count as locked memory: ulimit -l unlimited"
        )
    if lockdown() != "none":
        return f"it has the capabilities, but the kernel is locked down to {lockdown()} (kernel_lockdown(7))"
    return "it has the capabilities; a seccomp filter or a security module refuses it, as containers have them"


def in_user_namespace() -> bool:
    """Whether this process is in a user namespace other than the first."""
    fields = (setting("/proc/self/uid_map") or f"0 0 {_EVERY_ID}").split()
    return fields != ["0", "0", str(_EVERY_ID)]


def _effective() -> int:
    """The capabilities of this thread, a bit each: capget(2), which takes no /proc."""
    header = ctypes.create_string_buffer(struct.pack("=Ii", _CAPABILITY_VERSION_3, 0))
    data = ctypes.create_string_buffer(_CAPABILITY_DATA.size)
    _libc.capget(header, data)
    low, _, _, high, _, _ = _CAPABILITY_DATA.unpack(data.raw)
    return int(high << 32 | low)
