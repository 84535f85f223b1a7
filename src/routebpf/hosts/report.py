"""What `run --json` prints of a replay: one object, the same of every host."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from routebpf.datapath.verdicts import VERDICT_NAMES, reason_of

if TYPE_CHECKING:
    from routebpf.datapath.fib import Route
    from routebpf.hosts.map_view import MapView
    from routebpf.hosts.replay import Replay

_HIDDEN_KINDS = frozenset({"rodata", "kconfig"})


def report(replay: Replay) -> dict[str, Any]:
    """The replay as plain values: counts, routes with programs, maps of their objects, frames by device, and each
    packet if its frames were kept."""
    found: dict[str, Any] = {
        "packets": replay.packets,
        "bytes": replay.bytes,
        "seconds": round(replay.seconds, 6),
        "verdicts": replay.verdicts,
        "reasons": replay.reasons,
        "routes": list(_routes(replay)),
        "maps": maps_of(objects_of(replay)),
        "frames": replay.frames,
    }
    if replay.packet_frames is not None and replay.columns is not None:
        found["packet_list"] = list(_packets(replay))
    return found


def reported_routes(replay: Replay) -> list[tuple[Route, Any]]:
    """Routes that carry a program, and those that packets took, each with its counts, as [verdict, packets or bytes].

    In order of family, table and prefix: that of a host's list depends on the host.
    """
    routes = zip(replay.routes, replay.route_counts[1:], strict=True)
    found = [(route, counts) for route, counts in routes if route.programs or counts[:, 0].any()]
    return sorted(found, key=lambda one: _place(one[0]))


def _place(route: Route) -> tuple[int, int, bytes, int, int, int]:
    prefix = route.prefix
    return prefix.version, route.table, prefix.network_address.packed, prefix.prefixlen, route.tos, route.metric


def _routes(replay: Replay) -> Iterable[dict[str, Any]]:
    for route, counts in reported_routes(replay):
        yield {
            "to": str(route.prefix),
            "program": ", ".join(dict.fromkeys(one.name for one in route.programs)) or None,
            "packets": int(counts[:, 0].sum()),
            "bytes": int(counts[:, 1].sum()),
            "verdicts": {name: int(counts[verdict, 0]) for verdict, name in enumerate(VERDICT_NAMES)},
        }


def _packets(replay: Replay) -> Iterable[dict[str, Any]]:
    assert replay.columns is not None
    assert replay.packet_frames is not None
    for index, (row, frames) in enumerate(zip(replay.columns, replay.packet_frames, strict=True)):
        yield {
            "index": index,
            "verdict": VERDICT_NAMES[row["verdict"]],
            "reason": reason_of(int(row["reason"])).name,
            "errno": int(row["errno"]),
            "frames": [{"device": frame.device, "hex": frame.data.hex()} for frame in frames],
        }


def objects_of(replay: Replay) -> list[Any]:
    """The objects whose programs the routes carry."""
    objects = [getattr(program, "object", None) for route in replay.routes for program in route.programs]
    return list({id(one): one for one in objects if one is not None}.values())


def maps_of(objects: Iterable[Any]) -> dict[str, list[dict[str, Any]]]:
    """The maps of loaded objects, as plain values: name to entries. Constants are left out, and so are maps that
    cannot be listed (ring buffers, queues)."""
    return {name: entries_of(view) for name, view in listed_maps(objects).items()}


def entries_of(view: MapView) -> list[dict[str, Any]]:
    """The entries of a map, as plain values."""
    return [{"key": plain(key), "value": plain(value)} for key, value in view.items()]


def listed_maps(objects: Iterable[Any]) -> dict[str, MapView]:
    """The maps of loaded objects that a report lists, by name; the second of a name is name#2, and so on."""
    found: dict[str, MapView] = {}
    for one in objects:
        for name, view in one.maps.items():
            if view.raw.definition.kind not in _HIDDEN_KINDS and view.raw.definition.key_size:
                number = sum(known.partition("#")[0] == name for known in found)
                found[f"{name}#{number + 1}" if number else name] = view
    return found


def plain(value: Any) -> Any:
    """A value as JSON has it: bytes as hex."""
    if isinstance(value, bytes | bytearray):
        return bytes(value).hex()
    if isinstance(value, Mapping):
        return {key: plain(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [plain(one) for one in value]
    return value
