"""Netlink to the kernel's routing: requests, answers, dumps and refusals over one NETLINK_ROUTE socket.

Attributes travel as raw (type, bytes) pairs, so that what this version does not know of is neither lost nor changed.
kernel: net/netlink/af_netlink.c, net/core/rtnetlink.c; RFC 3549.
"""

from __future__ import annotations

import errno as _errno
import os
import socket
import struct
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from types import TracebackType
from typing import NamedTuple, Self

from routebpf.errors import Error, InputError, MissingError

Attributes = tuple[tuple[int, bytes], ...]
Rest = list[tuple[int, int, bytes]]

NLM_F_REQUEST, NLM_F_ACK, NLM_F_DUMP = 0x1, 0x4, 0x300
NLM_F_REPLACE, NLM_F_EXCL, NLM_F_CREATE, NLM_F_APPEND = 0x100, 0x200, 0x400, 0x800
NLA_F_NESTED = 0x8000

_NETLINK_ROUTE = 0
_SOL_NETLINK = 270
_NETLINK_ADD_MEMBERSHIP, _NETLINK_DROP_MEMBERSHIP = 1, 2
_NETLINK_CAP_ACK, _NETLINK_EXT_ACK, _NETLINK_GET_STRICT_CHK = 10, 11, 12
_NLMSG_NOOP, _NLMSG_ERROR, _NLMSG_DONE = 1, 2, 3
_NLM_F_ACK_TLVS = 0x200
_NLMSGERR_ATTR_MSG = 1
_NLA_TYPE_MASK = 0x3FFF
_HEADER = struct.Struct("=IHHII")
_SEQUENCE_AT = 8  # in the header
_ATTRIBUTE = struct.Struct("=HH")
_DONE_BYTES = 4  # an errno
_ERROR_BYTES = _DONE_BYTES + _HEADER.size  # and the header of the request, whose body NETLINK_CAP_ACK leaves out
_RECEIVE_BYTES = 1 << 17
_ROOM_BYTES = 4 << 20  # the socket's own buffer: answers to a whole batch
_BATCH_BYTES = 1 << 16  # of requests sent at once, which is less than what a socket may send
_REFUSAL_BYTES = 2048  # more than a refusal takes of the buffer; what does not fit in is lost, with ENOBUFS


class Message(NamedTuple):
    """A message: its type (RTM_*), its fixed header and the attributes behind that, undecoded."""

    type: int
    body: bytes


class Requests(NamedTuple):
    """Requests of one type whose padded bodies are alike but for some bytes of each, the same number in all: `each`.
    `before` and `behind` are what stands around them."""

    type: int
    before: bytes
    each: Sequence[bytes]
    behind: bytes = b""


class Refusal(NamedTuple):
    """The kernel's no: errno (positive), and what it says of it, if anything."""

    errno: int
    text: str = ""

    def error(self, doing: str) -> Error:
        """The error to raise. `doing`: what was asked for, as "adding route 10.0.0.0/8"."""
        name = f"{os.strerror(self.errno)} ({_errno.errorcode.get(self.errno, self.errno)})"
        said = f"{doing}: {self.text.rstrip('.')}: {name}" if self.text else f"{doing}: {name}"
        if self.errno == _errno.EPERM:
            return NetlinkMissingError(f"{said}; this needs CAP_NET_ADMIN: run it as root", self.errno)
        if self.errno == _errno.EOPNOTSUPP:
            return NetlinkMissingError(f"{said}; the running kernel was built without it", self.errno)
        return NetlinkError(said, self.errno)


class NetlinkError(InputError):
    """The kernel refused a request. `errno` is positive."""

    def __init__(self, message: str, errno: int) -> None:
        super().__init__(message)
        self.errno = errno


class NetlinkMissingError(MissingError):
    """The kernel refused a request because it, or the process, lacks something. `errno` is positive."""

    def __init__(self, message: str, errno: int) -> None:
        super().__init__(message)
        self.errno = errno


# Attributes


def attribute(kind: int, value: bytes) -> bytes:
    """One attribute, padded."""
    size = _ATTRIBUTE.size + len(value)
    return _ATTRIBUTE.pack(size, kind) + value + bytes(-size % 4)


def attributes(pairs: Iterable[tuple[int, bytes]]) -> bytes:
    """Attributes in order."""
    return b"".join(attribute(kind, value) for kind, value in pairs)


def read_attributes(data: bytes) -> Iterator[tuple[int, bytes]]:
    """The attributes in `data`, without their flags (NLA_F_NESTED). What is cut short ends them."""
    at = 0
    while at + _ATTRIBUTE.size <= len(data):
        size, kind = _ATTRIBUTE.unpack_from(data, at)
        if size < _ATTRIBUTE.size or at + size > len(data):
            return
        yield kind & _NLA_TYPE_MASK, data[at + _ATTRIBUTE.size : at + size]
        at += size + -size % 4


