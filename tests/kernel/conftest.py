"""C sources as objects for the running kernel; and no test leaves a file descriptor of the kernel's behind."""

from __future__ import annotations

import gc
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from routebpf.kernel.kernel_btf import kernel_btf
from routebpf.kernel.running import kernel_version
from routebpf.objects.compiler import compile_source
from routebpf.objects.loader import load_object
from routebpf.objects.model import Object

_compiled: dict[str, bytes] = {}
Read = Callable[..., Object]


@pytest.fixture(scope="session")
def sources(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("sources")


@pytest.fixture
def read(sources: Path) -> Read:
    """C source without its first lines to an object, relocated for the running kernel; compiled once."""

    def read(source: str, *, license: str = "GPL", program_type: str | None = None) -> Object:
        text = "#include <routebpf.h>\n" + source
        if license:
            text += f'\nchar LICENSE[] SEC("license") = "{license}";\n'
        path = sources / "program.bpf.c"
        if text not in _compiled:
            path.write_text(text)
            _compiled[text] = compile_source(path)
        return load_object(
            _compiled[text],
            program_type=program_type,
            target_btf=kernel_btf(),
            kernel_version=kernel_version(),
            name="program.bpf.c",
        )

    return read


@pytest.fixture(autouse=True)
def no_fd_is_left() -> Iterator[None]:
    """Whatever a test does, and however it ends, it has given back what the kernel gave it."""
    gc.collect()
    before = open_fds()
    yield
    gc.disable()  # what is closed only because nobody holds it any more would go unseen
    try:
        assert open_fds() - before == set()
    finally:
        gc.enable()


def open_fds() -> set[tuple[str, str]]:
    """The descriptors of maps, programs, BTF, perf events and epolls that this process has open."""
    found = set()
    for fd in os.listdir("/proc/self/fd"):
        try:
            target = os.readlink(f"/proc/self/fd/{fd}")
        except OSError:
            continue
        if "bpf" in target or "btf" in target or "perf_event" in target or "eventpoll" in target:
            found.add((fd, target))
    return found
