"""`rule …` as iproute2's ip/iprule.c, and every `flush`, as ip/iproute.c, ip/ipaddress.c and ip/ipneigh.c."""

import re
import socket
from collections.abc import Callable
from typing import Literal

from routebpf.hosts.topology_address import neighbour_state
from routebpf.hosts.topology_inet import UNRESOLVED_DEFAULT, Prefix, prefix_here, zero_address
from routebpf.hosts.topology_names import (
    DSFIELDS,
    GROUPS,
    PROTOCOLS,
    ROUTE_TYPES,
    SCOPES,
    TABLE_MAIN,
    TABLES,
    NameTable,
    take_named,
    take_realms,
)
from routebpf.hosts.topology_values import Flush, Rule, Verb
from routebpf.hosts.topology_words import (
    Draft,
    Keywords,
    Option,
    Words,
    device_name_here,
    is_help,
    number,
    refused,
    take_constant,
    take_number,
    take_word,
    unsigned,
)

_PORTS = re.compile(r"(\d{1,5})(?:-(\d{1,5}))?")
_UIDS = re.compile(r"(\d{1,10})-(\d{1,10})")


def _prefix(field: str) -> Option:
    def option(draft: Draft, words: Words) -> None:
        words.argument("a prefix")
        prefix = prefix_here(words, draft["family"])
        if prefix.address:
            draft["family"] = prefix.family
        draft[field] = prefix

    return option


def _mark(draft: Draft, words: Words) -> None:
    mark, slash, mask = words.argument("a mark, as MARK or MARK/MASK").partition("/")
    values = unsigned(mark), unsigned(mask) if slash else 0xFFFFFFFF
    if any(value is None or value > 0xFFFFFFFF for value in values):
        raise words.refuse("a mark, as MARK or MARK/MASK")
    draft["fwmark"] = values[0]
    if slash:
        draft["fwmask"] = values[1]


def _interface(field: str) -> Option:
    def option(draft: Draft, words: Words) -> None:
        words.argument("a device")
        draft[field] = device_name_here(words)

    return option


def _ip_protocol(draft: Draft, words: Words) -> None:
    word = words.argument("an IP protocol")
    value = unsigned(word)
    if value is None:
        try:
            value = socket.getprotobyname(word)
        except (OSError, ValueError):
            value = None
    if value is None or value > 255:
        raise words.refuse("an IP protocol, a name or a number up to 255", ["tcp", "udp", "icmp", "ipv6-icmp"])
    draft["ip_protocol"] = value


def _range(field: str, pattern: re.Pattern[str], maximum: int, of: str) -> Option:
    def option(draft: Draft, words: Words) -> None:
        match = pattern.fullmatch(words.argument(of))
        first, last = (int(match[1]), int(match[2] or match[1])) if match else (1, 0)
        if not first <= last <= maximum:
            raise words.refuse(of)
        draft[field] = (first, last)

    return option


_ACTIONS = {"unicast": "lookup"} | {kind: kind for kind in ("unreachable", "blackhole", "prohibit")}


def _action(draft: Draft, words: Words) -> None:
    if words.word == "type":
        words.argument("an action")
    word = words.word
    if is_help(word):
        raise words.refuse("an option of a rule", _RULE.names)
    if word and "goto".startswith(word):
        draft["action"] = "goto"
        draft["target"] = number(words, "the priority of a rule")
    elif word and "nop".startswith(word):
        draft["action"] = "nop"
    else:
        action = _ACTIONS.get(ROUTE_TYPES.get(word) or "")
        if action is None:
            raise words.refuse("an option or an action of a rule", [*_RULE.names, *_ACTIONS, "goto", "nop"])
        draft["action"] = action
    draft["acts"] = True


_RULE = Keywords[Option](
    {
        "not": take_constant("invert", True),
        "from": _prefix("source"),
        "to": _prefix("destination"),
        "preference* order* priority*": take_number("priority", "a priority"),
        "tos dsfield*": take_named("tos", DSFIELDS),
        "fwmark": _mark,
        "realms*": take_realms,
        "protocol*": take_named("protocol", PROTOCOLS),
        "tun_id*": take_number("tunnel_id", "a tunnel id", 0xFFFFFFFFFFFFFFFF),
        "table* lookup": take_named("table", TABLES),
        "suppress_prefixlength* sup_pl": take_number("suppress_prefix_length", "a prefix length", 0x7FFFFFFF),
        "suppress_ifgroup* sup_group": take_named("suppress_group", GROUPS),
        "dev iif": _interface("iif"),
        "oif": _interface("oif"),
        "l3mdev": take_constant("l3mdev", True),
        "uidrange": _range("uid_range", _UIDS, 0xFFFFFFFF, "a range of user ids, as 0-1000"),
        "nat map-to*": refused("route NAT left the kernel long ago"),
        "ipproto": _ip_protocol,
        "sport": _range("source_ports", _PORTS, 65535, "a port, or a range as 1000-2000"),
        "dport": _range("destination_ports", _PORTS, 65535, "a port, or a range as 1000-2000"),
    }
)


