"""The ledger: what we put on routes of a network namespace, on disk, so that it outlives any command.

It is a folder of /run/routebpf (or of what the environment variable ROUTEBPF_RUN names) for each namespace, called as
its inode, that only root may enter: `ledger.json`, written anew as a whole, synced and renamed; `lock`, held by the
command that changes routes; BTF of the programs. A ledger of a namespace that is gone, whose inode another has by now,
is known by the kernel's cookie of the namespace and by the boot.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import hashlib
import json
import os
import re
import socket
import struct
import time
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from itertools import groupby
from operator import itemgetter
from typing import Any, NamedTuple

from routebpf.errors import InputError, MissingError
from routebpf.kernel.namespaces import FOLDER, Namespace, open_socket, run_inside
from routebpf.kernel.netlink import attributes, read_attributes
from routebpf.kernel.route_bulk import DST_BYTES, Shape
from routebpf.kernel.route_identity import Place, RouteKey, place_bytes, read_key, runs
from routebpf.kernel.routes import KernelRoute
from routebpf.kernel.running import setting

_FOLDER = "/run/routebpf"
_SO_NETNS_COOKIE = 71
_FORMAT = 4
_NAME_FILE = "namespace"
_MOUNTED_NAMESPACE = re.compile(r" net:\[(\d+)\] ")
_WAIT_SECONDS = 30.0
_POLL_SECONDS = 0.02
# What reading it may come to if it is not as it was written.
_DAMAGE = (ValueError, KeyError, TypeError, IndexError, AttributeError, RecursionError, struct.error, OSError)


class NamespaceIdentity(NamedTuple):
    """Which network namespace it is. `cookie`: never given twice in a boot; 0 before Linux 5.14. `boot`: its id."""

    inode: int
    cookie: int
    boot: str


class MapRecord(NamedTuple):
    """A map that a program of ours uses: its pin, the digest of its definition (see map_digest), its kernel id. The
    types of keys and values are those of the program's BTF: the kernel's are those of the program that made it."""

    pin: str
    digest: str
    id: int
    btf_key_type_id: int
    btf_value_type_id: int


class ProgramRecord(NamedTuple):
    """A program that we loaded. `name` is what routes carry: FUNCTION:TAG:ID. `folder`: of its pins. `digest`: of all
    that it was made of (see map_digest). `btf`: the file that holds its types, "" if it has none."""

    name: str
    function: str
    program_type: str
    tag: str
    id: int
    digest: str
    object: str
    folder: str
    btf: str
    loaded_at: float
    maps: Mapping[str, MapRecord]

    @property
    def pin(self) -> str:
        return f"{self.folder}/program"


@dataclass(frozen=True)
class Carried:
    """What we have on a route: names of programs by hook ("in", "out", "xmit"), headroom in bytes. None: as it was."""

    programs: Mapping[str, str] = field(default_factory=dict)
    headroom: int = 0

    @cached_property
    def names(self) -> dict[str, str]:
        """What the route calls its programs, by hook. The kernel tells encaps apart by these names alone, and does not
        tell their headroom, so it is part of them."""
        suffix = f"+{self.headroom}" if self.headroom else ""
        return {hook: f"{name}{suffix}" for hook, name in self.programs.items()}

    def __bool__(self) -> bool:
        return bool(self.programs)


class Entry(NamedTuple):
    """What there is to know of a route of ours; routes that are alike share one. `was`: before we came, None if we made
    it. `planned`: what a command that has begun puts on it; None when nothing is under way."""

    was: Shape | None
    carries: Carried
    planned: Carried | None = None

    def settled(self, carries: Carried) -> Entry:
        """With nothing under way."""
        return Entry(self.was, carries)


@dataclass(slots=True)
class Book:
    """What a ledger says: routes by key, programs by the name that routes carry."""

    entries: dict[RouteKey, Entry] = field(default_factory=dict)
    programs: dict[str, ProgramRecord] = field(default_factory=dict)

    def used_programs(self) -> set[str]:
        """The names of programs that some route carries or is about to."""
        entries = {id(one): one for one in self.entries.values()}.values()
        carried = [one for entry in entries for one in (entry.carries, entry.planned) if one is not None]
        return {name for one in carried for name in one.programs.values()}


class Ledger:
    """The ledger of a namespace. `book` is what it said when it was read; `write` makes it say what `book` says now."""

    def __init__(self, identity: NamespaceIdentity) -> None:
        self.identity = identity
        self.folder = os.path.join(run_folder(), str(identity.inode))
        self.is_stale = False
        self.book = self._read()

    @property
    def path(self) -> str:
        return os.path.join(self.folder, "ledger.json")

    @property
    def _unfinished(self) -> str:
        return os.path.join(self.folder, "ledger.new")

    def write(self) -> None:
        """Make it durable: written beside, synced, renamed, and the folder synced. Raises MissingError."""
        if not self.book.entries and not self.book.programs:
            self._remove()
            return
        text = json.dumps(_book_to_json(self.book, self.identity), separators=(",", ":"))
        new = self._unfinished
        try:
            with open(new, "wb", opener=_private) as file:
                file.write(_sealed(text.encode()))
                file.flush()
                os.fsync(file.fileno())
            os.rename(new, self.path)
            _sync_folder(self.folder)
        except OSError as error:
            with contextlib.suppress(OSError):
                os.unlink(new)  # where there is no room, it would take what is left
            raise _cannot("write", self.path, error) from error
        self.is_stale = False

    def add_btf(self, name: str, data: bytes) -> str:
        """Keep BTF beside the ledger: the path of its file."""
        path = os.path.join(self.folder, f"{name}.btf")
        try:
            with open(path, "wb", opener=_private) as file:
                file.write(data)
        except OSError as error:
            raise _cannot("write", path, error) from error
        return path

    def remove_unused_files(self) -> None:
        """Remove BTF that no program of the book has, and a ledger that nobody finished writing."""
        _remove_file(self._unfinished)
        used = {os.path.basename(one.btf) for one in self.book.programs.values()}
        for name in os.listdir(self.folder):
            if name.endswith(".btf") and name not in used:
                _remove_file(os.path.join(self.folder, name))

    def _remove(self) -> None:
        _remove_file(self.path)
        if os.path.isdir(self.folder):
            _sync_folder(self.folder)

    def _read(self) -> Book:
        try:
            with open(self.path, "rb") as file:
                data = file.read()
        except FileNotFoundError:
            return Book()
        except OSError as error:
            raise _cannot("read", self.path, error) from error
        try:
            found = json.loads(data)
            if found["format"] != _FORMAT:
                raise InputError(
                    f"{self.path}: it was written by another version of routebpf (format {found['format']})"
                )
            if data != _sealed(b"{" + data[_SEAL_BYTES:]):
                raise ValueError("its sha256 is another")
            if (found["cookie"], found["boot"]) != (self.identity.cookie, self.identity.boot):
                self.is_stale = True
                return Book()
            return _book_from_json(found)
        except _DAMAGE as error:
            raise InputError(
                f"{self.path}: it is damaged ({type(error).__name__}: {error}); nothing is changed until it is"
                " moved away; then programs on routes count as others' (list shows them, detach --force takes them off)"
            ) from error


def run_folder() -> str:
    """The folder of all ledgers."""
    return os.environ.get("ROUTEBPF_RUN") or _FOLDER


def identify(namespace: Namespace | None) -> NamespaceIdentity:
    """Which namespace that is; None: this process's."""
    inode = run_inside(namespace, lambda: os.stat("/proc/thread-self/ns/net").st_ino)
    with open_socket(namespace, socket.AF_INET, socket.SOCK_DGRAM) as sock:
        try:
            cookie = int.from_bytes(sock.getsockopt(socket.SOL_SOCKET, _SO_NETNS_COOKIE, 8), "little")
        except OSError:
            cookie = 0
    return NamespaceIdentity(inode, cookie, setting("/proc/sys/kernel/random/boot_id") or "")


