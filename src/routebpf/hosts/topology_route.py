"""`route add …`: the grammar of routes, as iproute2's ip/iproute.c and ip/iproute_lwtunnel.c read it."""

import re
from collections.abc import Callable

from routebpf.hosts.topology_inet import Prefix, address_here, family_of, prefix_here, zero_address
from routebpf.hosts.topology_names import (
    DSFIELDS,
    PROTOCOL_BOOT,
    PROTOCOLS,
    ROUTE_TYPES,
    SCOPE_HOST,
    SCOPE_LINK,
    SCOPE_NOWHERE,
    SCOPE_UNIVERSE,
    SCOPES,
    TABLE_LOCAL,
    TABLE_MAIN,
    TABLES,
    take_named,
    take_realms,
)
from routebpf.hosts.topology_values import BpfEncap, BpfProgram, Nexthop, Route, Rtax, Verb
from routebpf.hosts.topology_words import (
    Draft,
    Keywords,
    Option,
    Words,
    choice,
    is_help,
    number,
    refused,
    take_constant,
    take_number,
    take_word,
    unsigned,
)

_VIA_FAMILIES = {"inet": 4, "inet6": 6}
_NO_IP_FAMILIES = frozenset({"link", "mpls", "bridge"})
_TIME = re.compile(r"(.*?)(s|secs?|ms|msecs?)?", re.IGNORECASE | re.DOTALL)
_DECIMAL = re.compile(r"\d*\.\d*")
_NOT_OF_IP = frozenset({"nat", "xresolve"})


# What encap bpf takes


def _program(words: Words) -> BpfProgram:
    """A program after `in`, `out` or `xmit`; the cursor ends on its last word (lib/bpf_legacy.c, bpf_do_parse)."""
    draft: Draft = {}
    words.argument("a program, as obj FILE or pinned PATH")
    how = _PROGRAM_FROM.get(words.word)
    if how is None:
        raise words.refuse("obj FILE or pinned PATH", _PROGRAM_FROM.names)
    draft[how] = words.argument("a file")
    for keywords in _PROGRAM_WORDS:
        option = keywords.get(words.words[words.at + 1]) if words.at + 1 < len(words.words) else None
        if option is not None:
            words.at += 1
            option(draft, words)
    return BpfProgram(**draft)


_PROGRAM_FROM = Keywords({"object-file* obj": "object", "object-pinned* pinned* fd*": "pinned"})
_PROGRAM_WORDS: tuple[Keywords[Option], ...] = (
    Keywords({"section*": take_word("section", "a section")}),
    Keywords({"program": take_word("program", "a program's name")}),
    Keywords({"verbose*": take_constant("verbose", True)}),
)


def _hook(field: str) -> Option:
    def option(draft: Draft, words: Words) -> None:
        draft[field] = _program(words)

    return option


def _headroom(draft: Draft, words: Words) -> None:
    draft.setdefault("headroom", number(words, "headroom in bytes", minimum=1))


_BPF = Keywords[Option](
    {"in": _hook("input"), "out": _hook("output"), "xmit": _hook("xmit"), "headroom": _headroom},
)
_ENCAP_TYPES = ("bpf", "mpls", "ip", "ip6", "ila", "seg6", "seg6local", "rpl", "ioam6", "xfrm")


def _encap(draft: Draft, words: Words) -> None:
    kind = words.argument("an encap type")
    if kind != "bpf":
        if kind not in _ENCAP_TYPES:
            raise words.refuse("encap bpf", _ENCAP_TYPES)
        raise words.error(f"encap {kind} is not part of a topology, only encap bpf is")
    encap: Draft = {}
    while words.at + 1 < len(words.words):
        option = _BPF.get(words.words[words.at + 1])
        if option is None:
            break
        words.at += 1
        option(encap, words)
    if not encap.keys() - {"headroom"}:
        words.at += 1
        raise words.error("encap bpf has no program; expected in, out or xmit", _BPF.names)
    draft["encap"] = BpfEncap(**encap)


# What both a route and a nexthop take


def _learn_family(draft: Draft, family: int) -> None:
    if draft["family"] is None:
        draft["family"] = family


def _via(draft: Draft, words: Words) -> None:
    word = words.argument("a gateway")
    family = _VIA_FAMILIES.get(word)
    if family is not None or word in _NO_IP_FAMILIES:
        words.argument("a gateway")
    if word in _NO_IP_FAMILIES:
        raise words.error(f"a gateway of family {word} is not part of a topology")
    via = address_here(words, family or draft["family"])
    _learn_family(draft, family_of(via))
    draft["via"] = via


