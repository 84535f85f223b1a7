"""`addr …` and `neigh …`: the grammar of addresses and neighbours, as iproute2's ip/ipaddress.c and ip/ipneigh.c."""

from routebpf.hosts.topology_inet import ANY_PREFIX, Prefix, address_here, lladdr_here, prefix_here
from routebpf.hosts.topology_names import PROTOCOLS, SCOPE_HOST, SCOPE_UNIVERSE, SCOPES
from routebpf.hosts.topology_values import Address, Neighbour, Verb
from routebpf.hosts.topology_words import (
    Draft,
    Keywords,
    Option,
    Words,
    is_help,
    take_number,
    take_word,
    unsigned,
)

_FOREVER = 0xFFFFFFFF
_IPV6_FLAGS = frozenset({"home", "nodad", "mngtmpaddr", "optimistic"})  # on IPv4, ip warns and leaves them out


def _some_prefix(words: Words, family: int | None) -> Prefix:
    if words.word in ANY_PREFIX:
        raise words.refuse("an address")
    return prefix_here(words, family)


def _peer(draft: Draft, words: Words) -> None:
    words.argument("a peer's address")
    if "peer" in draft:
        raise words.error("the peer is given twice")
    draft["peer"] = _some_prefix(words, draft["family"])
    draft["family"] = draft["peer"].family


def _broadcast(draft: Draft, words: Words) -> None:
    word = words.argument("a broadcast address, + or -")
    if "broadcast" in draft:
        raise words.error("the broadcast address is given twice")
    if word in ("+", "-"):
        draft["broadcast"] = word
    else:
        draft["broadcast"] = address_here(words, draft["family"])
        draft["family"] = 4 if len(draft["broadcast"]) == 4 else 6


def _anycast(draft: Draft, words: Words) -> None:
    words.argument("an anycast address")
    if "anycast" in draft:
        raise words.error("the anycast address is given twice")
    draft["anycast"] = address_here(words, draft["family"])
    draft["family"] = 4 if len(draft["anycast"]) == 4 else 6


def _scope(draft: Draft, words: Words) -> None:
    draft["scope"] = SCOPES.argument(words)


def _lifetime(field: str) -> Option:
    def option(draft: Draft, words: Words) -> None:
        if field in draft:
            raise words.error("this lifetime is given twice")
        word = words.argument("a lifetime in seconds, or forever")
        seconds = _FOREVER if word == "forever" else unsigned(word)
        if seconds is None or seconds > _FOREVER:
            raise words.refuse("a lifetime in seconds, or forever", ["forever"])
        draft[field] = seconds

    return option


def _address_flag(draft: Draft, words: Words) -> None:
    draft["flags"].append(words.word)


def _kernel_flag(draft: Draft, words: Words) -> None:
    """A flag that only the kernel sets: iproute2 warns and goes on."""


def _local(draft: Draft, words: Words) -> None:
    if words.word == "local":
        words.argument("an address")
    if is_help(words.word):
        raise words.refuse("an address", _ADDRESS.names)
    if "local" in draft:
        raise words.refuse("an option of an address (which is there already)", _ADDRESS.names)
    draft["local"] = _some_prefix(words, draft["family"])
    draft["length_given"] = "/" in words.word
    draft["family"] = draft["local"].family


_ADDRESS = Keywords[Option](
    {
        "peer remote": _peer,
        "broadcast* brd": _broadcast,
        "anycast": _anycast,
        "scope": _scope,
        "dev": take_word("device", "a device"),
        "label": take_word("label", "a label"),
        "metric* priority* preference*": take_number("metric", "a metric"),
        "valid_lft*": _lifetime("valid"),
        "preferred_lft*": _lifetime("preferred"),
        "home nodad mngtmpaddr noprefixroute autojoin optimistic": _address_flag,
        "secondary temporary dadfailed deprecated tentative permanent stable-privacy": _kernel_flag,
    }
)


def parse_address_command(words: Words, verb: Verb, family: int | None) -> Address:
    """`addr add`, `change`, `replace`, `delete`, from the first word after the verb on."""
    draft: Draft = {"family": family, "flags": []}
    while words.more:
        (_ADDRESS.get(words.word) or _local)(draft, words)
        words.at += 1
    if "device" not in draft:
        raise words.error("which device? Write dev and its name")
    if "local" not in draft:
        raise words.error("which address? Write it with its prefix length, as 10.0.0.1/24")
    return _finished_address(draft, words, verb)


