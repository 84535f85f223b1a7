"""`link …` and `tuntap …`: the grammar of devices, as iproute2's ip/iplink.c, ip/iptuntap.c and ip/link_*.c."""

from collections.abc import Callable

from routebpf.hosts.topology_inet import address_here, lladdr_here
from routebpf.hosts.topology_names import DSFIELDS, GROUPS
from routebpf.hosts.topology_values import Link, Tunnel, Verb
from routebpf.hosts.topology_words import (
    Draft,
    Keywords,
    Option,
    Words,
    choice,
    device_name_here,
    is_help,
    number,
    on_off,
    refused,
    take_constant,
    take_word,
    unsigned,
)

_INT_MAX = 0x7FFFFFFF


def _once(field: str, of: str, minimum: int = 0) -> Option:
    """A number that may stand once only."""

    def option(draft: Draft, words: Words) -> None:
        value = number(words, of, _INT_MAX, minimum)
        if field in draft:
            raise words.error(f"{of} is given twice")
        draft[field] = value

    return option


def _lladdr(field: str) -> Option:
    def option(draft: Draft, words: Words) -> None:
        words.argument("a link-layer address")
        draft[field] = lladdr_here(words)

    return option


def _name(field: str) -> Option:
    def option(draft: Draft, words: Words) -> None:
        words.argument("a device name")
        draft[field] = device_name_here(words)

    return option


def _flag(field: str, of: str) -> Option:
    def option(draft: Draft, words: Words) -> None:
        draft[field] = on_off(words, of)

    return option


def _without_effect(name: str, read: Callable[[Words, str], object] | None) -> Option:
    """A setting that no packet's path depends on: checked, and kept as words."""

    def option(draft: Draft, words: Words) -> None:
        if read is not None:
            read(words, name)
        draft["options"].append((name, words.word if read is not None else ""))

    return option


def _any_number(words: Words, of: str) -> int:
    return number(words, of, _INT_MAX)


def _state(words: Words, of: str) -> str:
    word = words.argument(of)
    if word.upper() not in _OPERATIONAL_STATES:
        raise words.refuse(f"{of}, one of {', '.join(_OPERATIONAL_STATES)}")
    return word


def _group(words: Words, of: str) -> int:  # noqa: ARG001
    return GROUPS.argument(words)


def _one_of(*names: str) -> Callable[[Words, str], object]:
    keywords = Keywords({name: name for name in names})

    def read(words: Words, of: str) -> object:
        return choice(words, of, keywords)

    return read


def _any_word(words: Words, of: str) -> str:
    return words.argument(of)


_OPERATIONAL_STATES = ("UNKNOWN", "NOTPRESENT", "DOWN", "LOWERLAYERDOWN", "TESTING", "DORMANT", "UP")
_NO_XDP = refused("XDP programs run before any route")
_NO_MASTER = refused("bridges, bonds and VRFs are not modelled")
_NO_NETNS = refused("a topology is one host")


def _device(draft: Draft, words: Words) -> None:
    """A device's name, with or without `dev`: the word that is no keyword."""
    if is_help(words.word):
        raise words.refuse('an option of a link (a device of that name needs "dev" before it)', _LINK.names)
    if words.word == "dev":
        words.argument("a device")
    if "device" in draft:
        raise words.refuse("an option of a link (its device is there already)", [*_LINK.names, *_KINDS])
    if not words.word or "/" in words.word or any(character.isspace() for character in words.word):
        raise words.refuse("a device")
    draft["device"], draft["device_at"] = words.word, words.at


_LINK = Keywords[Option](
    {
        "up": take_constant("up", True),
        "down": take_constant("up", False),
        "name": _name("name"),
        "index": _once("ifindex", "an interface index", 1),
        "link*": take_word("parent", "a device"),
        "address*": _lladdr("address"),
        "broadcast* brd": _lladdr("broadcast"),
        "txqueuelen* qlen txqlen*": _without_effect("txqueuelen", _any_number),
        "mtu": _once("mtu", "an MTU in bytes"),
        "xdpgeneric xdpdrv xdpoffload xdp": _NO_XDP,
        "netns": _NO_NETNS,
        "multicast": _without_effect("multicast", on_off),
        "allmulticast": _without_effect("allmulticast", on_off),
        "promisc": _without_effect("promisc", on_off),
        "trailers": _without_effect("trailers", on_off),
        "arp": _flag("arp", "arp"),
        "carrier": refused("a device has its carrier while it is up"),
        "vf": refused("virtual functions are not modelled"),
        "master*": _NO_MASTER,
        "vrf": _NO_MASTER,
        "nomaster*": _without_effect("nomaster", None),
        "dynamic*": _without_effect("dynamic", on_off),
        "type*": take_word("kind", "a type of device"),
        "alias*": _without_effect("alias", _any_word),
        "group": _without_effect("group", _group),
        "mode": _without_effect("mode", _one_of("default", "dormant")),
        "state": _without_effect("state", _state),
        "numtxqueues*": _without_effect("numtxqueues", _any_number),
        "numrxqueues*": _without_effect("numrxqueues", _any_number),
        "addrgenmode*": _without_effect("addrgenmode", _one_of("eui64", "none", "stable_secret", "random")),
        "link-netns link-netnsid*": _NO_NETNS,
        "protodown": _without_effect("protodown", on_off),
        "gso_max_size": _without_effect("gso_max_size", _any_number),
        "gso_max_segs": _without_effect("gso_max_segs", _any_number),
        "gro_max_size": _without_effect("gro_max_size", _any_number),
        "parentdev": _without_effect("parentdev", _any_word),
    }
)


