"""What a wheel has: `pyproject.toml` names every file of the package that is no Python."""

from __future__ import annotations

import subprocess
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "src" / "routebpf"


def test_every_file_that_is_no_python_is_package_data() -> None:
    patterns = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["package-data"]["routebpf"]
    named = {path for pattern in patterns for path in PACKAGE.glob(pattern)}
    listed = subprocess.run(["git", "ls-files", "-z", PACKAGE], cwd=ROOT, capture_output=True, text=True, check=False)
    if listed.returncode:
        pytest.skip("this is no clone: what is in the folder need not belong to the package")
    files = {ROOT / name for name in listed.stdout.split("\0") if name and not name.endswith(".py")}
    assert len(files) > 40
    assert files <= named


def test_every_folder_of_python_is_a_package() -> None:
    """Others are left out of a wheel."""
    assert all((path.parent / "__init__.py").exists() for path in PACKAGE.glob("**/*.py"))
