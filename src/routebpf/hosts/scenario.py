"""Scenarios: a topology, programs and packets, played on any host, and what two hosts made of one compared.

A scenario file is TOML:

    topology = '''              # as for ip -batch; obj names one of the programs
    link add va up type veth
    addr add 10.0.0.1/24 dev va
    route add 192.168.0.0/16 via 10.0.0.2 encap bpf xmit obj drop.c section lwt_xmit
    '''
    [programs]
    "drop.c" = '''
    #include <routebpf.h>
    SEC("lwt_xmit") int drop(struct __sk_buff *skb) { return BPF_DROP; }
    '''
    [[packets]]                 # fields: see scenario_packets; mark, and receive: the device that it comes in by
    src = "10.0.0.1"
    dst = "192.168.1.5"
"""

from __future__ import annotations

import contextlib
import os
import tempfile
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import Any

from routebpf.errors import InputError
from routebpf.hosts import topology_values as lines
from routebpf.hosts.host import Host
from routebpf.hosts.scenario_packets import packet_bytes
from routebpf.hosts.topology import parse_topology
from routebpf.hosts.topology_apply import apply_topology

_KEYS = frozenset({"description", "topology", "programs", "packets"})
_OF_PACKETS = ("mark", "receive", "repeat")
_READ_ONLY_KINDS = frozenset({"rodata", "kconfig"})
_RINGBUF, _PERF_EVENT_ARRAY = 27, 4
# Maps whose entries are numbers of things that each host numbers by itself: programs, maps, cgroups.
_OF_HANDLES = frozenset({3, 8, 12, 13})
_TAKEN = frozenset({22, 23})  # queue and stack


@dataclass(frozen=True, slots=True)
class ScenarioPacket:
    """A packet, from its IP header on. `receive`: the device that it comes in by, None: it is sent. `repeat`: times."""

    data: bytes
    mark: int = 0
    receive: str | None = None
    repeat: int = 1


@dataclass(frozen=True, slots=True)
class Scenario:
    """`topology`: the lines; `programs`: C sources by the name that the lines use."""

    name: str
    topology: str
    programs: Mapping[str, str]
    packets: tuple[ScenarioPacket, ...]
    description: str = ""


@dataclass(frozen=True, slots=True)
class PacketOutcome:
    """What became of a packet. `frames`: those that left, by device, in order. `errno`: None if nobody saw one."""

    verdict: str
    reason: str
    errno: int | None
    frames: Mapping[str, tuple[bytes, ...]]


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of a scenario. `maps`: entries by "PROGRAM FILE:MAP", key and value in hex; of per-CPU maps, the first
    CPU's value, which is the only one that a scenario runs on."""

    packets: tuple[PacketOutcome, ...]
    maps: Mapping[str, Mapping[str, str]] = field(default_factory=dict)


def read_scenario(path: str | os.PathLike[str]) -> Scenario:
    """Read a scenario file. Raises InputError that says what is wrong with it."""
    name = os.fspath(path)
    try:
        text = Path(path).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"reading the scenario {name}: {error}") from None
    return parse_scenario(text, name)


def parse_scenario(text: str, name: str = "scenario") -> Scenario:
    """A scenario from the text of its file. Raises InputError, beginning with `name`."""
    try:
        found = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise InputError(f"{name}: it is no TOML: {error}") from None
    unknown = found.keys() - _KEYS
    if unknown:
        raise InputError(f"{name}: a scenario has no {', '.join(sorted(unknown))}; it has {', '.join(sorted(_KEYS))}")
    packets = []
    for number, one in enumerate(found.get("packets", [])):
        try:
            packets.append(_packet(one))
        except InputError as error:
            raise InputError(f"{name}: packet {number}: {error}") from None
    if not packets:
        raise InputError(f"{name}: a scenario has at least one packet: [[packets]]")
    return Scenario(
        name, found.get("topology", ""), found.get("programs", {}), tuple(packets), found.get("description", "")
    )


def _packet(described: dict[str, Any]) -> ScenarioPacket:
    own = {key: described.pop(key) for key in _OF_PACKETS if key in described}
    return ScenarioPacket(packet_bytes(described), **own)


def run_scenario(scenario: Scenario, host: Host) -> Outcome:
    """Play a scenario on a host that has nothing yet but its loopback. Raises what its topology raises."""
    with _programs(scenario) as folder:
        commands = parse_topology(scenario.topology, scenario.name)
        placed = [_with_programs_in(one, folder, scenario.programs) for one in commands]
        objects = apply_topology(host, placed, where=scenario.name)
        packets = [
            _play(host, packet) for packet in scenario.packets for _ in range(packet.repeat)
        ]  # fmt: skip
        maps = {
            f"{name}:{key}": entries
            for name, one in zip(_names([one.path for one in objects]), objects, strict=True)
            for key, entries in _maps(one).items()
        }
    return Outcome(tuple(packets), maps)


