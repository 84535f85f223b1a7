"""What `routebpf bench --routes` measures: a program put on many routes at once, beside `ip -batch` with a pinned one.

All of it in a namespace made for it. Each figure is the best of several rounds, in each of which all take turns, since
machines are faster at one time than at another.
"""

from __future__ import annotations

import os
import resource
import shutil
import socket
import struct
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from routebpf.kernel.attach import AttachOptions, attach
from routebpf.kernel.attach_targets import Prefix, Selection
from routebpf.kernel.bpffs import MOUNT_POINT, mount_bpffs, pin, unpin
from routebpf.kernel.detach import detach
from routebpf.kernel.devices import set_device
from routebpf.kernel.namespaces import Namespace, create_namespace, open_route_socket, remove_namespace, run_inside
from routebpf.kernel.object import load_in_kernel, read_for_kernel
from routebpf.kernel.routes import RTA, KernelRoute, NextHop, put_routes
from routebpf.objects.compiler import compile_source
from routebpf.objects.model import Object

_PROGRAM = Path(__file__).parent / "bench_programs" / "count.bpf.c"
_PIN = f"{MOUNT_POINT}/rbpf-bench"
_LOOPBACK = 1  # its ifindex, in every namespace
_SCOPE_LINK = 253
_PREFIX_BITS = 24
_OTHER_FILES = 100


class AttachFigure(NamedTuple):
    """What was measured: seconds for all routes."""

    name: str
    seconds: float
    routes: int


def attach_rates(routes: int, rounds: int) -> Iterator[AttachFigure]:
    """A program put on so many routes: by a call in this process, by the command, by `ip -batch` where there is one.

    Raises MissingError for what the machine lacks.
    """
    prefixes = [Prefix(socket.AF_INET, struct.pack("!I", 11 << 24 | at << 8), _PREFIX_BITS) for at in range(routes)]
    namespace = create_namespace()
    try:
        with tempfile.TemporaryDirectory(prefix="routebpf-bench-") as folder:
            _add_routes(namespace, prefixes)
            yield from _rates(namespace, prefixes, Path(folder), rounds)
    finally:
        remove_namespace(namespace)


def _add_routes(namespace: Namespace, prefixes: list[Prefix]) -> None:
    with open_route_socket(namespace) as sock:
        set_device(sock, _LOOPBACK, "device lo", up=True)
        bare = [
            KernelRoute(
                family=one.family,
                dst_len=one.bits,
                protocol=4,
                scope=_SCOPE_LINK,
                attributes=((int(RTA.DST), one.address),),
            ).with_hops([NextHop(_LOOPBACK)])
            for one in prefixes
        ]
        refused = put_routes(sock, bare)
        if refused:
            raise refused[min(refused)].error("adding routes to measure with")


def _rates(namespace: Namespace, prefixes: list[Prefix], folder: Path, rounds: int) -> Iterator[AttachFigure]:
    compiled, listed, batch = folder / "count.o", folder / "prefixes", folder / "batch"
    compiled.write_bytes(compile_source(_PROGRAM))
    listed.write_text("".join(f"{one}\n" for one in prefixes))
    batch.write_text("".join(f"route replace {one} encap bpf xmit pinned {_PIN} dev lo\n" for one in prefixes))
    source = read_for_kernel(compiled)
    code = "from routebpf.__main__ import main; main()"  # as the script does that is installed
    python = [sys.executable, "-P", "-c", code]
    command = [*python, "attach", str(compiled), "--from", str(listed), "--namespace", namespace.name]
    works: dict[str, Callable[[], object]] = {
        "attach, the call": lambda: attach(source, source.program(), prefixes, AttachOptions(), namespace=namespace),
        "attach, the command": lambda: _run(command),
    }
    if shutil.which("ip") and _may_open(len(prefixes)):
        works["ip -batch"] = lambda: run_inside(namespace, lambda: _run(["ip", "-batch", str(batch)]))
    with _pinned(source):
        times = [[_seconds(work, prefixes, namespace) for work in works.values()] for _ in range(rounds)]
    for name, *taken in zip(works, *times, strict=True):
        yield AttachFigure(name, min(taken), len(prefixes))


def _seconds(work: Callable[[], object], prefixes: list[Prefix], namespace: Namespace) -> float:
    """How long it takes to put a program on the routes, which is taken off again."""
    start = time.perf_counter()
    work()
    taken = time.perf_counter() - start
    detach(prefixes, Selection(), force=True, namespace=namespace)
    return taken


@contextmanager
def _pinned(source: Object) -> Iterator[None]:
    """Its program, where iproute2 finds it meanwhile."""
    mount_bpffs()
    with load_in_kernel(source) as loaded:
        pin(loaded.programs[source.program().name], _PIN)
    try:
        yield
    finally:
        unpin(_PIN)


def _may_open(count: int) -> bool:
    """`ip -batch` keeps a file descriptor open for each line that names a pinned program."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = count + _OTHER_FILES
    if most != resource.RLIM_INFINITY and most < wanted:
        return False
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(wanted, resource.getrlimit(resource.RLIMIT_NOFILE)[0]), most))
    return True


def _run(command: list[str]) -> None:
    # A user's Python keeps what it compiled of its modules; where it is told not to, it compiles them at each start.
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    subprocess.run(command, check=True, capture_output=True, env=environment)