# What a type of device takes


def _tunnel_address(field: str, family: int) -> Option:
    def option(draft: Draft, words: Words) -> None:
        if words.argument(f"the {field} address") in ("any", "default"):
            return
        address = address_here(words, family)
        draft[field] = address if any(address) else None

    return option


def _ttl(draft: Draft, words: Words) -> None:
    word = words.argument("a TTL")
    value = 0 if word == "inherit" else unsigned(word)
    if value is None or value > 255:
        raise words.refuse("a TTL, a number up to 255 or inherit")
    draft["ttl"] = value


def _tos(draft: Draft, words: Words) -> None:
    following = words.words[words.at + 1 : words.at + 2]
    if following == ["inherit"]:
        words.at += 1
        draft["tos"] = 1
    else:
        draft["tos"] = DSFIELDS.argument(words)


def _key(*fields: str) -> Option:
    def option(draft: Draft, words: Words) -> None:
        word = words.argument("a key")
        if "." in word:
            value: int | None = int.from_bytes(address_here(words, 4), "big")
        else:
            value = unsigned(word)
        if value is None or value > 0xFFFFFFFF:
            raise words.refuse("a key, a 32-bit number")
        draft.update(dict.fromkeys(fields, value))

    return option


_TUNNEL_COMMON: dict[str, Option] = {
    "encap external": refused("only plain tunnels are modelled"),
    "noencap": _without_effect("noencap", None),
    "fwmark": _without_effect("fwmark", _any_number),
}
_IPTUNNEL_MODES = ("ipip", "ipv4/ipv4", "ip4ip4", "ip6ip", "ipv6/ipv4", "any", "any/ipv4")
_IP6TUNNEL_MODES = ("ipip6", "ip4ip6", "ip6ip6", "ipv4/ipv6", "ipv6/ipv6", "any", "any/ipv6")
_IPTUNNEL = Keywords[Option](
    {
        "mode": _without_effect("mode", _one_of(*_IPTUNNEL_MODES)),
        "remote": _tunnel_address("remote", 4),
        "local": _tunnel_address("local", 4),
        "dev*": take_word("device", "a device"),
        "ttl hoplimit hlim": _ttl,
        "tos tclass tc dsfield*": _tos,
        "nopmtudisc": take_constant("path_mtu_discovery", False),
        "pmtudisc": take_constant("path_mtu_discovery", True),
        **_TUNNEL_COMMON,
    }
)
_IP6TUNNEL = Keywords[Option](
    {
        "mode": _without_effect("mode", _one_of(*_IP6TUNNEL_MODES)),
        "remote": _tunnel_address("remote", 6),
        "local": _tunnel_address("local", 6),
        "dev*": take_word("device", "a device"),
        "ttl hoplimit hlim": _ttl,
        "encaplimit": _without_effect("encaplimit", _any_word),
        "tos tclass tc dsfield*": _tos,
        "flowlabel fl": _without_effect("flowlabel", _any_word),
        "dscp": _without_effect("dscp", _one_of("inherit")),
        **_TUNNEL_COMMON,
    }
)
_GRE = Keywords[Option](
    {
        "key*": _key("input_key", "output_key"),
        "ikey*": _key("input_key"),
        "okey*": _key("output_key"),
        "seq* iseq* oseq*": refused("GRE sequence numbers are not modelled"),
        "csum* icsum* ocsum*": refused("GRE checksums are not modelled"),
        "nopmtudisc*": take_constant("path_mtu_discovery", False),
        "pmtudisc*": take_constant("path_mtu_discovery", True),
        "remote*": _tunnel_address("remote", 4),
        "local*": _tunnel_address("local", 4),
        "dev*": take_word("device", "a device"),
        "ttl* hoplimit* hlim*": _ttl,
        "tos* tclass* dsfield*": _tos,
        "ignore-df noignore-df": _without_effect("ignore-df", None),
        **_TUNNEL_COMMON,
    }
)

_TUNNELS = {"ipip": _IPTUNNEL, "sit": _IPTUNNEL, "ip6tnl": _IP6TUNNEL, "gre": _GRE}
_KINDS = ("veth", "dummy", "ifb", *_TUNNELS)
_OTHER_KINDS = {
    "tun": "it is made by tuntap add NAME mode tun",
    "tap": "it is made by tuntap add NAME mode tap",
}


def _tunnel(words: Words, keywords: Keywords[Option]) -> Tunnel:
    draft: Draft = {"options": []}
    while words.more:
        option = keywords.get(words.word)
        if option is None:
            raise words.refuse("an option of this tunnel", keywords.names)
        option(draft, words)
        words.at += 1
    if draft.get("ttl") and not draft.get("path_mtu_discovery", True):
        raise words.error("a ttl and nopmtudisc exclude each other")
    return Tunnel(**_with_options(draft))