def _only_via(draft: Draft, words: Words) -> None:
    if "via" in draft:
        raise words.error("a second gateway; several of them are nexthop via … nexthop via …")
    _via(draft, words)


# What a route takes


def _source_address(draft: Draft, words: Words) -> None:
    words.argument("a source address")
    draft["preferred_source"] = address_here(words, draft["family"])
    _learn_family(draft, family_of(draft["preferred_source"]))


def _source_prefix(draft: Draft, words: Words) -> None:
    words.argument("a source prefix")
    source = prefix_here(words, draft["family"])
    if source.address:
        _learn_family(draft, source.family)
    draft["source"] = source


def _milliseconds(scale: int) -> Callable[[Words, str], int]:
    """A time: with a unit, in milliseconds times `scale`; without, in the kernel's unit (lib/utils.c, get_time_rtt)."""

    def read(words: Words, of: str) -> int:
        match = _TIME.fullmatch(words.word)
        amount: float | None = None
        if match is not None:
            text = match[1]
            amount = float(text) if _DECIMAL.fullmatch(text) and text != "." else unsigned(text)
        if match is None or amount is None or amount > 0xFFFFFFFF:
            raise words.refuse(f"{of}, a time as 20ms or 1.5s")
        if match[2] is None:
            return -int(-amount // 1)
        return -int(-amount * (1000 if match[2][0] in "sS" else 1) // 1) * scale

    return read


def _up_to(maximum: int) -> Callable[[Words, str], int]:
    def read(words: Words, of: str) -> int:
        value = unsigned(words.word)
        if value is None or value > maximum:
            raise words.refuse(f"{of}, a number from 0 to {maximum}")
        return value

    return read


def _features(words: Words, of: str) -> int:
    if words.word != "ecn":
        raise words.refuse(f"{of}, which can only be ecn", ["ecn"])
    return 1


def _any_word(words: Words, of: str) -> str:  # noqa: ARG001
    return words.word


def _rtax(name: str, read: Callable[[Words, str], int | str], lockable: bool = True, locked: bool = False) -> Option:
    """One of RTA_METRICS: `NAME [lock] VALUE`."""

    def option(draft: Draft, words: Words) -> None:
        lock = words.argument(name) == "lock" and lockable
        if lock:
            words.argument(name)
        draft["rtax"].append(Rtax(name, read(words, name), lock or locked))

    return option


_U32 = _up_to(0xFFFFFFFF)
_PREFERENCES = {"low": 3, "medium": 0, "high": 1}
_PROPAGATE = Keywords({"enabled*": 1, "disabled*": 2})


def _preference(draft: Draft, words: Words) -> None:
    word = words.argument("a router preference")
    value = _PREFERENCES.get(word, unsigned(word))
    if value is None or value > 255:
        raise words.refuse("a router preference: low, medium or high", _PREFERENCES)
    draft["preference"] = value


def _ttl_propagate(draft: Draft, words: Words) -> None:
    draft["ttl_propagate"] = choice(words, "ttl-propagate", _PROPAGATE) == 1


def _destination(draft: Draft, words: Words) -> None:
    if words.word == "to":
        words.argument("a prefix")
    kind = ROUTE_TYPES.get(words.word)
    if kind is not None:
        if kind in _NOT_OF_IP:
            raise words.error(f"the kernel has no routes of type {kind}")
        draft["type"] = kind
        words.argument("a prefix")
    if is_help(words.word):
        raise words.refuse("a prefix", _ROUTE.names)
    if "prefix" in draft:
        raise words.refuse("an option of a route (its prefix is there already)", [*_ROUTE.names, *ROUTE_TYPES.names])
    prefix = prefix_here(words, draft["family"])
    if prefix.address:
        _learn_family(draft, prefix.family)
    draft["prefix"] = prefix


_ROUTE = Keywords[Option](
    {
        "src": _source_address,
        "as": refused("it belongs to MPLS"),
        "via": _only_via,
        "from": _source_prefix,
        "tos dsfield*": take_named("tos", DSFIELDS),
        "expires": take_number("expires_seconds", "a time in seconds"),
        "metric* priority* preference": take_number("metric", "a metric"),
        "scope": take_named("scope", SCOPES),
        "mtu": _rtax("mtu", _U32),
        "hoplimit": _rtax("hoplimit", _up_to(255)),
        "advmss": _rtax("advmss", _U32),
        "reordering*": _rtax("reordering", _U32),
        "rtt": _rtax("rtt", _milliseconds(8)),
        "rto_min": _rtax("rto_min", _milliseconds(1), lockable=False, locked=True),
        "window*": _rtax("window", _U32),
        "cwnd*": _rtax("cwnd", _U32),
        "initcwnd*": _rtax("initcwnd", _U32),
        "initrwnd*": _rtax("initrwnd", _U32),
        "features*": _rtax("features", _features, lockable=False),
        "quickack*": _rtax("quickack", _up_to(1), lockable=False),
        "congctl*": _rtax("congctl", _any_word),
        "rttvar*": _rtax("rttvar", _milliseconds(4)),
        "ssthresh*": _rtax("ssthresh", _U32),
        "realms*": take_realms,
        "onlink": take_constant("onlink", True),
        "nhid": refused("nexthop objects are not; write via and dev"),
        "protocol*": take_named("protocol", PROTOCOLS),
        "table*": take_named("table", TABLES),
        "vrf*": refused("VRF devices are not; write the table's number"),
        "dev oif": take_word("device", "a device"),
        "pref*": _preference,
        "encap": _encap,
        "ttl-propagate": _ttl_propagate,
        "fastopen_no_cookie*": _rtax("fastopen_no_cookie", _up_to(1), lockable=False),
    }
)

_NEXTHOP = Keywords[Option](
    {
        "via": _via,
        "dev": take_word("device", "a device"),
        "weight": take_number("weight", "a weight", 256, 1),
        "onlink": take_constant("onlink", True),
        "realms*": take_realms,
        "encap": _encap,
        "as": refused("it belongs to MPLS"),
    }
)

_HOP_FIELDS = ("via", "device", "onlink", "realms", "encap")


def _nexthop(route: Draft, words: Words) -> Nexthop:
    """One `nexthop …`; the cursor is on that word before, on the first word that is not the nexthop's after."""
    if words.word != "nexthop":
        raise words.refuse("an option of a nexthop, or nexthop", [*_NEXTHOP.names, "nexthop"])
    words.argument("an option of a nexthop")
    draft: Draft = {"family": route["family"]}
    while words.more:
        option = _NEXTHOP.get(words.word)
        if option is None:
            break
        option(draft, words)
        words.at += 1
    route["family"] = draft.pop("family")
    return Nexthop(**draft)


def parse_route(words: Words, verb: Verb, family: int | None) -> Route:
    """A route, from its first word after the verb on. `family`: 4 or 6 where `-4` or `-6` was given.

    Raises InputError at the word that is not understood. The defaults are iproute2's (ip/iproute.c, iproute_modify):
    the table and the scope follow from the type, the family from the first address.
    """
    draft: Draft = {"family": family, "rtax": []}
    nexthops: list[Nexthop] = []
    while words.more:
        if words.word == "nexthop":
            break
        option = _ROUTE.get(words.word)
        if option is None:
            _destination(draft, words)
        else:
            option(draft, words)
        words.at += 1
    if "prefix" not in draft:
        raise words.error("a route needs a prefix, or default")
    while words.more:
        nexthops.append(_nexthop(draft, words))
    return _finished(draft, tuple(nexthops), verb, words.line)


def _finished(draft: Draft, nexthops: tuple[Nexthop, ...], verb: Verb, line: int) -> Route:
    family = draft.pop("family") or 4
    deleting = verb == "delete"
    kind = draft.pop("type", "unspec" if deleting else "unicast")
    for field in ("prefix", "source"):
        if field in draft and not draft[field].address:
            draft[field] = Prefix(zero_address(family), 0)
    direct = not nexthops and "via" not in draft
    scope = draft.pop("scope", None)
    table = draft.pop("table", None)
    hop = Nexthop(**{field: draft.pop(field) for field in _HOP_FIELDS if field in draft})
    return Route(
        line=line,
        verb=verb,
        type=kind,
        family=family,
        scope=_default_scope(kind, family, deleting, direct) if scope is None else scope,
        table=(TABLE_LOCAL if kind in _LOCAL_TABLE else TABLE_MAIN) if table is None else table,
        protocol=draft.pop("protocol", 0 if deleting else PROTOCOL_BOOT),
        rtax=tuple(draft.pop("rtax")),
        hop=hop,
        nexthops=nexthops,
        **draft,
    )


_LOCAL_TABLE = frozenset({"local", "broadcast", "anycast"})
_LINK_SCOPE = frozenset({"broadcast", "multicast", "anycast"})


def _default_scope(kind: str, family: int, deleting: bool, direct: bool) -> int:
    if family == 6:
        return SCOPE_UNIVERSE
    if kind == "local":
        return SCOPE_HOST
    if kind in _LINK_SCOPE:
        return SCOPE_LINK
    if kind in ("unicast", "unspec") and not deleting and direct:
        return SCOPE_LINK
    return SCOPE_NOWHERE if deleting else SCOPE_UNIVERSE