def _finished_address(draft: Draft, words: Words, verb: Verb) -> Address:
    local: Prefix = draft["local"]
    peer: Prefix | None = draft.get("peer")
    valid, preferred = draft.get("valid", _FOREVER), draft.get("preferred", _FOREVER)
    if "valid" in draft or "preferred" in draft:
        if not valid:
            raise words.error("valid_lft is zero")
        if valid < preferred:
            raise words.error("preferred_lft is longer than valid_lft")
    if "autojoin" in draft["flags"] and not _is_multicast(local.address):
        raise words.error("autojoin needs a multicast address")
    default_scope = SCOPE_HOST if verb != "delete" and local.family == 4 and local.address[0] == 127 else SCOPE_UNIVERSE
    return Address(
        line=words.line,
        verb=verb,
        device=draft["device"],
        interface=Prefix(local.address, peer.length if peer is not None and peer.length else local.length),
        peer=None if peer is None else peer.address,
        broadcast=_broadcast_address(draft.get("broadcast"), peer or local, words, verb),
        anycast=draft.get("anycast"),
        scope=draft.get("scope", default_scope),
        label=draft.get("label"),
        metric=draft.get("metric"),
        valid_seconds=None if valid == _FOREVER else valid,
        preferred_seconds=None if preferred == _FOREVER else preferred,
        flags=tuple(flag for flag in draft["flags"] if local.family == 6 or flag not in _IPV6_FLAGS),
        any_length=verb == "delete" and local.family == 4 and peer is None and not draft["length_given"],
    )


def _is_multicast(address: bytes) -> bool:
    return address[0] >> 4 == 14 if len(address) == 4 else address[0] == 255


def _broadcast_address(given: bytes | str | None, network: Prefix, words: Words, verb: Verb) -> bytes | None:
    """`+`: the prefix with every host bit set; `-`: with none. Prefixes of 31 and 32 bits have no broadcast address."""
    if not isinstance(given, str):
        return given
    if verb == "delete":
        return None
    if network.family == 6:
        raise words.error("only IPv4 addresses have a broadcast address")
    if network.length > 30:
        return None
    hosts = (1 << 32 - network.length) - 1
    value = int.from_bytes(network.address, "big")
    return (value | hosts if given == "+" else value & ~hosts).to_bytes(4, "big")


# neigh

_STATE_NAMES = ("none", "incomplete", "reachable", "stale", "delay", "probe", "failed", "noarp", "permanent")
_STATE_BITS = {1 << bit >> 1: name for bit, name in enumerate(_STATE_NAMES)}
NEIGHBOUR_STATES = Keywords(
    {name + "*" * (name in ("permanent", "reachable", "failed")): name for name in reversed(_STATE_NAMES)}
)


def neighbour_state(words: Words) -> str:
    """The next word as a NUD state: a name, or its bit as a number."""
    word = words.argument("a state")
    bit = unsigned(word)
    state = NEIGHBOUR_STATES.get(word) or (None if bit is None else _STATE_BITS.get(bit))
    if state is None:
        raise words.refuse(f"a state, one of {', '.join(NEIGHBOUR_STATES.names)}", NEIGHBOUR_STATES.names)
    return state


def _state(draft: Draft, words: Words) -> None:
    draft["state"] = neighbour_state(words)


def _neighbour_lladdr(draft: Draft, words: Words) -> None:
    word = words.argument("a link-layer address")
    if "lladdr" in draft:
        raise words.error("the link-layer address is given twice")
    draft["lladdr"] = None if word == "null" else lladdr_here(words)


def _neighbour_address(draft: Draft, words: Words) -> None:
    if words.word == "to":
        words.argument("an address")
    if is_help(words.word):
        raise words.refuse("an address", _NEIGHBOUR.names)
    if "address" in draft:
        raise words.refuse("an option of a neighbour (its address is there already)", _NEIGHBOUR.names)
    draft["address"] = address_here(words, draft["family"])


def _proxy(draft: Draft, words: Words) -> None:
    words.argument("an address")
    if "address" in draft:
        raise words.error("the address is given twice")
    draft["address"] = address_here(words, draft["family"])
    draft["proxy"] = True


def _protocol(draft: Draft, words: Words) -> None:
    draft["protocol"] = PROTOCOLS.argument(words)


def _neighbour_flag(name: str) -> Option:
    def option(draft: Draft, words: Words) -> None:  # noqa: ARG001
        draft["flags"].append(name)

    return option


_NEIGHBOUR = Keywords[Option](
    {
        "lladdr*": _neighbour_lladdr,
        "nud": _state,
        "proxy*": _proxy,
        "router": _neighbour_flag("router"),
        "use": _neighbour_flag("use"),
        "managed": _neighbour_flag("managed"),
        "extern_learn*": _neighbour_flag("extern_learn"),
        "dev": take_word("device", "a device"),
        "protocol*": _protocol,
    }
)


def parse_neighbour(words: Words, verb: Verb, family: int | None) -> Neighbour:
    """`neigh add`, `change`, `replace`, `delete`, from the first word after the verb on."""
    draft: Draft = {"family": family, "flags": []}
    while words.more:
        (_NEIGHBOUR.get(words.word) or _neighbour_address)(draft, words)
        words.at += 1
    if "device" not in draft or "address" not in draft:
        raise words.error("a neighbour needs an address and dev with a device")
    draft.pop("family")
    draft["flags"] = tuple(draft["flags"])
    return Neighbour(line=words.line, verb=verb, **draft)
