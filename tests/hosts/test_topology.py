"""Topology lines as values, and the errors of lines that are not understood."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from routebpf.errors import InputError
from routebpf.hosts import topology_names
from routebpf.hosts.topology import parse_route, parse_topology, read_topology
from routebpf.hosts.topology_inet import Prefix, address_text, parse_address, parse_lladdr, parse_prefix
from routebpf.hosts.topology_values import (
    Address,
    BpfEncap,
    BpfProgram,
    Command,
    Flush,
    Link,
    Neighbour,
    Nexthop,
    Route,
    Rtax,
    Rule,
    Tunnel,
)
from routebpf.hosts.topology_words import unsigned

MAIN, LOCAL = 254, 255
GLOBAL, LINK, HOST, NOWHERE = 0, 253, 254, 255
BOOT = 3


def ipv4(text: str) -> bytes:
    return bytes(int(octet) for octet in text.split("."))


def prefix(text: str) -> Prefix:
    address, _, length = text.partition("/")
    return Prefix(ipv4(address), int(length))


def one(line: str) -> Command:
    (command,) = parse_topology(line)
    return command


def refusal(text: str) -> str:
    with pytest.raises(InputError) as caught:
        parse_topology(text, "lab.topo")
    return str(caught.value)


# Routes


def test_a_route_has_the_kernel_s_table_scope_and_protocol_when_the_line_gives_none() -> None:
    assert one("route add 10.0.0.0/8 via 192.168.0.1 dev veth0") == Route(
        line=1,
        verb="add",
        type="unicast",
        family=4,
        prefix=prefix("10.0.0.0/8"),
        table=MAIN,
        protocol=BOOT,
        scope=GLOBAL,
        hop=Nexthop(via=ipv4("192.168.0.1"), device="veth0"),
    )


@pytest.mark.parametrize(
    ("line", "table", "scope"),
    [
        ("route add 10.0.0.0/8 dev a", MAIN, LINK),
        ("route add 10.0.0.0/8 via 1.2.3.4", MAIN, GLOBAL),
        ("route add 10.0.0.0/8 nexthop dev a nexthop dev b", MAIN, GLOBAL),
        ("route add local 10.0.0.1 dev a", LOCAL, HOST),
        ("route add broadcast 10.0.0.1 dev a", LOCAL, LINK),
        ("route add multicast 239.0.0.0/8 dev a", MAIN, LINK),
        ("route add anycast 10.0.0.1 dev a", LOCAL, LINK),
        ("route add blackhole 10.0.0.0/8", MAIN, GLOBAL),
        ("route add local 10.0.0.1 dev a table 7 scope link", 7, LINK),
        ("route add local 2001:db8::1 dev a", LOCAL, GLOBAL),
        ("route add 2001:db8::/32 dev a", MAIN, GLOBAL),
        ("route delete 10.0.0.0/8", MAIN, NOWHERE),
        ("route delete blackhole 10.0.0.0/8", MAIN, NOWHERE),
        ("route delete local 10.0.0.1", LOCAL, HOST),
    ],
)
def test_table_and_scope_follow_from_the_type_the_family_and_the_gateway(line: str, table: int, scope: int) -> None:
    route = one(line)
    assert isinstance(route, Route)
    assert (route.table, route.scope) == (table, scope)


def test_a_deleted_route_is_of_any_type_and_protocol_unless_the_line_says() -> None:
    route = one("route del 10.0.0.0/8")
    assert isinstance(route, Route)
    assert (route.verb, route.type, route.protocol, route.metric) == ("delete", "unspec", 0, None)


def test_every_option_of_a_route_is_in_its_value() -> None:
    route = one(
        "route replace prohibit 10.0.0.0/8 tos 10 table 100 metric 5 protocol static scope link src 10.0.0.1 "
        "realms 1/2 mtu lock 1400 advmss 1000 rtt 2s rto_min 20ms congctl lock reno onlink ttl-propagate disabled"
    )
    assert route == Route(
        line=1,
        verb="replace",
        type="prohibit",
        family=4,
        prefix=prefix("10.0.0.0/8"),
        tos=0x10,
        table=100,
        metric=5,
        protocol=4,
        scope=LINK,
        preferred_source=ipv4("10.0.0.1"),
        rtax=(
            Rtax("mtu", 1400, locked=True),
            Rtax("advmss", 1000),
            Rtax("rtt", 16000),
            Rtax("rto_min", 20, locked=True),
            Rtax("congctl", "reno", locked=True),
        ),
        ttl_propagate=False,
        hop=Nexthop(realms=1 << 16 | 2, onlink=True),
    )
    assert isinstance(route, Route)
    assert route.rtax_of("advmss") == Rtax("advmss", 1000)
    assert route.rtax_of("window") is None
    assert route.paths == (route.hop,)


def test_an_ipv6_route_has_its_preference_expiry_and_source() -> None:
    route = one("route add 2001:db8::/32 from 2001:db8:1::/48 pref low expires 30 via fe80::1 dev a")
    assert isinstance(route, Route)
    assert (route.family, route.preference, route.expires_seconds) == (6, 3, 30)
    assert route.source == Prefix(bytes.fromhex("20010db80001") + bytes(10), 48)


@pytest.mark.parametrize(
    ("line", "family"),
    [
        ("route add default via 10.0.0.1", 4),
        ("route add default via fe80::1 dev a", 6),
        ("route add default dev a", 4),
        ("route add default src 2001:db8::1 dev a", 6),
        ("route add default nexthop via fe80::1 dev a", 6),
        ("-6 route add default dev a", 6),
        ("-family inet6 route add default dev a", 6),
        ("ip -f inet6 r a default dev a", 6),
        ("-4 route add default dev a", 4),
    ],
)
def test_the_family_of_default_is_that_of_the_options_or_of_the_first_address(line: str, family: int) -> None:
    route = one(line)
    assert isinstance(route, Route)
    assert (route.family, route.prefix) == (family, Prefix(bytes(4 if family == 4 else 16), 0))


def test_an_ipv4_route_may_have_an_ipv6_gateway() -> None:
    route = one("route add 10.0.0.0/8 via inet6 fe80::1 dev a")
    assert isinstance(route, Route)
    assert route.family == 4
    assert route.hop.via == bytes.fromhex("fe80") + bytes(13) + b"\1"
    assert route.text == "10.0.0.0/8 via fe80::1 dev a"


def test_nexthops_are_the_paths_of_a_route() -> None:
    route = one("route add 10.0.0.0/8 metric 3 nexthop via 1.2.3.4 weight 5 realm 7 nexthop dev b onlink")
    assert isinstance(route, Route)
    assert route.metric == 3
    assert route.hop == Nexthop()
    assert route.nexthops == route.paths
    assert route.paths == (
        Nexthop(via=ipv4("1.2.3.4"), weight=5, realms=7),
        Nexthop(device="b", onlink=True),
    )


def test_encap_bpf_has_a_program_for_each_hook_and_headroom() -> None:
    route = one(
        "route add 192.168.253.2/32 encap bpf in obj in.o out pinned /sys/fs/bpf/out xmit object-file f.o section s "
        "program p verbose headroom 14 dev veth0"
    )
    assert isinstance(route, Route)
    xmit = BpfProgram(object="f.o", section="s", program="p", verbose=True)
    output = BpfProgram(pinned="/sys/fs/bpf/out")
    assert route.hop.encap == BpfEncap(input=BpfProgram(object="in.o"), output=output, xmit=xmit, headroom=14)
    assert list(route.hop.encap.programs) == ["in", "out", "xmit"]
    assert route.hop.device == "veth0"


def test_an_option_of_a_program_only_stands_in_its_place() -> None:
    assert '"section"' in refusal("route add 10.0.0.0/8 encap bpf xmit obj f.o verbose section s dev a")


def test_a_nexthop_may_have_a_program_of_its_own() -> None:
    route = one("route add 10.0.0.0/8 nexthop via 1.2.3.4 encap bpf out obj f.o sec s nexthop via 1.2.3.5")
    assert isinstance(route, Route)
    first, second = route.paths
    assert first.encap == BpfEncap(output=BpfProgram(object="f.o", section="s"))
    assert second.encap is None


def test_words_alone_make_a_route() -> None:
    words = ["10.0.0.0/8", "dev", "a"]
    assert parse_route(words) == Route(
        verb="add",
        type="unicast",
        family=4,
        prefix=prefix("10.0.0.0/8"),
        table=MAIN,
        protocol=BOOT,
        scope=LINK,
        hop=Nexthop(device="a"),
    )
    assert words == ["10.0.0.0/8", "dev", "a"]
    assert parse_route(["default", "dev", "a"], "replace", family=6).family == 6
    with pytest.raises(InputError, match=r"^attach: route add: .*\"dve\".*did you mean \"dev\"\?"):
        parse_route(["10.0.0.0/8", "dve", "a"], where="attach")


# Devices


def test_a_veth_pair_is_a_device_and_its_peer() -> None:
    assert one("link add veth0 mtu 1400 type veth peer name veth1 address 02:00:00:00:00:01 up") == Link(
        line=1,
        verb="add",
        name="veth0",
        kind="veth",
        mtu=1400,
        peer=Link(line=1, verb="add", name="veth1", kind="veth", address=b"\2\0\0\0\0\1", up=True),
    )


def test_settings_that_no_packet_depends_on_are_kept_as_words() -> None:
    link = one("link set dev a up txqueuelen 100 alias x promisc on nomaster arp off name b")
    assert link == Link(
        line=1,
        verb="set",
        name="a",
        new_name="b",
        up=True,
        arp=False,
        options=(("txqueuelen", "100"), ("alias", "x"), ("promisc", "on"), ("nomaster", "")),
    )


@pytest.mark.parametrize(
    ("line", "kind"),
    [
        *((f"link add da type {kind}", kind) for kind in ("veth", "dummy", "ifb", "ipip", "sit", "gre", "ip6tnl")),
        *((f"tuntap add a mode {kind}", kind) for kind in ("tap", "tun")),
    ],
)
def test_a_device_has_its_kind(line: str, kind: str) -> None:
    link = one(line)
    assert isinstance(link, Link)
    assert link.kind == kind


def test_a_tunnel_has_its_outer_header() -> None:
    link = one("link add da type gre remote 10.0.0.2 local 10.0.0.1 ikey 1.2.3.4 okey 5 ttl 64 tos inherit dev b")
    assert isinstance(link, Link)
    assert link.tunnel == Tunnel(
        remote=ipv4("10.0.0.2"),
        local=ipv4("10.0.0.1"),
        input_key=0x01020304,
        output_key=5,
        ttl=64,
        tos=1,
        device="b",
    )


def test_a_device_of_another_type_is_refused_with_the_types_there_are() -> None:
    message = refusal("link add da type vlan id 5")
    assert "veth, dummy, ifb, ipip, sit, ip6tnl, gre" in message
    assert "tuntap add" in refusal("link add da type tun")


# Addresses, neighbours, rules, flushes


def test_an_address_has_its_prefix_length_broadcast_and_lifetimes() -> None:
    assert one("addr add 10.0.0.1/24 brd + dev a scope link label a:1 valid_lft 20 preferred_lft 10") == Address(
        line=1,
        verb="add",
        device="a",
        interface=prefix("10.0.0.1/24"),
        broadcast=ipv4("10.0.0.255"),
        scope=LINK,
        label="a:1",
        valid_seconds=20,
        preferred_seconds=10,
    )


def test_an_address_with_a_peer_has_the_peer_s_prefix_length() -> None:
    address = one("addr add 10.0.0.1/8 peer 10.0.0.2/30 dev a")
    assert isinstance(address, Address)
    assert (address.interface, address.peer) == (prefix("10.0.0.1/30"), ipv4("10.0.0.2"))


def test_a_loopback_address_has_host_scope() -> None:
    address = one("addr add 127.0.0.1/8 dev lo")
    assert isinstance(address, Address)
    assert address.scope == HOST


def test_a_neighbour_is_permanent_unless_the_line_says() -> None:
    assert one("neigh add 10.0.0.9 lladdr 2:0:0:0:0:9 dev a") == Neighbour(
        line=1, verb="add", device="a", address=ipv4("10.0.0.9"), lladdr=b"\2\0\0\0\0\x09", state="permanent"
    )
    stale = one("neigh replace 2001:db8::9 dev a nud stale")
    assert isinstance(stale, Neighbour)
    assert (stale.family, stale.state, stale.lladdr) == (6, "stale", None)


def test_a_rule_selects_packets_and_names_a_table() -> None:
    assert one("rule add not from 10.0.0.0/8 iif a fwmark 1/0xff dport 80-90 prio 5 lookup 100") == Rule(
        line=1,
        verb="add",
        family=4,
        table=100,
        priority=5,
        invert=True,
        source=prefix("10.0.0.0/8"),
        iif="a",
        fwmark=1,
        fwmask=0xFF,
        destination_ports=(80, 90),
    )


def test_a_rule_without_a_table_looks_up_main_unless_it_acts() -> None:
    def table(line: str) -> int | None:
        rule = one(line)
        assert isinstance(rule, Rule)
        return rule.table

    assert table("rule add prio 5") == MAIN
    assert table("rule add prio 5 unreachable") is None
    assert table("rule delete prio 5") is None


@pytest.mark.parametrize(
    ("line", "flush"),
    [
        ("route flush table 100", Flush(line=1, verb="flush", object="route", table=100)),
        ("route flush table all", Flush(line=1, verb="flush", object="route", table=None)),
        ("route flush cache", Flush(line=1, verb="flush", object="route", table=MAIN, cache=True)),
        (
            "r f root 10.0.0.0/8 proto static dev a",
            Flush(
                line=1,
                verb="flush",
                object="route",
                family=4,
                table=MAIN,
                prefix=prefix("10.0.0.0/8"),
                match="root",
                protocol=4,
                device="a",
            ),
        ),
        ("addr flush dev a scope link", Flush(line=1, verb="flush", object="addr", device="a", scope=LINK)),
        ("neigh flush dev a nud stale", Flush(line=1, verb="flush", object="neigh", device="a", state="stale")),
        ("rule flush", Flush(line=1, verb="flush", object="rule")),
    ],
)
def test_a_flush_names_what_it_takes_away(line: str, flush: Flush) -> None:
    assert one(line) == flush


# Numbers, addresses, names


@pytest.mark.parametrize(
    ("word", "value"),
    [
        *[("0", 0), ("10", 10), ("010", 8), ("0x10", 16), ("+5", 5), (" 7", 7)],
        *[(word, None) for word in ("08", "-1", "1_0", "", "0x", "٣", "²", "9" * 5000, "7 ")],
    ],
)
def test_a_number_is_what_c_reads(word: str, value: int | None) -> None:
    assert unsigned(word) == value


@pytest.mark.parametrize(
    ("word", "address"),
    [
        *[("10.8", "10.8.0.0"), ("0x7f.1", "127.1.0.0"), ("010.0.0.1", "8.0.0.1"), ("::1", "::1")],
        *[(word, None) for word in ("10.0.0.0.1", "10..1", "256.1", "fe80::1%a", "", "localhost")],
    ],
)
def test_an_address_is_what_iproute2_reads(word: str, address: str | None) -> None:
    parsed = parse_address(word, None)
    assert (parsed if parsed is None else address_text(parsed)) == address


def test_a_prefix_may_have_a_netmask_and_bits_after_it() -> None:
    parsed = parse_prefix("10.1.2.3/255.255.0.0", None)
    assert parsed == prefix("10.1.2.3/16")
    assert parse_prefix("10.1.2.3/255.0.255.0", None) is None


def test_a_link_layer_address_has_one_to_32_bytes() -> None:
    assert parse_lladdr("2:0:0:0:0:A") == b"\2\0\0\0\0\x0a"
    assert parse_lladdr("10.0.0.1") == ipv4("10.0.0.1")
    assert parse_lladdr(":".join(["0"] * 32)) == bytes(32)
    assert parse_lladdr(":".join(["0"] * 33)) is None
    assert parse_lladdr("02::01") is None


def test_a_name_that_is_not_built_in_is_looked_up_in_iproute2_s_configuration(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "rt_tables.d").mkdir()
    (tmp_path / "rt_tables").write_text("# tables\n100 vpn # ours\n0x65\tlab\nbroken\n-1 minus\n")
    (tmp_path / "rt_tables.d" / "more.conf").write_text("102 more\n")
    (tmp_path / "rt_tables.d" / "README").write_text("103 readme\n")
    monkeypatch.setattr(topology_names, "CONFIG_FOLDERS", (str(tmp_path), "/no/such/folder"))
    topology_names.configured_names.cache_clear()
    try:
        routes = [one(f"route add 10.0.0.0/8 dev a table {name}") for name in ("vpn", "lab", "more")]
        assert [route.table for route in routes if isinstance(route, Route)] == [100, 101, 102]
        assert "did you mean" not in refusal("route add 10.0.0.0/8 dev a table readme")
        assert 'did you mean "vpn"?' in refusal("route add 10.0.0.0/8 dev a table vpm")
    finally:
        topology_names.configured_names.cache_clear()


# Files and errors


def test_a_command_knows_the_first_line_that_it_stands_on() -> None:
    commands = parse_topology("# a lab\n\nlink add da \\\n  type dummy\naddr add 10.0.0.1/24 dev a # x\n")
    assert [(type(command), command.line) for command in commands] == [(Link, 3), (Address, 5)]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("route add 10.0.0.0/8 vai 10.0.0.1", '"vai"; did you mean "via"?'),
        ("route add 10.0.0.0/33 dev a", 'expected an IPv4 or IPv6 prefix, not "10.0.0.0/33"'),
        ("-6 route add 10.0.0.0/8 dev a", 'expected an IPv6 prefix, not "10.0.0.0/8"'),
        ("route add 10.0.0.0/8 dev", "the line ends where a device was expected"),
        ("route add dev a", "a route needs a prefix, or default"),
        ("route add 10.0.0.0/8 10.0.0.0/8", "its prefix is there already"),
        ("route ad 10.0.0.0/8 scope lonk dev a", 'did you mean "link"?'),
        ("route delte 10.0.0.0/8", 'did you mean "delete"?'),
        ("ruote add 10.0.0.0/8", 'did you mean "route"?'),
        ("route add 10.0.0.0/8 encap bpf xmti obj f.o", 'did you mean "xmit"?'),
        ("route add 10.0.0.0/8 encap mpls 5 dev a", "only encap bpf"),
        ("neigh add 10.0.0.1 lladdr zz dev a", 'expected a link-layer address, as 02:00:00:00:00:01, not "zz"'),
        ("addr add 10.0.0.1/24 dev a dev", "the line ends where a device was expected"),
        ("link set da master br0", "not part of a topology"),
        ("route show", "changes nothing"),
        ("rule", "rule alone lists"),
        ("-6", "expected one of link, address"),
        ("-x route add 10.0.0.0/8", 'not "-x"'),
        ("route add 10.0.0.0/8 dev 'a", "has no end"),
        ("route add 10.0.0.0/8 dev \0", "NUL"),
    ],
)
def test_an_error_names_the_file_the_line_the_word_and_what_was_expected(line: str, message: str) -> None:
    text = refusal(f"link add da type dummy\n\n{line}\nlink add db type dummy\n")
    assert text.startswith("lab.topo:3: ")
    assert message in text


def test_an_error_points_at_the_word() -> None:
    _, line, marker = refusal("route add 10.0.0.0/8 via 10.0.0.999 dev veth0").split("\n")
    assert line[marker.index("^") : marker.rindex("^") + 1] == "10.0.0.999"
    _, line, marker = refusal("route add 10.0.0.0/8 via").split("\n")
    assert marker.index("^") == len(line) + 1


def test_a_device_with_the_name_of_an_abbreviation_is_told_to_write_dev() -> None:
    assert '"a" is short for address: a device of that name needs "dev" before it' in refusal("link add a type dummy")
    assert "short for" not in refusal("link add da address x type dummy")


def test_an_error_shows_no_control_character_and_no_endless_word() -> None:
    text = refusal("route add 10.0.0.0/8 dev a \x1b[31m\udcff" + "x" * 10000)
    assert "\\x1b[31m\\udcff" in text
    assert text.replace("\n", "").isprintable()
    assert len(text) < 500


def test_a_last_line_that_is_to_be_continued_is_an_error() -> None:
    assert "no line continues it" in refusal("route add 10.0.0.0/8 dev a \\\n")


def test_a_file_is_read_with_its_name_in_errors(tmp_path: Path) -> None:
    path = tmp_path / "lab.topo"
    path.write_bytes(
        "link add \u00e9 type dummy\r\nroute add 10.0.0.0/8 dev a encap bpf xmit obj f\xff.o\n".encode("latin-1")
    )
    link, route = read_topology(path)
    assert isinstance(link, Link)
    assert isinstance(route, Route)
    assert link.name is not None
    assert link.name.encode("utf-8", "surrogateescape") == b"\xe9"
    assert route.hop.encap == BpfEncap(xmit=BpfProgram(object="f\udcff.o"))
    path.write_text("route add 10.0.0.0/8\nnonsense\n")
    with pytest.raises(InputError, match=rf"^{path}:2: "):
        read_topology(path)
    with pytest.raises(InputError, match="No such file"):
        read_topology(tmp_path / "none")


_CORPUS = (Path(__file__).with_name("topology_lines.txt")).read_text().split("\n")
_WORDS = sorted({word for line in _CORPUS for word in line.split()})


@given(st.text(max_size=200) | st.binary(max_size=200).map(lambda data: data.decode("utf-8", "surrogateescape")))
def test_any_text_is_a_topology_or_an_input_error(text: str) -> None:
    try:
        parse_topology(text)
    except InputError as error:
        message = str(error)
    else:
        message = ""
    assert message.replace("\n", "").isprintable()


@given(st.lists(st.sampled_from(_WORDS) | st.text(max_size=5), max_size=12).map(" ".join))
def test_any_words_of_the_grammar_are_a_topology_or_an_input_error(line: str) -> None:
    try:
        parse_topology(line)
    except InputError:
        return


@given(st.sampled_from(_CORPUS), st.integers(0, 20), st.sampled_from(_WORDS), st.booleans())
def test_a_line_with_a_word_put_in_or_left_out_is_a_topology_or_an_input_error(
    line: str, at: int, word: str, leave_out: bool
) -> None:
    words = line.split()
    words[at : at + 1 if leave_out else at] = [] if leave_out else [word]
    try:
        parse_topology(" ".join(words))
    except InputError:
        return
