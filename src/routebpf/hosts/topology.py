"""Topology files: devices, addresses, neighbours, routes and rules in iproute2's own words, as `ip -batch` takes them.

A line is a command of `ip`: `link add veth0 type veth peer name veth1`. `#` starts a comment, `\\` at the end of a
line continues it, objects, verbs and many keywords may be abbreviated as `ip` lets them be. Beyond `ip -batch`, a
line may start with `ip` and with `-4`, `-6` or `-family`, so that a line of a shell script is a line of a topology.
"""

import re
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from routebpf.errors import InputError
from routebpf.hosts.topology_address import parse_address_command, parse_neighbour
from routebpf.hosts.topology_link import parse_new_link, parse_set_link, parse_tuntap
from routebpf.hosts.topology_route import parse_route as _parse_route_words
from routebpf.hosts.topology_rule import flush_parser, parse_rule
from routebpf.hosts.topology_values import Command, Route, Verb
from routebpf.hosts.topology_words import Keywords, Words

Parser = Callable[[Words, Verb, int | None], Command]
_Verbs = Keywords[tuple[Verb, Parser] | None]

_LISTINGS = ("list*", "show*", "lst*", "get*", "save*", "restore*", "showdump*", "help*")


def _verbs(rows: dict[str, tuple[Verb, Parser] | None], listings: Sequence[str] = _LISTINGS) -> _Verbs:
    return Keywords(rows | {" ".join(listings): None})


# Each row in the order in which iproute2's do_iproute, do_ipaddr… ask; None: what changes nothing on a host.
_ROUTE_VERBS = _verbs(
    {
        "add*": ("add", _parse_route_words),
        "change* chg": ("change", _parse_route_words),
        "replace*": ("replace", _parse_route_words),
        "prepend*": ("prepend", _parse_route_words),
        "append*": ("append", _parse_route_words),
        "test*": None,
        "delete*": ("delete", _parse_route_words),
        "list* show* lst* get*": None,
        "flush*": ("flush", flush_parser("route")),
    }
)
_ADDRESS_VERBS = _verbs(
    {
        "add*": ("add", parse_address_command),
        "change* chg": ("change", parse_address_command),
        "replace*": ("replace", parse_address_command),
        "delete*": ("delete", parse_address_command),
        "list* show* lst*": None,
        "flush*": ("flush", flush_parser("addr")),
    }
)
_NEIGHBOUR_VERBS = _verbs(
    {
        "add*": ("add", parse_neighbour),
        "change* chg": ("change", parse_neighbour),
        "replace*": ("replace", parse_neighbour),
        "delete*": ("delete", parse_neighbour),
        "get* show* lst* list*": None,
        "flush*": ("flush", flush_parser("neigh")),
    }
)
_LINK_VERBS = _verbs(
    {
        "add*": ("add", parse_new_link),
        "set* change*": ("set", parse_set_link),
        "replace*": ("replace", parse_new_link),
        "delete*": ("delete", parse_set_link),
        "show* lst* list* xstats* afstats* property*": None,
    }
)
_RULE_VERBS = _verbs(
    {
        "list* lst* show* save* restore*": None,
        "add*": ("add", parse_rule),
        "delete*": ("delete", parse_rule),
        "flush*": ("flush", flush_parser("rule")),
    }
)
_TUNTAP_VERBS = _verbs({"add*": ("add", parse_tuntap), "delete*": ("delete", parse_tuntap)})

_OBJECTS = Keywords[tuple[str, _Verbs | None]](
    {
        "address*": ("addr", _ADDRESS_VERBS),
        "addrlabel*": ("addrlabel", None),
        "maddress*": ("maddress", None),
        "route*": ("route", _ROUTE_VERBS),
        "rule*": ("rule", _RULE_VERBS),
        "neighbor* neighbour*": ("neigh", _NEIGHBOUR_VERBS),
        "ntable* ntbl*": ("ntable", None),
        "link*": ("link", _LINK_VERBS),
        "l2tp* fou* ila* macsec*": ("", None),
        "tunnel* tunl*": ("tunnel", None),
        "tuntap* tap*": ("tuntap", _TUNTAP_VERBS),
        "token* tcpmetrics* tcp_metrics* monitor* xfrm* mroute* mrule* netns* netconf* vrf* sr* nexthop*": ("", None),
        "mptcp* ioam* stats* help*": ("", None),
    }
)
_MODELLED = ("link", "address", "neighbour", "route", "rule", "tuntap")

