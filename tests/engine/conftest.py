"""C programs on three machines, for tests of the engines."""

from __future__ import annotations

from pathlib import Path

import pytest

from compilers import Compiler, commands


@pytest.fixture(scope="session")
def compiler(tmp_path_factory: pytest.TempPathFactory) -> Compiler:
    """The newest clang that is there: the one from pip, else this machine's."""
    place: Path = tmp_path_factory.mktemp("engine")
    for name in ("zig", "clang"):
        if name in commands():
            command, big_endian = commands()[name]
            return Compiler(name, command, big_endian, place)
    pytest.skip("no clang here")
