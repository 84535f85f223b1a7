"""`routebpf map`: the maps of attached programs, typed by their BTF."""

from __future__ import annotations

import errno
import json
import math
import os
import select
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import click

from routebpf.cli.output import json_text, print_json, print_json_list, print_table
from routebpf.cli.route_options import json_option, namespace_named, namespace_option
from routebpf.errors import InputError, RejectedError

if TYPE_CHECKING:
    from routebpf.hosts.map_view import MapView
    from routebpf.kernel.maps import KernelMap

_program_option = click.option(
    "--program", metavar="NAME", help="The program whose map is meant, where several have one of that name."
)
_NEGATIVE = {"ignore_unknown_options": True}  # -5 is a key or a value
_LOOK_SECONDS = 0.5  # how often to look whether somebody still reads what is shown
_SHOWN_CHARACTERS = 20  # of what cannot be read
_RECORDS = frozenset({4, 27})  # PERF_EVENT_ARRAY, RINGBUF: records that come, not entries that stay


@click.group(epilog="Example: routebpf map dump traffic_by_destination")
def command() -> None:
    """Read and change maps of attached programs. MAP is a map's name, the path of a pin, or id:N."""


@contextmanager
def _opened(namespace: str | None, name: str, program: str | None) -> Iterator[MapView]:
    from routebpf.hosts.attached_maps import open_view

    with open_view(namespace_named(namespace), name, program) as view:
        yield view


@command.command("list")
@namespace_option
@json_option
def list_command(namespace: str | None, as_json: bool) -> None:
    """List the maps of attached programs."""
    from routebpf.hosts.attached_maps import list_maps
    from routebpf.kernel.attached_programs import open_map_of_ours

    rows: list[dict[str, Any]] = []
    for one in list_maps(namespace_named(namespace)):
        with open_map_of_ours(one.pin, one.id) as raw:
            definition = raw.definition
            rows.append(
                {
                    "name": one.name,
                    "id": one.id,
                    "type": raw.type_name,
                    "key_size": definition.key_size,
                    "value_size": definition.value_size,
                    "max_entries": definition.max_entries,
                    "programs": list(one.programs),
                    "pin": one.pin,
                }
            )
    if as_json:
        print_json(rows)
    elif not rows:
        click.echo("no attached program has maps")
    else:
        columns = ["name", "id", "type", "key_size", "value_size", "max_entries"]
        lines = [[*(str(row[name]) for name in columns), ", ".join(row["programs"])] for row in rows]
        print_table([*(name.replace("_", " ") for name in columns), "programs"], lines)


@command.command("dump")
@click.argument("name", metavar="MAP")
@_program_option
@namespace_option
@json_option
def dump_command(name: str, program: str | None, namespace: str | None, as_json: bool) -> None:
    """Show the entries of MAP; --json has all of them."""
    with _opened(namespace, name, program) as view:
        _check_has_entries(view)
        if as_json:
            print_json_list({"key": key, "value": value} for key, value in view.items())
        else:
            from routebpf.cli.map_output import print_map

            print_map(view.name, view)


@command.command("get", context_settings=_NEGATIVE)
@click.argument("name", metavar="MAP")
@click.argument("key")
@_program_option
@namespace_option
@json_option
def get_command(name: str, key: str, program: str | None, namespace: str | None, as_json: bool) -> None:
    """Show the value that KEY has in MAP. Keys are as map dump shows them, or JSON."""
    with _opened(namespace, name, program) as view:
        _check_has_entries(view)
        try:
            value = view[_parsed(view, key, of_key=True)]
        except KeyError:
            raise RejectedError(f"map {name}: it has no key {key}") from None
        if as_json:
            print_json(value)
        else:
            members = view.value_members(value)
            if members:
                print_table(["member", "value"], list(members.items()))
            else:
                click.echo(view.value_text(value))


@command.command("set", context_settings=_NEGATIVE)
@click.argument("name", metavar="MAP")
@click.argument("key")
@click.argument("value")
@_program_option
@namespace_option
def set_command(name: str, key: str, value: str, program: str | None, namespace: str | None) -> None:
    """Set the value of KEY in MAP: a number, an address, text, or JSON such as '{"packets": 0}'.

    In a map with a value for each CPU all are set, or each by a JSON list. In a map of maps it is id:N.
    """
    with _opened(namespace, name, program) as view:
        _check_has_entries(view)
        at = _parsed(view, key, of_key=True)
        if view.holds_maps:
            with _inner_map(view, value) as inner:
                view[at] = inner.fd
        else:
            view[at] = _parsed(view, value, of_key=False)


@command.command("delete", context_settings=_NEGATIVE)
@click.argument("name", metavar="MAP")
@click.argument("key")
@_program_option
@namespace_option
def delete_command(name: str, key: str, program: str | None, namespace: str | None) -> None:
    """Delete KEY from MAP."""
    with _opened(namespace, name, program) as view:
        _check_has_entries(view)
        try:
            del view[_parsed(view, key, of_key=True)]
        except KeyError:
            raise RejectedError(f"map {name}: it has no key {key}") from None


def _number(_ctx: click.Context, _param: click.Parameter, value: float) -> float:
    """FloatRange takes nan, which is in every range."""
    if math.isnan(value):
        raise click.BadParameter("nan is no number of seconds")
    return value