def read_ledger(identity: NamespaceIdentity) -> Ledger:
    """A ledger, to look at: whoever changes it waits for the lock (`locked_ledger`)."""
    return Ledger(identity)


@contextmanager
def locked_ledger(
    identity: NamespaceIdentity, namespace: Namespace | None = None, *, wait_seconds: float = _WAIT_SECONDS
) -> Iterator[Ledger]:
    """A ledger, to change: no other command does meanwhile. The kernel drops the lock of a process that dies.
    `namespace`: what the namespace is called, which is noted, so that it is known when it is gone.

    Raises InputError if another command holds it for so long, MissingError if this process may not write there.
    """
    folder = os.path.join(run_folder(), str(identity.inode))
    path = os.path.join(folder, "lock")
    try:
        for one in (run_folder(), folder):
            os.makedirs(one, mode=0o700, exist_ok=True)
        lock = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise _cannot("write", path, error) from error
    try:
        _take(lock, path, time.monotonic() + wait_seconds)
        try:
            os.truncate(lock, 0)
            os.pwrite(lock, f"{os.getpid()}\n".encode(), 0)
            if namespace is not None:
                with open(os.path.join(folder, _NAME_FILE), "w", opener=_private) as file:
                    file.write(namespace.name)
        except OSError as error:
            raise _cannot("write", folder, error) from error
        yield Ledger(identity)
    finally:
        os.close(lock)