# The socket


class RouteSocket:
    """A NETLINK_ROUTE socket, a context manager. `sock`: one that is open already (see `namespaces.open_socket`);
    None opens it in the network namespace of this thread."""

    def __init__(self, sock: socket.socket | None = None) -> None:
        self._socket = sock or socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, _NETLINK_ROUTE)
        self._sequence = 0
        for option in (_NETLINK_CAP_ACK, _NETLINK_EXT_ACK, _NETLINK_GET_STRICT_CHK):
            self._socket.setsockopt(_SOL_NETLINK, option, 1)
        for option in (socket.SO_RCVBUF, socket.SO_SNDBUF):
            self._socket.setsockopt(socket.SOL_SOCKET, option, _ROOM_BYTES)
        # The kernel grants what net.core.rmem_max allows, which is a twentieth of it where nobody raised that.
        room = self._socket.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF)
        self._most_refusals = max(room // _REFUSAL_BYTES, 1)
        self._socket.bind((0, 0))
        # The kernel makes parts of a dump as long as what was once asked for, at most 32 KiB, and the first one of a
        # page at most: a route that is longer would end the list there, as if that were all. netlink_dump()
        self.request(_NLMSG_NOOP, b"", "asking the kernel for nothing")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: BaseException | TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        self._socket.close()

    def request(self, kind: int, body: bytes, doing: str, *, flags: int = 0) -> list[Message]:
        """Ask for one thing: the messages that answer it, if any. Raises the refusal's error (see `Refusal.error`)."""
        answers, refusal = self.ask(kind, body, flags=flags)
        if refusal is not None:
            raise refusal.error(doing)
        return answers

    def ask(self, kind: int, body: bytes, *, flags: int = 0) -> tuple[list[Message], Refusal | None]:
        """As `request`, with the refusal as a value."""
        self._sequence += 1
        self._socket.send(_message(kind, body, flags | NLM_F_REQUEST | NLM_F_ACK, self._sequence))
        return self._answer(self._sequence)

    def batch(self, requests: Iterable[Requests], *, flags: int = 0) -> dict[int, Refusal]:
        """Ask for many things at once: those that were refused, by their number in `requests`, from 0."""
        first = self._sequence + 1
        refusals: dict[int, Refusal] = {}
        for data, last in _datagrams(requests, flags | NLM_F_REQUEST, first, self._most_refusals):
            for sequence, refusal in self._send_batch(data, last):
                if sequence >= first:  # not one of a batch that was interrupted
                    refusals[sequence - first] = refusal
        return refusals

    def dump(self, kind: int, body: bytes, doing: str) -> Iterator[Message]:
        """All objects of a kind. A dump that changes disturbed is not made anew: its parts are each right."""
        self._sequence += 1
        sequence = self._sequence
        self._socket.send(_message(kind, body, NLM_F_REQUEST | NLM_F_DUMP, sequence))
        answers, refusal = self._answer(sequence)
        if refusal is not None:
            raise refusal.error(doing)
        yield from answers

    def dump_datagrams(
        self, kind: int, body: bytes, doing: str, read: Callable[[bytes], Rest], *, group: int = 0
    ) -> bool:
        """As `dump`, for a reader of many objects: `read` takes whole datagrams, and returns what of the messages in
        them is not an object: (type, flags, body). Whether nothing of the multicast group `group` came meanwhile."""
        self._sequence += 1
        with self._member_of(group):
            self._socket.send(_message(kind, body, NLM_F_REQUEST | NLM_F_DUMP, self._sequence))
            is_undisturbed = True
            while True:
                data = self._part_of_dump()
                if data is None:
                    is_undisturbed = False
                    continue
                for one, flags, rest in read(data):
                    if one in (_NLMSG_ERROR, _NLMSG_DONE):
                        refusal = _refusal(flags, rest, _ERROR_BYTES if one == _NLMSG_ERROR else _DONE_BYTES)
                        if refusal is not None:
                            raise refusal.error(doing)
                        return is_undisturbed

    @contextmanager
    def _member_of(self, group: int) -> Iterator[None]:
        """Get the notifications of a multicast group meanwhile; those that were not read by then are dropped."""
        if not group:
            yield
            return
        self._socket.setsockopt(_SOL_NETLINK, _NETLINK_ADD_MEMBERSHIP, group)
        try:
            yield
        finally:
            self._socket.setsockopt(_SOL_NETLINK, _NETLINK_DROP_MEMBERSHIP, group)
            while self._has_more():
                pass

    def _part_of_dump(self) -> bytes | None:
        """A datagram that answers; None if it was a notification, or if so many came that some were lost."""
        try:
            data, (_, groups) = self._socket.recvfrom(_RECEIVE_BYTES)
        except OSError as error:
            if error.errno != _errno.ENOBUFS:
                raise
            return None
        return None if groups else data

    def _has_more(self) -> bool:
        """Whether there was another datagram, which is dropped."""
        try:
            self._socket.recv(_RECEIVE_BYTES, socket.MSG_DONTWAIT)
        except BlockingIOError:
            return False
        except OSError as error:
            if error.errno != _errno.ENOBUFS:
                raise
        return True

    def _send_batch(self, data: bytearray, last: int) -> Iterator[tuple[int, Refusal]]:
        """Send requests whose last one stands at `last`: those refused, by sequence number. Only the last one is
        acknowledged; the others answer where they are refused."""
        size, kind, flags, self._sequence, _ = _HEADER.unpack_from(data, last)
        _HEADER.pack_into(data, last, size, kind, flags | NLM_F_ACK, self._sequence, 0)
        self._socket.send(data)
        answered = 0
        while answered != self._sequence:
            for kind, flags, answered, body in self._receive():
                refusal = _refusal(flags, body, _ERROR_BYTES) if kind == _NLMSG_ERROR else None
                if refusal is not None:
                    yield answered, refusal

    def _answer(self, wanted: int) -> tuple[list[Message], Refusal | None]:
        """The messages up to the acknowledgement, or to the end of a dump."""
        answers: list[Message] = []
        while True:
            for kind, flags, sequence, body in self._receive():
                if sequence != wanted:
                    continue
                if kind == _NLMSG_ERROR:
                    return answers, _refusal(flags, body, _ERROR_BYTES)
                if kind == _NLMSG_DONE:
                    return answers, _refusal(flags, body, _DONE_BYTES)
                answers.append(Message(kind, body))

    def _receive(self) -> Iterator[tuple[int, int, int, bytes]]:
        data = self._socket.recv(_RECEIVE_BYTES)
        at = 0
        while at + _HEADER.size <= len(data):
            size, kind, flags, sequence, _ = _HEADER.unpack_from(data, at)
            if size < _HEADER.size:
                return
            yield kind, flags, sequence, data[at + _HEADER.size : at + size]
            at += size + -size % 4


def _message(kind: int, body: bytes, flags: int, sequence: int) -> bytes:
    return _HEADER.pack(_HEADER.size + len(body), kind, flags, sequence, 0) + body + bytes(-len(body) % 4)


def _datagrams(requests: Iterable[Requests], flags: int, first: int, most: int) -> Iterator[tuple[bytearray, int]]:
    """Messages numbered from `first`, at most so many in one: each datagram, and where its last message starts."""
    data, count, last = bytearray(), 0, 0
    for one in requests:
        size = _HEADER.size + len(one.before) + sum(map(len, one.each[:1])) + len(one.behind)
        done = 0
        while done < len(one.each):
            room = min(most - count, (_BATCH_BYTES - len(data)) // size)
            if room <= 0 and count:
                yield data, last
                data, count = bytearray(), 0
                continue
            more = one._replace(each=one.each[done : done + max(room, 1)])
            data += _messages(more, flags, first)
            taken = len(more.each)
            first, count, done, last = first + taken, count + taken, done + taken, len(data) - size
    if count:
        yield data, last


def _messages(requests: Requests, flags: int, first: int) -> bytearray:
    """Their messages, numbered from `first`. All are laid out at once, then each byte that differs is put into all: a
    tenth of the time of making them one by one."""
    kind, before, each, behind = requests
    at = _HEADER.size + len(before)
    size = at + len(each[0]) + len(behind)
    data = bytearray(_HEADER.pack(size, kind, flags, 0, 0) + before + each[0] + behind) * len(each)
    numbers = struct.pack(f"={len(each)}I", *range(first, first + len(each)))
    for column, values in ((_SEQUENCE_AT, numbers), (at, b"".join(each))):
        width = len(values) // len(each)
        for byte in range(width):
            data[column + byte :: size] = values[byte::width]
    return data


def _refusal(flags: int, body: bytes, tlvs: int) -> Refusal | None:
    """What an acknowledgement says. `tlvs`: where attributes start in it, if it has some."""
    (number,) = struct.unpack_from("=i", body) if len(body) >= 4 else (0,)
    if number >= 0:
        return None
    text = ""
    if flags & _NLM_F_ACK_TLVS:
        said = dict(read_attributes(body[tlvs:])).get(_NLMSGERR_ATTR_MSG, b"")
        text = said.rstrip(b"\0").decode(errors="replace")
    return Refusal(-number, text)