@command.command("watch")
@click.argument("name", metavar="MAP")
@click.option(
    "--interval",
    type=click.FloatRange(0.01, 1_000_000),
    callback=_number,
    default=1.0,
    show_default=True,
    help="Seconds.",
)
@click.option("--count", type=click.IntRange(1), help="End after so many records, or looks at the entries.")
@_program_option
@namespace_option
@json_option
def watch_command(
    name: str, interval: float, count: int | None, program: str | None, namespace: str | None, as_json: bool
) -> None:
    """Show what comes: the records of a ring buffer or perf event array, or entries that change. Ctrl-C ends it."""
    if sys.stdout is None:  # it was closed
        return
    with _opened(namespace, name, program) as view:
        lines = _records(view) if view.raw.definition.type in _RECORDS else _changes(view, interval, count)
        for number, line in enumerate(lines, 1):
            click.echo(json_text(line) if as_json else _line(view, line))
            sys.stdout.flush()
            if number == count and view.raw.definition.type in _RECORDS:
                return


def _records(view: MapView) -> Iterator[dict[str, Any]]:
    from routebpf.kernel.perf_reader import PerfReader
    from routebpf.kernel.ringbuf_reader import RingBufReader

    raw: Any = view.raw
    if raw.definition.type == 27:
        with RingBufReader(raw) as ring:
            while True:
                for record in ring.records(_LOOK_SECONDS):
                    yield {"record": record}
                _wait_while_read(0)
    else:
        with PerfReader(raw) as reader:
            while True:
                for cpu, sample in reader.samples(_LOOK_SECONDS):
                    yield {"cpu": cpu, "record": sample}
                _wait_while_read(0)


def _wait_while_read(seconds: float) -> None:
    """Wait. Raises BrokenPipeError when nobody reads the output any more, as after `| head`: nothing may come that
    would be written and would find that out."""
    output = select.poll()
    output.register(sys.stdout.fileno(), 0)
    if output.poll(seconds * 1000):
        raise BrokenPipeError(errno.EPIPE, os.strerror(errno.EPIPE))


def _changes(view: MapView, interval: float, looks: int | None) -> Iterator[dict[str, Any]]:
    """Entries that are new or have another value, the first time all of them; then what changes."""
    _check_has_entries(view)
    before: dict[str, Any] = {}
    look = 0
    while True:
        entries = {view.key_text(key): (key, value) for key, value in view.items()}
        for text, (key, value) in entries.items():
            if text not in before or before[text][1] != value:
                yield {"key": key, "value": value}
        for text in before.keys() - entries.keys():
            yield {"key": before[text][0], "value": None}
        before = entries
        look += 1
        if look == looks:
            return
        _wait_while_read(interval)


def _line(view: MapView, line: dict[str, Any]) -> str:
    if "record" in line:
        cpu = f"CPU {line['cpu']}: " if "cpu" in line else ""
        return f"{cpu}{line['record'].hex()}"
    if line["value"] is None:
        return f"{view.key_text(line['key'])}: deleted"
    return f"{view.key_text(line['key'])}: {view.value_text(line['value'])}"


def _check_has_entries(view: MapView) -> None:
    if view.raw.definition.type in _RECORDS:
        raise InputError(f"map {view.name}: it has no entries; map watch shows its records")
    if not view.raw.definition.key_size:
        raise InputError(f"map {view.name}: its type has no keys")


def _parsed(view: MapView, text: str, *, of_key: bool) -> Any:
    """A key or value from the command line: JSON if it is some, hex for what has no type, and else text."""
    definition = view.raw.definition
    type_id = definition.btf_key_type_id if of_key else definition.btf_value_type_id
    try:
        value = json.loads(text)
    except ValueError:
        value = text
    except RecursionError:
        raise InputError(f"map {view.name}: {text[:_SHOWN_CHARACTERS]}… is nested too deeply") from None
    if type_id:
        return value
    size = definition.key_size if of_key else definition.value_size
    if view.raw.is_per_cpu and not of_key and isinstance(value, list):
        return [_untyped(view, one, one, size, "value") for one in value]
    return _untyped(view, value if isinstance(value, str) else text, value, size, "key" if of_key else "value")


def _untyped(view: MapView, digits: Any, value: Any, size: int, what: str) -> bytes | int:
    """A key or value without BTF: all its bytes in hex digits, as it is shown, or else a number."""
    try:
        data = bytes.fromhex(digits) if isinstance(digits, str) else b""
    except ValueError:
        data = b""
    if len(data) == size:
        return data
    if isinstance(value, int) and 0 <= value < 1 << 8 * size:
        return value
    count = "1 byte" if size == 1 else f"{size} bytes"
    raise InputError(f"map {view.name}: {digits!r} is no {what}: without BTF it is {count} in hex, or a number")


def _inner_map(view: MapView, text: str) -> KernelMap:
    from routebpf.kernel.map_open import map_by_id

    number = text.removeprefix("id:")
    if not number.isdecimal():
        raise InputError(
            f"map {view.name}: {text!r} is no value: its values are maps, each given as id:N (see map list)"
        )
    return map_by_id(int(number))
