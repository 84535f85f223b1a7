"""Tables and JSON as commands print them."""

from __future__ import annotations

import json
import tracemalloc

import pytest

from routebpf.cli.output import print_json_list, print_table


def test_numbers_stand_to_the_right_also_where_some_are_missing(capsys: pytest.CaptureFixture[str]) -> None:
    print_table(
        ["name", "ns", "note", "none"], [("a", "7", "-", "-"), ("long name", "-", "7 ns", "-"), ("b", "1,234", "", "-")]
    )
    assert capsys.readouterr().out.splitlines() == [
        "name          ns  note  none",
        "a              7  -     -",
        "long name      -  7 ns  -",
        "b          1,234        -",
    ]


@pytest.mark.parametrize("count", [0, 1, 2, 1000, 1001, 2500])
def test_a_long_list_is_printed_as_json_has_it(capsys: pytest.CaptureFixture[str], count: int) -> None:
    values = [{"key": [number, "\n", b"\xff".hex()], "value": {}} for number in range(count)]
    print_json_list(iter(values))
    assert capsys.readouterr().out == json.dumps(values, indent=2) + "\n"


def test_a_long_list_is_not_in_memory_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    with open("/dev/null", "w") as nowhere:
        monkeypatch.setattr("sys.stdout", nowhere)
        tracemalloc.start()
        print_json_list({"key": number, "value": 0} for number in range(20_000))
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    assert peak < 1_000_000