def _take(lock: int, path: str, deadline: float) -> None:
    while True:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return
        except BlockingIOError:
            if time.monotonic() > deadline:
                holder = os.pread(lock, 32, 0).decode(errors="replace").strip()
                raise InputError(
                    f"{path}: process {holder or 'unknown'} is changing routes of this namespace; try again later"
                ) from None
            time.sleep(_POLL_SECONDS)


def remove_ledgers_of_gone_namespaces(*, besides: int) -> list[int]:
    """Remove the ledgers of namespaces that had a name, and neither any name nor a process any more: their inodes.
    `besides`: one that the caller holds."""
    noted = [(inode, name) for inode, name in _noted_names() if inode != besides]
    gone = [inode for inode, name in noted if _inode_of(os.path.join(FOLDER, name)) != inode]
    if gone:
        alive = _living_inodes()
        gone = [inode for inode in gone if inode not in alive]
    for inode in gone:
        remove_folder(os.path.join(run_folder(), str(inode)))
    return gone


def remove_folder(path: str) -> None:
    """Remove a folder with all that is in it, as far as it can be."""
    import shutil  # only here: it takes 3 ms to import

    shutil.rmtree(path, ignore_errors=True)


def _living_inodes() -> set[int | None]:
    """The network namespaces that a process is in, or that are mounted somewhere: a name that was noted may be that of
    an earlier namespace, whose inode another one has by now."""
    of_processes = {_inode_of(f"/proc/{process}/ns/net") for process in _numbers_in("/proc")}
    mounts = "".join(setting(f"/proc/{process}/mountinfo") or "" for process in ("self", "1"))
    return of_processes | {int(inode) for inode in _MOUNTED_NAMESPACE.findall(mounts)}


def _noted_names() -> Iterator[tuple[int, str]]:
    """The namespaces that have ledgers and a name: inode and name."""
    for inode in _numbers_in(run_folder()):
        with contextlib.suppress(OSError), open(os.path.join(run_folder(), str(inode), _NAME_FILE)) as file:
            yield inode, file.read()


def _numbers_in(folder: str) -> list[int]:
    """The files of a folder that are called as a number."""
    return [int(name) for name in os.listdir(folder) if name.isdecimal()]


def _inode_of(path: str) -> int | None:
    try:
        return os.stat(path).st_ino
    except OSError:
        return None


def _remove_file(path: str) -> None:
    with contextlib.suppress(FileNotFoundError):
        os.unlink(path)


def _private(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_CLOEXEC, 0o600)


def _sync_folder(folder: str) -> None:
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def _cannot(verb: str, path: str, error: OSError) -> MissingError:
    advice = "; run it as root, or name another folder with ROUTEBPF_RUN" if error.errno == errno.EACCES else ""
    return MissingError(f"cannot {verb} the ledger {path}: {error.strerror}{advice}")


