"""Where the running kernel differs from the tables: nowhere, or where a table was changed."""

from __future__ import annotations

from dataclasses import replace

import pytest

from command_line import report, routebpf
from routebpf.kernel import spec_differences
from routebpf.kernel.spec_differences import Difference, kernel_differences
from routebpf.spec import CONTEXT_FIELDS, HELPERS, KFUNCS, MAP_TYPES
from without_capabilities import without

pytestmark = pytest.mark.kernel


@pytest.mark.parametrize("table", ["context", "helpers", "kfuncs", "maps"])
def test_this_kernel_is_as_the_tables_have_it(table: str) -> None:
    assert kernel_differences(table) == []


def test_a_row_that_the_kernel_has_otherwise_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    wrong = {"bpf_redirect": frozenset(), "bpf_xdp_adjust_head": frozenset({"LWT_IN"})}
    rows = [replace(row, program_types=wrong.get(row.name, row.program_types)) for row in HELPERS]
    monkeypatch.setattr(spec_differences, "HELPERS", rows)
    assert set(kernel_differences("helpers")) == {
        Difference("bpf_redirect", "for LWT_XMIT"),
        Difference("bpf_xdp_adjust_head", "not there"),
    }


def test_a_kfunc_that_only_the_kernel_has_or_only_the_table_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    row = KFUNCS["bpf_rdonly_cast"]
    rows = {name: one for name, one in KFUNCS.items() if one is not row} | {"bpf_unheard_of": row}
    monkeypatch.setattr(spec_differences, "KFUNCS", rows)
    assert set(kernel_differences("kfuncs")) == {
        Difference("bpf_rdonly_cast", "for LWT_IN, LWT_OUT, LWT_XMIT"),
        Difference("bpf_unheard_of", "not there"),
    }


def test_an_access_that_the_kernel_does_not_let_through_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    fields = [field._replace(write=True) if field.name == "len" else field for field in CONTEXT_FIELDS]
    monkeypatch.setattr(spec_differences, "CONTEXT_FIELDS", fields)
    assert kernel_differences("context") == [
        Difference("len", f"{one} writes no bytes") for one in ("LWT_IN", "LWT_OUT", "LWT_XMIT")
    ]


def test_a_map_type_that_only_the_kernel_has_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(spec_differences, "MAP_TYPES", [row for row in MAP_TYPES if row.name != "ARENA"])
    assert kernel_differences("maps") == [Difference("ARENA", "there, number 33")]


def test_the_command_shows_it_after_the_tables() -> None:
    lines = routebpf("spec", "helpers", "--kernel", "--find", "bpf_redirect(").stdout.splitlines()
    assert lines[0] == "helpers"
    assert lines[-2].startswith("Linux ")
    assert lines[-1].strip() == "as these tables have it"
    assert report("spec", "helpers", "--kernel", "--find", "bpf_redirect(")["kernel"] == []


def test_without_the_capability_it_is_named() -> None:
    said = without(("CAP_BPF", "CAP_SYS_ADMIN"), lambda: str(kernel_differences("helpers")))
    assert said.startswith("MissingError: ")
    assert "CAP_BPF" in said
