"""Names for numbers: routing tables, protocols, scopes, realms, DS fields, route types, device groups.

The names that iproute2 ships are built in, so that a topology means the same on any system; a name that is not one of
them is looked up in the system's own iproute2 configuration, as `ip` does.
"""

import functools
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from routebpf.hosts.topology_words import Draft, Keywords, Option, Words, unsigned

CONFIG_FOLDERS = ("/etc/iproute2", "/usr/share/iproute2", "/usr/lib/iproute2")

ROUTE_TYPES = Keywords(
    {
        "local": "local",
        "nat": "nat",
        "broadcast* brd": "broadcast",
        "anycast*": "anycast",
        "multicast*": "multicast",
        "prohibit*": "prohibit",
        "unreachable*": "unreachable",
        "blackhole*": "blackhole",
        "xresolve*": "xresolve",
        "unicast*": "unicast",
        "throw": "throw",
    }
)

TABLE_LOCAL, TABLE_MAIN = 255, 254
PROTOCOL_BOOT = 3
SCOPE_UNIVERSE, SCOPE_LINK, SCOPE_HOST, SCOPE_NOWHERE = 0, 253, 254, 255


@dataclass(frozen=True, slots=True)
class NameTable:
    """One kind of name. `file`: its file in iproute2's configuration. Numbers: up to `maximum`, in `base` (0: as C)."""

    what: str
    file: str
    maximum: int
    builtin: Mapping[str, int]
    base: int = 0

    def number(self, word: str) -> int | None:
        """The number that a word stands for; None when it is neither a name nor a number of this kind."""
        value = self.builtin.get(word)
        if value is None:
            value = unsigned(word, self.base)
        if value is None:
            value = configured_names(self.file).get(word)
        return None if value is None or value > self.maximum else value

    def argument(self, words: Words) -> int:
        """The next word as a number of this kind."""
        value = self.number(words.argument(self.what))
        if value is None:
            known = [*self.builtin, *configured_names(self.file)]
            raise words.refuse(f"{self.what}, a name or a number up to {self.maximum:#x}", known)
        return value


_SCOPES = {"global": 0, "site": 200, "link": SCOPE_LINK, "host": SCOPE_HOST, "nowhere": SCOPE_NOWHERE}
_TABLES = {"unspec": 0, "default": 253, "main": TABLE_MAIN, "local": TABLE_LOCAL}
_PROTOCOLS = {
    "unspec": 0,
    "redirect": 1,
    "kernel": 2,
    "boot": PROTOCOL_BOOT,
    "static": 4,
    "gated": 8,
    "ra": 9,
    "mrt": 10,
    "zebra": 11,
    "bird": 12,
    "dnrouted": 13,
    "xorp": 14,
    "ntk": 15,
    "dhcp": 16,
    "keepalived": 18,
    "babel": 42,
    "openr": 99,
    "bgp": 186,
    "isis": 187,
    "ospf": 188,
    "rip": 189,
    "eigrp": 192,
}
# RFC 2474, 2597 and 3246: assured forwarding, class selectors, expedited forwarding.
_DSFIELDS = (
    {"default": 0, "EF": 0xB8}
    | {f"AF{klass}{drop}": klass << 5 | drop << 3 for klass in range(1, 5) for drop in range(1, 4)}
    | {f"CS{selector}": selector << 5 for selector in range(1, 8)}
)

TABLES = NameTable("a routing table", "rt_tables", 0xFFFFFFFF, _TABLES)
PROTOCOLS = NameTable("a routing protocol", "rt_protos", 255, _PROTOCOLS)
SCOPES = NameTable("a scope", "rt_scopes", 255, _SCOPES)
REALMS = NameTable("a realm", "rt_realms", 255, {"cosmos": 0})
GROUPS = NameTable("a device group", "group", 0x7FFFFFFF, {"default": 0})
DSFIELDS = NameTable("a TOS (hexadecimal)", "rt_dsfield", 255, _DSFIELDS, base=16)


def parse_realms(word: str) -> int | None:
    """`TO`, `FROM/TO`, or both in one 32-bit number, as the kernel's RTA_FLOW: from in the upper 16 bits."""
    from_word, slash, to_word = word.partition("/") if "/" in word else ("", "", word)
    from_realm = REALMS.number(from_word) if slash else 0
    to_realm = REALMS.number(to_word) if to_word else 0
    if from_realm is not None and to_realm is not None:
        return from_realm << 16 | to_realm
    raw = unsigned(word)
    return raw if raw is not None and raw <= 0xFFFFFFFF else None


def realms_argument(words: Words) -> int:
    """The next word as realms."""
    realms = parse_realms(words.argument("realms"))
    if realms is None:
        raise words.refuse("realms, as TO or FROM/TO", REALMS.builtin)
    return realms


def take_realms(draft: Draft, words: Words) -> None:
    """The option `realms`."""
    draft["realms"] = realms_argument(words)


def take_named(field: str, names: NameTable) -> Option:
    """An option whose word is a number or a name of a table."""

    def option(draft: Draft, words: Words) -> None:
        draft[field] = names.argument(words)

    return option


@functools.cache
def configured_names(file: str) -> Mapping[str, int]:
    """The names that this system's iproute2 configuration gives, by file name; empty where there is none."""
    names: dict[str, int] = {}
    for folder in reversed(CONFIG_FOLDERS):
        for path in _config_files(folder, file):
            try:
                with open(path, encoding="utf-8", errors="surrogateescape") as lines:
                    names.update(_read_names(lines))
            except OSError:
                continue
    return names


def _config_files(folder: str, file: str) -> Iterator[str]:
    yield os.path.join(folder, file)
    extra = os.path.join(folder, f"{file}.d")
    if os.path.isdir(extra):
        yield from sorted(os.path.join(extra, name) for name in os.listdir(extra) if name.endswith(".conf"))


def _read_names(lines: Iterator[str]) -> Iterator[tuple[str, int]]:
    for line in lines:
        fields = line.partition("#")[0].split()
        value = unsigned(fields[0]) if len(fields) == 2 else None
        if value is not None:
            yield fields[1], value
