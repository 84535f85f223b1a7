"""Which host a command runs on: the embedded one, or one in the kernel."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from routebpf.errors import InputError

if TYPE_CHECKING:
    from routebpf.hosts.embedded import Clock
    from routebpf.hosts.host import Host

Backend = Literal["embedded", "kernel"]
BACKENDS: tuple[Backend, ...] = ("embedded", "kernel")


def host_for(backend: Backend, *, seed: int = 1, clock: Clock = "capture", cpus: int = 1, verify: bool = True) -> Host:
    """A new host. In the kernel it is a namespace of its own, so close it, or use it in a `with`.

    Raises InputError for a seed, a clock or CPUs that the kernel has by itself, MissingError for what it lacks.
    """
    if backend == "embedded":
        from routebpf.hosts.embedded import EmbeddedHost

        return EmbeddedHost(seed=seed, clock=clock, cpus=cpus, verify=verify)
    if (seed, clock, cpus) != (1, "capture", 1):
        raise InputError("the kernel has random numbers, clock and CPUs of its own: leave seed, clock and cpus alone")
    from routebpf.hosts.kernel import KernelHost

    return KernelHost()
