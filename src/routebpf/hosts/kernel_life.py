"""The namespaces of a kernel host: made quiet, and given back whatever happens."""

from __future__ import annotations

import os
import weakref
from contextlib import ExitStack
from dataclasses import dataclass

from routebpf.kernel.namespaces import Namespace, create_namespace, existing_namespace, remove_namespace, write_sysctl

# A host that forwards, believes every source address, and says nothing by itself that can be left unsaid. All and
# default: what devices have that come later.
_NEAR_SYSCTLS = {
    "ipv4/ip_forward": 1,
    "ipv6/conf/all/forwarding": 1,
    "ipv4/conf/all/rp_filter": 0,
    "ipv4/conf/default/rp_filter": 0,
    "ipv4/conf/all/send_redirects": 0,
    "ipv4/conf/default/send_redirects": 0,
    "ipv6/conf/all/accept_dad": 0,
    "ipv6/conf/default/accept_dad": 0,
    "ipv6/conf/default/dad_transmits": 0,
    "ipv6/conf/default/router_solicitations": 0,
    "ipv6/conf/default/accept_ra": 0,
    "ipv4/neigh/default/unres_qlen_bytes": 1 << 22,
    "ipv6/neigh/default/unres_qlen_bytes": 1 << 22,
}
_FAR_SYSCTLS = {
    "ipv6/conf/all/disable_ipv6": 1,
    "ipv6/conf/default/disable_ipv6": 1,
}


@dataclass(frozen=True, slots=True)
class Ground:
    """Where a kernel host stands: its namespace, and the one where its wires end. `is_ours`: it goes with the host."""

    near: Namespace
    far: Namespace
    is_ours: bool


def make_ground(name: str | None) -> Ground:
    """The namespace of that name, left as it is, or a new one that is quiet; and one for the far ends.

    Raises InputError if there is none of that name, MissingError without CAP_SYS_ADMIN.
    """
    near = create_namespace() if name is None else existing_namespace(name)
    made = [near] if name is None else []
    try:
        if name is None:
            _set(near, _NEAR_SYSCTLS)
        far = create_namespace()
        made.append(far)
        _set(far, _FAR_SYSCTLS)
    except BaseException:
        for one in made:
            remove_namespace(one)
        raise
    return Ground(near, far, name is None)


def give_back_with(
    owner: object, ground: Ground, undo: ExitStack
) -> weakref.finalize[[int, Ground, ExitStack], object]:
    """Give a ground back when `owner` goes, or the process ends: the earlier of both. Calling it does it now. `undo`:
    what was made on it, taken back first."""
    return weakref.finalize(owner, _give_back, os.getpid(), ground, undo)


def _give_back(pid: int, ground: Ground, undo: ExitStack) -> None:
    if os.getpid() != pid:
        return  # a child of the process that has it
    undo.close()
    for one in (ground.near, ground.far) if ground.is_ours else (ground.far,):
        remove_namespace(one)


def _set(namespace: Namespace, values: dict[str, int]) -> None:
    for name, value in values.items():
        write_sysctl(namespace, name, value)
