"""Every class of refusal: the whole text as it is read, and the kernel's own words at its end."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest
from refusals import CLANG, FOLDER, NAMES, SUFFIX, explanation, kernel_words, kind, text

from refresh import clang_version
from routebpf.spec import helper_by_name, kfunc_by_name
from routebpf.verifier.explain_classes import CLASSES
from routebpf.verifier.explain_text import explanation_text
from routebpf.verifier.fault import Rule

needs_clang = pytest.mark.skipif(not shutil.which("clang"), reason="no clang here")
as_compiled = pytest.mark.skipif(
    clang_version() != CLANG, reason=f"the texts name registers and instructions, which are those of clang {CLANG}"
)


@as_compiled
@pytest.mark.parametrize("name", NAMES)
def test_a_refusal_reads_like_this(name: str) -> None:
    assert text(name) == (FOLDER / f"{name}.txt").read_text(), "python tests/verifier/refresh_messages.py, and read it"


@as_compiled
@pytest.mark.parametrize("name", NAMES)
def test_a_refusal_is_of_the_class_that_its_file_is_named_after(name: str) -> None:
    found = explanation(name)
    assert found is not None
    assert found.kind == kind(name)


@needs_clang
@pytest.mark.kernel
@pytest.mark.parametrize("name", NAMES)
def test_the_words_at_the_end_are_those_of_the_running_kernel(name: str, tmp_path: Path) -> None:
    found = explanation(name)
    said = kernel_words(name, tmp_path)
    if clang_version() == CLANG:
        assert said
    assert (found.kernel if found else "") == said


@as_compiled
@pytest.mark.parametrize("name", NAMES)
def test_the_line_that_is_shown_is_the_line_of_the_file(name: str) -> None:
    found = explanation(name)
    assert found is not None
    if found.place is not None:
        lines = (FOLDER / f"{name}{SUFFIX}").read_text().splitlines()
        assert found.place.source == lines[found.place.line - 1]


@needs_clang
def test_the_column_counts_letters_where_clang_counts_bytes() -> None:
    found = explanation("packet-bounds--letters")
    assert found is not None
    assert found.place is not None
    assert found.place.source[found.place.column - 1 :].startswith("ttl == 1")


def test_there_is_a_program_for_most_classes() -> None:
    assert len({kind(name) for name in NAMES}) >= 75
    assert {kind(name) for name in NAMES} <= {row.name for row in CLASSES}


def test_every_class_has_another_name_and_says_all_there_is_to_say() -> None:
    assert len({row.name for row in CLASSES}) == len(CLASSES)
    for row in CLASSES:
        assert row.title
        assert row.why.endswith(".")
        assert not row.title.endswith(".")
        assert not row.todo.endswith(".")


def test_every_rule_has_something_to_say_where_no_class_fits() -> None:
    from routebpf.verifier.explain_classes import class_of

    for rule in Rule:
        row, _ = class_of("words that no kernel says", rule)
        assert row.title
        assert row.why


@as_compiled
def test_a_text_is_at_most_100_columns_wide_but_for_source_and_the_kernel_s_words() -> None:
    for name in NAMES:
        found = explanation(name)
        assert found is not None
        lines = explanation_text(found).split("= kernel:")[0].splitlines()
        assert all(len(line) <= 100 for line in lines[4:] if not line.startswith("error"))


def test_what_people_are_told_to_call_is_there() -> None:
    macros = {"bpf_for", "bpf_repeat", "bpf_for_each", "bpf_printk"}
    macros |= {"bpf_core_field_exists", "bpf_core_type_exists", "bpf_ksym_exists"}
    for row in CLASSES:
        for name in set(re.findall(r"\b(bpf_\w+)\(", f"{row.why} {row.todo}")) - macros:
            helper, kfunc = helper_by_name(name), kfunc_by_name(name)
            assert kfunc is not None or (helper is not None and helper.program_types), (row.name, name)