def parse_rule(words: Words, verb: Verb, family: int | None) -> Rule:
    """`rule add` and `rule delete`, from the first word after the verb on."""
    draft: Draft = {"family": family}
    if not words.more:
        raise words.error("a rule needs at least one option")
    while words.more:
        (_RULE.get(words.word) or _action)(draft, words)
        words.at += 1
    if draft.get("l3mdev") and draft.get("table"):
        raise words.error("an l3mdev rule takes its table from the device")
    acts = draft.pop("acts", False) or draft.get("l3mdev", False)
    if "table" not in draft and not acts and verb == "add":
        draft["table"] = TABLE_MAIN
    draft["family"] = draft["family"] or 4
    for field in ("source", "destination"):
        if field in draft and not draft[field].address:
            draft[field] = Prefix(zero_address(draft["family"]), 0)
    return Rule(line=words.line, verb=verb, **draft)


# flush


def _flush_table(draft: Draft, words: Words) -> None:
    word = words.argument("a table")
    if word == "cache":
        draft["cache"] = True
    elif word == "all":
        draft["table"] = None
    else:
        words.at -= 1
        draft["table"] = TABLES.argument(words)


def _or_all(field: str, names: NameTable) -> Option:
    def option(draft: Draft, words: Words) -> None:
        if words.argument(names.what) == "all":
            draft[field] = None
        else:
            words.at -= 1
            draft[field] = names.argument(words)

    return option


def _route_type(draft: Draft, words: Words) -> None:
    kind = ROUTE_TYPES.get(words.argument("a route type"))
    if kind is None:
        raise words.refuse("a route type", ROUTE_TYPES.names)
    draft["type"] = kind


def _fit(draft: Draft, words: Words) -> None:
    """`[to] [root | match | exact] PREFIX`"""
    if words.word and "to".startswith(words.word):
        words.argument("a prefix")
    match = _FITS.get(words.word)
    if match is not None:
        words.argument("a prefix")
    draft["match"] = match or "exact"
    _flush_prefix(draft, words)


def _flush_prefix(draft: Draft, words: Words) -> None:
    if words.word == "to":
        words.argument("a prefix")
    prefix = prefix_here(words, draft["family"])
    if prefix.address:
        draft["family"] = prefix.family
    draft["prefix"] = None if prefix == UNRESOLVED_DEFAULT else prefix


def _flush_device(draft: Draft, words: Words) -> None:
    if words.word == "dev":
        words.argument("a device")
    elif is_help(words.word):
        raise words.refuse("a device")
    if "device" in draft:
        raise words.refuse("an option of flush (its device is there already)", _FLUSH_ADDRESSES.names)
    draft["device"] = words.word


def _flush_state(draft: Draft, words: Words) -> None:
    if words.words[words.at + 1 : words.at + 2] == ["all"]:
        words.at += 1
    else:
        draft["state"] = neighbour_state(words)


_UNMODELLED = refused("a flush knows tables, devices, prefixes, protocols, scopes, types, states and labels")
_FITS = Keywords({"root*": "root", "match*": "match", "exact*": "exact"})
_FLUSH_ROUTES = Keywords[Option](
    {
        "table*": _flush_table,
        "vrf*": _UNMODELLED,
        "cached* cloned*": take_constant("cache", True),
        "tos dsfield*": _UNMODELLED,
        "protocol*": _or_all("protocol", PROTOCOLS),
        "scope*": _or_all("scope", SCOPES),
        "type*": _route_type,
        "dev oif": take_word("device", "a device"),
        "iif mark metric* priority* via src": _UNMODELLED,
        "realms* from*": _UNMODELLED,
    }
)
_FLUSH_ADDRESSES = Keywords[Option](
    {
        "to": _flush_prefix,
        "scope": _or_all("scope", SCOPES),
        "up": _UNMODELLED,
        "dynamic permanent primary secondary tentative deprecated": _UNMODELLED,
        "home nodad mngtmpaddr noprefixroute autojoin": _UNMODELLED,
        "label": take_word("label", "a label"),
        "group master vrf nomaster type": _UNMODELLED,
    }
)
_FLUSH_NEIGHBOURS = Keywords[Option](
    {
        "dev": take_word("device", "a device"),
        "master vrf nomaster unused": _UNMODELLED,
        "nud": _flush_state,
        "proxy protocol*": _UNMODELLED,
    }
)
_FLUSH_RULES = Keywords[Option](
    {
        "protocol*": _or_all("protocol", PROTOCOLS),
        "table* lookup": _flush_table,
    }
)


def _no_more(draft: Draft, words: Words) -> None:  # noqa: ARG001
    raise words.refuse("table or protocol", _FLUSH_RULES.names)


_Flushed = Literal["route", "addr", "neigh", "rule"]
_FLUSHES: dict[_Flushed, tuple[Keywords[Option], Option]] = {
    "route": (_FLUSH_ROUTES, _fit),
    "addr": (_FLUSH_ADDRESSES, _flush_device),
    "neigh": (_FLUSH_NEIGHBOURS, _flush_prefix),
    "rule": (_FLUSH_RULES, _no_more),
}


def flush_parser(kind: _Flushed) -> Callable[[Words, Verb, int | None], Flush]:
    """The parser of `flush` for "route", "addr", "neigh" or "rule"."""
    keywords, otherwise = _FLUSHES[kind]

    def parse(words: Words, verb: Verb, family: int | None) -> Flush:
        if not words.more and kind != "rule":
            raise words.error("flush needs to know what; for instance dev and a device")
        draft: Draft = {"family": family, "table": TABLE_MAIN if kind == "route" else None}
        while words.more:
            (keywords.get(words.word) or otherwise)(draft, words)
            words.at += 1
        return Flush(line=words.line, verb=verb, object=kind, **draft)

    return parse
