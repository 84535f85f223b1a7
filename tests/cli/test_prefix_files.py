"""Files of prefixes, against the standard library's reading of each line."""

from __future__ import annotations

import ipaddress
import tempfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from routebpf.cli.route_options import read_prefixes
from routebpf.errors import InputError
from routebpf.kernel.attach_targets import parse_prefix

_FAMILIES = {4: 2, 6: 10}  # AF_INET, AF_INET6
_LENGTHS = st.sampled_from((0, 8, 24, 31, 32, 64, 128))


@st.composite
def _networks(draw: st.DrawFn) -> str:
    version, length = draw(st.sampled_from((4, 4, 6))), draw(_LENGTHS)
    bits = {4: 32, 6: 128}[version]
    kept = min(length, bits)
    kind = {4: ipaddress.IPv4Address, 6: ipaddress.IPv6Address}[version]
    address = kind(draw(st.integers(0, (1 << kept) - 1)) << (bits - kept))
    if draw(st.booleans()) and isinstance(address, ipaddress.IPv6Address):
        return f"{address.exploded}/{kept}"
    return f"{address}" if kept == bits and draw(st.booleans()) else f"{address}/{kept}"


_OTHER_LINES = st.sampled_from(("", "   ", "# a comment", "\t# 10.0.0.0/8"))
_BEHIND = st.sampled_from(("", "  ", "  # why", "\t"))


def _read(lines: list[str]) -> list[tuple[int, bytes, int]]:
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "prefixes")
        file.write_text("".join(f"{one}\n" for one in lines))
        return [tuple(one) for one in read_prefixes((), str(file))]


@given(st.lists(st.one_of(st.tuples(_networks(), _BEHIND), st.tuples(st.just("default"), _BEHIND), _OTHER_LINES)))
def test_each_line_is_read_once_as_the_standard_library_reads_it_in_order(lines):
    wanted = []
    for text in dict.fromkeys(one[0] for one in lines if isinstance(one, tuple)):
        network = ipaddress.ip_network(text if text != "default" else "0.0.0.0/0")
        wanted.append((_FAMILIES[network.version], network.network_address.packed, network.prefixlen))
    assert _read([one if isinstance(one, str) else "".join(one) for one in lines]) == wanted


@given(
    st.lists(_networks(), max_size=5),
    st.sampled_from(("10.0.0.1/8", "10.0.0.0/33", "fd00::1/64", "10.0.0/24", "10.0.0.0/", "x", "10.0.0.0/8 10.1.0.0/16",
                     "10.0.0.0/-1", "010.0.0.0/8", "::/129", "/8", "default/0")),
    st.lists(_networks(), max_size=5),
)  # fmt: skip
def test_the_first_wrong_line_is_told_by_its_number(before, wrong, behind):
    with pytest.raises(ValueError):  # noqa: PT011 - the words are Python's
        ipaddress.ip_network(wrong)
    with pytest.raises(InputError, match=rf"prefixes:{len(before) + 1}: .* is no prefix") as error:
        _read([*before, f"{wrong} # why", *behind])
    assert repr(wrong) in str(error.value)


@pytest.mark.parametrize("text", ["fe80::1%eth0", "fe80::%eth0/64"])
def test_a_zone_is_refused_as_a_route_has_none(text):
    with pytest.raises(InputError, match="is no prefix: it has a zone; --device says"):
        parse_prefix(text)


@pytest.mark.parametrize("text", ["10.0.0.0/255.0.0.0", "10.0.0.0/08", "10.0.0.0/0.0.0.255"])
def test_the_rarer_ways_to_write_a_length_are_known(text):
    network = ipaddress.ip_network(text)
    assert tuple(parse_prefix(text)) == (2, network.network_address.packed, network.prefixlen)
