"""The tables as plain values, and the face of the package."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

import routebpf.spec
from routebpf.spec import HELPERS, tables


@pytest.mark.parametrize("table", tables.TABLES)
def test_a_table_is_rows_of_plain_values_with_the_same_keys(table: str) -> None:
    rows = tables.rows(table)
    assert json.loads(json.dumps(rows)) == rows
    assert {tuple(row) for row in rows} == {tuple(rows[0])}
    names = [row["name"] for row in rows]
    assert len(set(names)) == len(names)
    assert all(row["doc"] for row in rows)


def test_the_helpers_shown_are_those_that_a_route_s_programs_have() -> None:
    shown = {row["id"]: row for row in tables.rows("helpers")}
    assert set(shown) == {row.id for row in HELPERS if row.program_types}
    csum_diff = shown[28]
    assert csum_diff["arguments"][0] == "ARG_PTR_TO_MEM|PTR_MAYBE_NULL|MEM_RDONLY"  # type: ignore[index]
    assert csum_diff["returns"] == "RET_INTEGER"
    assert shown[6]["capability"] == "CAP_PERFMON"
    assert shown[14]["since"] == "6.10"


def test_the_context_says_in_how_many_bytes_a_field_is_read_and_written() -> None:
    shown = {row["name"]: row for row in tables.rows("context")}
    assert shown["cb[0]"]["read"] == shown["cb[0]"]["write"] == [1, 2, 4, 8]
    assert (shown["mark"]["read"], shown["mark"]["write"]) == ([1, 2, 4], [4])
    assert (shown["data"]["read"], shown["data"]["register"]) == ([4], "pkt")
    assert (shown["tstamp"]["read"], shown["tstamp"]["register"]) == ([], None)


def test_a_table_that_is_not_there_is_a_key_error() -> None:
    with pytest.raises(KeyError):
        tables.rows("progs")


def test_to_import_the_package_reads_no_table() -> None:
    code = "import sys, routebpf.spec; print([m for m in sys.modules if m.startswith('routebpf.spec.')])"
    assert subprocess.check_output([sys.executable, "-c", code], text=True).strip() == "[]"


def test_every_name_of_the_package_is_there() -> None:
    for name in routebpf.spec.__all__:
        assert getattr(routebpf.spec, name) is not None
    with pytest.raises(AttributeError, match="has no attribute 'nonsense'"):
        _ = routebpf.spec.nonsense