def _with_options(draft: Draft) -> Draft:
    draft["options"] = tuple(draft["options"])
    return draft


def _abbreviation(word: str) -> str:
    """A note for errors after a word that its writer may have meant as the name of a device."""
    if word in _LINK.names:
        return ""
    return f' ("{word}" is short for {_LINK.whole(word)}: a device of that name needs "dev" before it)'


def _link_options(words: Words) -> Draft:
    """The options up to the end, or up to and with `type KIND`; what follows belongs to the kind."""
    draft: Draft = {"options": []}
    while words.more:
        option = _LINK.get(words.word)
        words.note = _abbreviation(words.word) if option else ""
        (option or _device)(draft, words)
        words.at += 1
        if "kind" in draft:
            break
    words.note = ""
    return draft


def _describe_kind(draft: Draft, words: Words, verb: Verb) -> None:
    """What follows `type KIND`; the cursor is behind the kind."""
    kind = draft["kind"]
    if kind not in _KINDS:
        words.at -= 1
        why = _OTHER_KINDS.get(kind, f"the types are {', '.join(_KINDS)}")
        raise words.error(f"devices of that type are not modelled; {why}", _KINDS)
    if kind == "veth" and words.more:
        if words.word != "peer":
            raise words.refuse("peer, or the end of the line", ["peer"])
        words.at += 1
        draft["peer"] = _peer(words, verb)
    elif kind in _TUNNELS and verb != "delete":
        draft["tunnel"] = _tunnel(words, _TUNNELS[kind])
    if words.more:
        raise words.refuse("the end of the line")


def _peer(words: Words, verb: Verb) -> Link:
    draft = _link_options(words)
    if "kind" in draft:
        words.at -= 1
        raise words.error("the type is given twice: a veth's peer is a veth")
    draft["kind"] = "veth"
    _join_names(draft, words)
    return Link(line=words.line, verb=verb, **_with_options(draft))


def _join_names(draft: Draft, words: Words) -> None:
    """`NAME`, `dev NAME` and `name NAME` are one thing for a new device."""
    if draft.pop("device", None) is None:
        return
    at, words.at = words.at, draft.pop("device_at")
    if "name" in draft:
        raise words.error("both a name and a device are given; a new device has one name")
    draft["name"] = device_name_here(words)
    words.at = at


def parse_new_link(words: Words, verb: Verb, family: int | None) -> Link:  # noqa: ARG001
    """`link add` and `link replace`, from the first word after the verb on."""
    draft = _link_options(words)
    if "kind" not in draft:
        raise words.error('a new device needs "type" and one of ' + ", ".join(_KINDS))
    _join_names(draft, words)
    _describe_kind(draft, words, verb)
    return Link(line=words.line, verb=verb, **_with_options(draft))


def parse_set_link(words: Words, verb: Verb, family: int | None) -> Link:  # noqa: ARG001
    """`link set` and `link delete`."""
    draft = _link_options(words)
    if "kind" in draft:
        _describe_kind(draft, words, verb)
    device, _ = draft.pop("device", None), draft.pop("device_at", None)
    if device is None:
        raise words.error("which device? Write its name, or dev and its name")
    if "ifindex" in draft:
        raise words.error("an index can be given only to a new device")
    new_name = draft.pop("name", None)
    return Link(line=words.line, verb=verb, name=device, new_name=new_name, **_with_options(draft))


# tuntap


def _mode(draft: Draft, words: Words) -> None:
    kind = choice(words, "a mode", _MODES)
    if draft.setdefault("kind", kind) != kind:
        raise words.error("both modes are given, tun and tap")


def _tuntap_name(draft: Draft, words: Words) -> None:
    if words.word and "name".startswith(words.word):
        words.argument("a device name")
    elif is_help(words.word):
        raise words.refuse("an option of tuntap", _TUNTAP.names)
    if "name" in draft:
        raise words.refuse("an option of tuntap (its name is there already)", _TUNTAP.names)
    draft["name"] = device_name_here(words)


_MODES = Keywords({"tun*": "tun", "tap*": "tap"})
_TUNTAP = Keywords[Option](
    {
        "mode*": _mode,
        "user*": _without_effect("user", _any_word),
        "group*": _without_effect("group", _any_word),
        "pi*": _without_effect("pi", None),
        "one_queue*": _without_effect("one_queue", None),
        "vnet_hdr*": _without_effect("vnet_hdr", None),
        "multi_queue*": _without_effect("multi_queue", None),
        "dev*": _name("name"),
    }
)


def parse_tuntap(words: Words, verb: Verb, family: int | None) -> Link:  # noqa: ARG001
    """`tuntap add` and `tuntap delete`."""
    draft: Draft = {"options": []}
    while words.more:
        (_TUNTAP.get(words.word) or _tuntap_name)(draft, words)
        words.at += 1
    if "kind" not in draft:
        raise words.error("a device needs mode tun or mode tap")
    return Link(line=words.line, verb=verb, **_with_options(draft))
