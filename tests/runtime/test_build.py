"""What set-up compiles into the package is all that a run needs."""

from __future__ import annotations

from pathlib import Path

import pytest

from routebpf.runtime import build, cache, machine
from routebpf.runtime.checksum import checksum, fold, sum_of
from routebpf.runtime.native import Native


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A package with three native functions, and a user's cache that is empty."""
    functions: list[Native] = [checksum, fold, sum_of]
    monkeypatch.setattr(cache, "SHIPPED", tmp_path / "package")
    monkeypatch.setattr(cache, "user_folder", lambda: tmp_path / "user")
    monkeypatch.setattr(build, "native_functions", lambda: functions)
    return tmp_path


def test_there_is_bitcode_of_every_function_and_machine_code_of_those_that_python_calls(package: Path) -> None:
    built, compiled = build.build()
    names = sorted(path.name for path in (package / "package").iterdir())
    assert built == compiled == len(names) == 4
    assert [name for name in names if name.endswith(".o")] == [machine.object_name(checksum)]


def test_what_is_there_is_kept_and_what_nothing_uses_goes(package: Path) -> None:
    build.build()
    stale = package / "package" / "routebpf_gone-0123.bc"
    stale.write_bytes(b"old")
    assert build.build() == (4, 0)
    assert not stale.exists()


def test_what_is_damaged_is_made_anew(package: Path) -> None:
    build.build()
    files = sorted((package / "package").iterdir())
    whole = [path.read_bytes() for path in files]
    for path, content in zip(files, (b"", whole[1][:-1], whole[2][:99] + b"?" + whole[2][100:], whole[3]), strict=True):
        path.write_bytes(content)
    assert build.build() == (4, 3)
    assert [path.read_bytes() for path in files] == whole


def test_a_run_compiles_nothing_that_the_package_has(package: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    build.build()
    monkeypatch.setattr(machine, "compile_object", lambda one: pytest.fail(f"{one.symbol} was compiled"))
    found = cache.read(machine.object_name(checksum))
    assert found is not None
    assert machine.Code(found, [checksum.symbol]).address(checksum.symbol)
