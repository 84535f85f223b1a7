"""The documentation is true: commands give what it shows, snippets run, tables are the code's, links lead somewhere."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from pages import PAGES, ROOT, blocks_of, masked, tables_of
from refresh import Output, has_root_blocks, run_page, run_page_by_root
from routebpf.hosts.scenario import parse_scenario
from routebpf.hosts.topology import parse_topology
from routebpf.objects.compiler import compile_source

_LINK = re.compile(r"(?<!!)\[[^\]]*\]\(([^)\s]+)\)")
_HEADING = re.compile(r"^#+ (.+)$", re.MULTILINE)
_ALL_PAGES = (*PAGES, ROOT / "CONTRIBUTING.md", ROOT / "captures" / "README.md")
_IN_PROSE = re.compile(r"`(src/[\w/.*-]+|tests/[\w/.*-]+|captures/[\w/.*-]+|examples/[\w/.*-]+|docs/[\w/.*-]+)`")


def _names(paths: tuple[Path, ...]) -> list[str]:
    return [str(path.relative_to(ROOT)) for path in paths]


def _anchor(heading: str) -> str:
    """As GitHub makes it of a heading."""
    return re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")


@pytest.mark.parametrize("page", PAGES, ids=_names(PAGES))
def test_commands_and_snippets_give_what_a_page_shows(page: Path) -> None:
    _check(page, run_page(page, light=True))


_BY_ROOT = tuple(page for page in PAGES if has_root_blocks(page))


@pytest.mark.kernel
@pytest.mark.parametrize("page", _BY_ROOT, ids=_names(_BY_ROOT))
def test_sessions_of_root_give_what_a_page_shows(page: Path) -> None:
    _check(page, run_page_by_root(page))


def _check(page: Path, outputs: list[Output]) -> None:
    different = [one for one in outputs if not one.is_same]
    if different:
        first = different[0]
        pytest.fail(
            f"{page.name}:{first.line}: {first.command}\nthe page shows\n{masked(first.shown, first.command)}\n"
            f"it gives\n{masked(first.real, first.command)}\n"
            f"{len(different)} of {len(outputs)} differ; python docs/refresh.py writes what they give"
        )


@pytest.mark.parametrize("page", _ALL_PAGES, ids=_names(_ALL_PAGES))
def test_links_lead_to_files_and_headings_that_are_there(page: Path) -> None:
    for link in _LINK.findall(page.read_text()):
        if "://" in link:
            continue
        name, _, anchor = link.partition("#")
        target = (page.parent / name).resolve() if name else page
        assert target.exists(), f"{page.name}: {link}"
        if anchor:
            assert anchor in map(_anchor, _HEADING.findall(target.read_text())), f"{page.name}: {link}"


@pytest.mark.parametrize("page", _ALL_PAGES, ids=_names(_ALL_PAGES))
def test_files_that_a_page_names_are_there(page: Path) -> None:
    for name in _IN_PROSE.findall(page.read_text()):
        assert any(ROOT.glob(name.rstrip("/"))), f"{page.name}: {name}"


def test_programs_and_topologies_of_the_pages_are_whole(tmp_path: Path) -> None:
    found = 0
    for page in PAGES:
        for block in blocks_of(page.read_text()):
            if block.language == "c" and block.file_name:
                Path(tmp_path, block.file_name).write_text(block.text)
                assert compile_source(tmp_path / block.file_name)
                found += 1
            elif block.language == "topology" and "typo" not in block.text:
                assert parse_topology(block.text)
                found += 1
            elif block.language == "toml":
                assert parse_scenario(block.text)
                found += 1
    assert found > 3


def test_every_table_of_the_specification_is_in_the_reference() -> None:
    reference = (ROOT / "docs" / "reference.md").read_text()
    assert [name for name, *_ in tables_of(reference)] == ["context", "return_codes", "helpers", "kfuncs", "maps"]


def test_an_address_that_is_wrong_is_no_mere_difference_of_ids() -> None:
    shown = "192.168.253.0/24: attached account:80dd4d16:212362 (xmit)"
    assert masked(shown, "routebpf attach x") == masked(shown.replace("212362", "7"), "routebpf attach x")
    for right, wrong in (("253.0", "252.0"), ("80dd4d16", "80dd4d17"), ("attached", "detached")):
        assert masked(shown, "routebpf attach x") != masked(shown.replace(right, wrong), "routebpf attach x")


def test_a_number_that_is_wrong_is_no_mere_difference_of_time() -> None:
    shown = "211 packets, 38,614 bytes in 0.013 s (16,706 packets/s)"
    assert masked(shown) == masked("211 packets, 38,614 bytes in 1.2 s (1 packets/s)")
    assert masked(shown) != masked("212 packets, 38,614 bytes in 0.013 s (16,706 packets/s)")
