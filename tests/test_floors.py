"""Imports go down only: the table of packages in CONTRIBUTING.md, held against every import of the source."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[1]
SOURCE = ROOT / "src" / "routebpf"
APART = {frozenset({"datapath", "kernel"})}  # the embedded side and the kernel's know nothing of each other


def floors() -> dict[str, int]:
    """The packages with the row of the table that they stand in, the highest first."""
    rows = re.findall(r"^\| (`\w+/`(?:, `\w+/`)*) \|", (ROOT / "CONTRIBUTING.md").read_text(), re.MULTILINE)
    return {name: floor for floor, row in enumerate(rows) for name in re.findall(r"(\w+)/", row)}


def imports() -> Iterator[tuple[str, str, str]]:
    """Of each import of ours in a package, inside functions too: where it is, its package, and the imported one."""
    for path in sorted(SOURCE.glob("*/**/*.py")):
        place = path.relative_to(SOURCE)
        for node in ast.walk(ast.parse(path.read_text())):
            for name in imported(node):
                if name.startswith("routebpf."):
                    yield f"{place}:{node.lineno}", place.parts[0], name.split(".")[1]


def imported(node: ast.AST) -> list[str]:
    if isinstance(node, ast.Import):
        return [one.name for one in node.names]
    if isinstance(node, ast.ImportFrom):
        assert node.level == 0, "imports are absolute"
        return [f"{node.module}.{one.name}" for one in node.names]
    return []


def test_the_table_names_every_package() -> None:
    assert set(floors()) == {path.parent.name for path in SOURCE.glob("*/__init__.py")}


def test_imports_go_down_only() -> None:
    floor = floors()
    found = [(where, own, other) for where, own, other in imports() if other in floor and other != own]
    assert len(found) > 500
    wrong = [
        f"{where}: {own} imports {other}"
        for where, own, other in found
        if floor[other] < floor[own] or frozenset({own, other}) in APART
    ]
    assert wrong == []
