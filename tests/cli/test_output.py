"""Tables as commands print them."""

from __future__ import annotations

import pytest

from routebpf.cli.output import print_table


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
