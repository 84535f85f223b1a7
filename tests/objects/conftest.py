"""The compilers that are there (this machine's clang, the one of pip) and the running kernel, for tests of objects."""

from __future__ import annotations

from pathlib import Path

import pytest

from compilers import Compiler, commands
from object_in_kernel import InKernel


@pytest.fixture(scope="session")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("objects")


@pytest.fixture(scope="session", params=sorted(commands()))
def compiler(request: pytest.FixtureRequest, directory: Path) -> Compiler:
    """Each compiler in turn."""
    if request.param not in commands():
        pytest.skip(f"no {request.param} here")
    command, big_endian = commands()[request.param]
    place = directory / request.param
    place.mkdir(exist_ok=True)
    return Compiler(request.param, command, big_endian, place)


@pytest.fixture(scope="session")
def any_compiler(directory: Path) -> Compiler:
    """One compiler, for what does not depend on which."""
    for name, (command, big_endian) in commands().items():
        place = directory / name
        place.mkdir(exist_ok=True)
        return Compiler(name, command, big_endian, place)
    pytest.skip("no clang here")


@pytest.fixture(scope="session")
def in_kernel() -> type[InKernel]:
    return InKernel
