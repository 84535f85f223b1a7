"""The talkers of the captures that no installed program is: a mail server, a port scanner and a sender of bursts.

python3 captures/talkers.py mail PORT
python3 captures/talkers.py scan ADDRESS FIRST_PORT LAST_PORT
python3 captures/talkers.py burst ADDRESS PORT COUNT SIZE_BYTES
"""

from __future__ import annotations

import contextlib
import socket
import socketserver
import sys
from collections.abc import Callable
from typing import ClassVar


class MailConversation(socketserver.StreamRequestHandler):
    """The server's side of one SMTP connection (RFC 5321): takes every mail and keeps none."""

    REPLIES: ClassVar = {
        b"EHLO": "250-mail.example.org\r\n250 8BITMIME",
        b"HELO": "250 mail.example.org",
        b"MAIL": "250 sender ok",
        b"RCPT": "250 recipient ok",
        b"RSET": "250 ok",
        b"NOOP": "250 ok",
        b"DATA": "354 end with a dot on a line of its own",
        b"QUIT": "221 mail.example.org closing",
    }

    def handle(self) -> None:
        self.say("220 mail.example.org ESMTP")
        for line in self.rfile:
            verb = line[:4].upper()
            self.say(self.REPLIES.get(verb, "502 not implemented"))
            if verb == b"DATA":
                while self.rfile.readline() not in (b".\r\n", b""):
                    pass
                self.say("250 taken")
            elif verb == b"QUIT":
                return

    def say(self, reply: str) -> None:
        self.wfile.write(reply.encode() + b"\r\n")


class MailServer(socketserver.ThreadingTCPServer):
    """On all addresses of both families."""

    address_family = socket.AF_INET6
    allow_reuse_address = True
    daemon_threads = True

    def server_bind(self) -> None:
        self.socket.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        super().server_bind()


def mail(port: str) -> None:
    with MailServer(("::", int(port)), MailConversation) as server:
        server.serve_forever()


def scan(address: str, first: str, last: str) -> None:
    """Try each port of `address` in turn, and close at once what opens."""
    for port in range(int(first), int(last) + 1):
        with contextlib.suppress(ConnectionRefusedError):
            socket.create_connection((address, port), timeout=2).close()


def burst(address: str, port: str, count: str, size_bytes: str) -> None:
    """Send `count` datagrams as fast as they go."""
    family, kind, protocol, _, destination = socket.getaddrinfo(address, int(port), type=socket.SOCK_DGRAM)[0]
    with socket.socket(family, kind, protocol) as sender:
        for number in range(int(count)):
            sender.sendto(number.to_bytes(4, "big") + bytes(int(size_bytes) - 4), destination)


TALKERS: dict[str, Callable[..., None]] = {"mail": mail, "scan": scan, "burst": burst}

if __name__ == "__main__":
    if len(sys.argv) < 2 or sys.argv[1] not in TALKERS:
        sys.exit(__doc__)
    TALKERS[sys.argv[1]](*sys.argv[2:])