def differences(one: Outcome, other: Outcome) -> list[str]:
    """What two hosts made differently of a scenario, a line each, the first host's first; empty: they agree.

    Verdicts and reasons are compared as far as the kernel shows them (kernel_verdict, CANNOT_TELL), maps as far as both
    have them: the kernel gets no map that no program uses.
    """
    found = []
    if len(one.packets) != len(other.packets):
        found.append(f"{len(one.packets)} packets, {len(other.packets)} packets")
    for number, (a, b) in enumerate(zip(one.packets, other.packets, strict=False)):
        found += [f"packet {number}: {text}" for text in _packet_differences(a, b)]
    for name in one.maps.keys() & other.maps.keys():
        a_entries, b_entries = one.maps[name], other.maps[name]
        for key in sorted(a_entries.keys() | b_entries.keys()):
            if a_entries.get(key) != b_entries.get(key):
                found.append(f"map {name}[{key}]: {a_entries.get(key)}, {b_entries.get(key)}")
    return found


def _packet_differences(a: PacketOutcome, b: PacketOutcome) -> Iterator[str]:
    from routebpf.hosts.kernel_verdict import looks_the_same

    if a.errno is not None and b.errno is not None and a.errno != b.errno:
        yield f"errno {a.errno} ({a.reason}), {b.errno} ({b.reason})"
    is_seen = a.errno is not None and b.errno is not None
    # Where some of a packet's fragments or clones left, nobody sees what became of the rest, if it is no errno.
    is_in_part = bool(a.frames) and a.frames == b.frames and not a.errno and not b.errno
    if not is_in_part and not looks_the_same(a.reason, b.reason, a.errno or 0, is_seen=is_seen):
        yield f"{a.verdict} ({a.reason}), {b.verdict} ({b.reason})"
    for device in sorted(a.frames.keys() | b.frames.keys()):
        ours, theirs = a.frames.get(device, ()), b.frames.get(device, ())
        if len(ours) != len(theirs):
            yield f"{len(ours)} frames, {len(theirs)} frames by {device}"
        for number, (x, y) in enumerate(zip(ours, theirs, strict=False)):
            if x != y:
                yield f"frame {number} by {device}: {x.hex()}, {y.hex()}"


def _play(host: Host, packet: ScenarioPacket) -> PacketOutcome:
    if packet.receive is None:
        sent = host.send(packet.data, mark=packet.mark)
    else:
        sent = host.receive(packet.data, packet.receive, mark=packet.mark)
    frames: dict[str, tuple[bytes, ...]] = {}
    for frame in sent.frames:
        frames[frame.device] = (*frames.get(frame.device, ()), frame.data)
    return PacketOutcome(sent.verdict, sent.reason, sent.errno if packet.receive is None else None, frames)


# Programs


@contextlib.contextmanager
def _programs(scenario: Scenario) -> Iterator[Path]:
    """A folder with the compiled programs."""
    with tempfile.TemporaryDirectory(prefix="routebpf-") as folder:
        for name, source in scenario.programs.items():
            if "/" in name:
                raise InputError(f"{scenario.name}: the program {name!r}: its name is no path")
            Path(folder, f"{name}.o").write_bytes(_compiled(name, source))
        yield Path(folder)


@cache
def _compiled(name: str, source: str) -> bytes:
    from routebpf.objects.compiler import compile_source

    with tempfile.TemporaryDirectory(prefix="routebpf-") as folder:
        path = Path(folder, name if name.endswith(".c") else f"{name}.c")
        path.write_text(source, encoding="utf-8")
        return compile_source(str(path))


def _with_programs_in(command: lines.Command, folder: Path, names: Mapping[str, str]) -> lines.Command:
    """The command, with the scenario's programs where they are."""
    if not isinstance(command, lines.Route):
        return command
    hops = tuple(_placed(hop, folder, names) for hop in command.nexthops)
    return replace(command, hop=_placed(command.hop, folder, names), nexthops=hops)


def _placed(hop: lines.Nexthop, folder: Path, names: Mapping[str, str]) -> lines.Nexthop:
    if hop.encap is None:
        return hop

    def place(program: lines.BpfProgram | None) -> lines.BpfProgram | None:
        if program is None or program.object not in names:
            return program
        return replace(program, object=str(folder / f"{program.object}.o"))

    encap = hop.encap
    return replace(
        hop, encap=replace(encap, input=place(encap.input), output=place(encap.output), xmit=place(encap.xmit))
    )


# Maps


def _names(paths: Sequence[str]) -> Iterator[str]:
    """The programs' names. A file that is loaded for several hooks has maps for each: the second is NAME (2)."""
    for number, path in enumerate(paths):
        name = Path(path).name.removesuffix(".o")
        before = paths[:number].count(path)
        yield f"{name} ({before + 1})" if before else name


def _maps(loaded: Any) -> dict[str, dict[str, str]]:
    return {
        name: dict(_entries(view.raw))
        for name, view in loaded.maps.items()
        if view.raw.definition.kind not in _READ_ONLY_KINDS and view.raw.definition.type not in _OF_HANDLES
    }


def _entries(raw: Any) -> Iterator[tuple[str, str]]:
    kind = raw.definition.type
    if kind in (_RINGBUF, _PERF_EVENT_ARRAY):
        for number, one in enumerate(raw.consume()):
            yield str(number), one.hex() if isinstance(one, bytes) else one[1].hex()
    elif kind in _TAKEN:
        number = 0
        while (value := raw.pop()) is not None:
            yield str(number), value.hex()
            number += 1
    elif raw.definition.key_size:
        size = raw.definition.value_size
        for key, value in raw.items():
            yield key.hex(), value[:size].hex()