# To and from JSON


def _sealed(text: bytes) -> bytes:
    """A JSON object with one more member before the others: their digest, which tells whether they were damaged."""
    return b'{"sha256":"%s",' % hashlib.sha256(text).hexdigest().encode() + text[1:]


_SEAL_BYTES = len(_sealed(b""))


def _book_to_json(book: Book, identity: NamespaceIdentity) -> dict[str, Any]:
    return {
        "format": _FORMAT,
        "boot": identity.boot,
        "cookie": identity.cookie,
        "programs": [_program_to_json(one) for one in book.programs.values()],
        "routes": _entries_to_json(book.entries),
    }


def _program_to_json(record: ProgramRecord) -> dict[str, Any]:
    return {**record._asdict(), "maps": {name: list(held) for name, held in record.maps.items()}}


def _entries_to_json(entries: Mapping[RouteKey, Entry]) -> list[dict[str, Any]]:
    """Routes that are alike but for their destinations stand together: 10,000 take 3 ms so, and 150 one by one."""
    groups: defaultdict[tuple[bytes, int], list[RouteKey]] = defaultdict(list)
    for family, keys in groupby(entries, itemgetter(0)):
        for (place, entry), alike in runs(keys, itemgetter(slice(-DST_BYTES[family])), entries.get):
            groups[place, id(entry)] += alike
    return [_group_to_json(keys, entries[keys[0]]) for keys in groups.values()]


def _group_to_json(keys: Sequence[RouteKey], entry: Entry) -> dict[str, Any]:
    place = read_key(keys[0])
    size = len(place.dst)
    made: dict[str, Any] = {
        "family": int(place.family),
        "length": place.dst_len,
        "from": place.source,
        "tos": place.tos,
        "table": place.table,
        "metric": place.metric,
        "has_gateway": bool(place.has_gateway),
        "was": _route_to_json(entry.was.route) if entry.was is not None else None,
        "carries": [dict(entry.carries.programs), entry.carries.headroom],
        "destinations": b"".join([key[-size:] for key in keys]).hex(" ", size),
    }
    if entry.planned is not None:
        made["planned"] = [dict(entry.planned.programs), entry.planned.headroom]
    return made


def _route_to_json(route: KernelRoute) -> list[Any]:
    numbers = (route.family, route.dst_len, route.src_len, route.tos, route.rtm_table, route.protocol)
    return [*numbers, route.scope, route.type, route.flags, attributes(route.attributes).hex()]


def _book_from_json(found: Mapping[str, Any]) -> Book:
    programs = [
        ProgramRecord(**{**one, "maps": {name: MapRecord(*fields) for name, fields in one["maps"].items()}})
        for one in found["programs"]
    ]
    entries: dict[RouteKey, Entry] = {}
    for group in found["routes"]:
        entries |= _group_from_json(group)
    return Book(entries, {one.name: one for one in programs})


def _group_from_json(found: Mapping[str, Any]) -> dict[RouteKey, Entry]:
    family = found["family"]
    address, _, bits = (found["from"] or "").partition("/")
    source = socket.inet_pton(family, address) if address else b""
    place = place_bytes(
        Place(
            family, found["length"], int(bits or 0), found["tos"], found["has_gateway"], found["table"],
            found["metric"], source, b"",
        )
    )  # fmt: skip
    entry = Entry(
        None if found["was"] is None else Shape(_route_from_json(found["was"])),
        Carried(*found["carries"]),
        Carried(*found["planned"]) if "planned" in found else None,
    )
    keys = [RouteKey(place + bytes.fromhex(one)) for one in found["destinations"].split()]
    return dict.fromkeys(keys, entry)


def _route_from_json(found: list[Any]) -> KernelRoute:
    family, dst_len, src_len, tos, table, protocol, scope, kind, flags, held = found
    return KernelRoute(
        family=family, dst_len=dst_len, src_len=src_len, tos=tos, rtm_table=table, protocol=protocol, scope=scope,
        type=kind, flags=flags, attributes=tuple(read_attributes(bytes.fromhex(held))),
    )  # fmt: skip