_ENOUGH_TO_KNOW = 1 << 16  # bytes of a file that tell whether it is text
_PLAIN_WORDS = re.compile(r"[^ \t\r\n]+")
_ANY_WORDS = re.compile(r"""'([^']*)'|"([^"]*)"|([^ \t\r\n]+)""")
_FAMILIES = Keywords({"inet": 4, "inet6": 6})
_FAMILY_OPTIONS = {"-4": 4, "-6": 6, "--4": 4, "--6": 6}


def parse_topology(text: str, where: str = "topology") -> tuple[Command, ...]:
    """The commands of a topology, in order. `where` names the text in errors.

    Raises InputError for the first line that is not understood: with `where`, the line's number, the word at fault
    and what was expected there. Devices and tables are only named here; whether they exist is the host's to say.
    """
    commands = []
    for line, words in _command_lines(text, where):
        commands.append(_parse_command(Words(words, where, line)))
    return tuple(commands)


def read_topology(path: str | Path) -> tuple[Command, ...]:
    """The commands of a topology file, "-" for the standard input. InputError: as `parse_topology`, or the file cannot
    be read."""
    try:
        with open(0 if path == "-" else path, "rb", closefd=path != "-") as file:
            content = file.read(_ENOUGH_TO_KNOW)
            if b"\0" not in content:  # or else it is no text, whatever its size
                content += file.read()
    except OSError as error:
        raise InputError(f"reading the topology {path}: {error.strerror or error}") from error
    return parse_topology(content.decode("utf-8", "surrogateescape"), str(path))


def parse_route(words: Sequence[str], verb: Verb = "add", family: int | None = None, where: str = "route") -> Route:
    """A route given as words, from the prefix or its type on: what stands after `ip route add`.

    `family`: 4 or 6 where the words alone must not decide. Raises InputError, as `parse_topology` does.
    """
    return _parse_route_words(Words(list(words), where, doing=f"route {verb}"), verb, family)


def _parse_command(words: Words) -> Command:
    family = _leading_options(words)
    if not words.more:
        raise words.error(f"expected one of {', '.join(_MODELLED)}")
    entry = _OBJECTS.get(words.word)
    if entry is None:
        raise words.refuse(f"one of {', '.join(_MODELLED)}", _MODELLED)
    name, verbs = entry
    if verbs is None:
        raise words.error(f"this is not part of a topology, which has {', '.join(_MODELLED)}")
    words.doing = name
    words.at += 1
    if not words.more:
        raise words.error(f"{name} alone lists; a topology only has what makes or changes")
    chosen = verbs.get(words.word)
    if chosen is None:
        if words.word in verbs.table:
            raise words.error("this changes nothing; a topology only has what makes or changes")
        raise words.refuse(f"a verb of {name}", verbs.names)
    verb, parser = chosen
    words.doing = f"{name} {verb}"
    words.at += 1
    return parser(words, verb, family)


def _leading_options(words: Words) -> int | None:
    """`ip` and the options before the object, which ip takes on its command line only. Returns the family."""
    family: int | None = None
    if words.more and words.word == "ip":
        words.at += 1
    while words.more and words.word.startswith("-"):
        option = words.word.removeprefix("-").removeprefix("-")
        if words.word in _FAMILY_OPTIONS:
            family = _FAMILY_OPTIONS[words.word]
        elif option and "family".startswith(option):
            family = _FAMILIES.get(words.argument("a family"))
            if family is None:
                raise words.refuse("inet or inet6", _FAMILIES.names)
        else:
            raise words.refuse("-4, -6 or -family, the options that a line may have")
        words.at += 1
    return family


def _command_lines(text: str, where: str) -> Iterator[tuple[int, list[str]]]:
    """The words of each command and the number of its first line (lib/utils.c, getcmdline and makeargs)."""
    lines = text.split("\n")
    last = len(lines) - 1  # what follows the last newline: nothing, or a line that cannot be continued
    at = 0
    while at <= last:
        first, line = at, lines[at].partition("#")[0]
        while line.endswith("\\") and "#" not in lines[at] and at < last:
            at += 1
            if at == last and not lines[at]:
                raise InputError(f"{where}:{at}: the last line ends in a backslash, and no line continues it")
            line = line[:-1] + lines[at].partition("#")[0]
        at += 1
        words = _split(line, where, first + 1)
        if words:
            yield first + 1, words


def _split(line: str, where: str, number: int) -> list[str]:
    if "\0" in line:
        raise InputError(f"{where}:{number}: a NUL byte; a topology is text")
    if "'" not in line and '"' not in line:
        return _PLAIN_WORDS.findall(line)
    words = []
    for match in _ANY_WORDS.finditer(line):
        word = next(group for group in match.groups() if group is not None)
        if match.lastindex == 3 and word[0] in "'\"":
            raise InputError(f"{where}:{number}: the quote that starts {word[:40]!r} has no end")
        words.append(word)
    return words
