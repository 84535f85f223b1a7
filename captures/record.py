"""Records the captures of this folder: real programs talking over veth pairs between network namespaces.

    sudo python3 captures/record.py [DIRECTORY]      # writes web.pcap, mail-and-dns.pcapng, probes.pcap

Needs root, Linux and: ip, tcpdump, dumpcap (Wireshark), curl, ping, dnsmasq, dig. What each capture holds is in README.md.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

HERE = Path(__file__).resolve().parent
TALKERS = HERE / "talkers.py"
TOOLS = ("ip", "tcpdump", "dumpcap", "curl", "ping", "dnsmasq", "dig")
NEAR, FAR = "rbpf-near", "rbpf-far"  # packets are recorded in NEAR

SIOCETHTOOL = 0x8946
ETHTOOL_STXCSUM = 0x17


def run(*command: str, namespace: str | None = None, quiet: bool = False, check: bool = True) -> None:
    subprocess.run(inside(namespace, command), check=check, stdout=subprocess.DEVNULL if quiet else None)


def inside(namespace: str | None, command: tuple[str, ...]) -> list[str]:
    return ["ip", "netns", "exec", namespace, *command] if namespace else list(command)


@contextmanager
def program(*command: str, namespace: str, directory: Path | None = None) -> Iterator[None]:
    """Run `command` in `namespace` for the length of the block; end it as Ctrl-C would."""
    process = subprocess.Popen(inside(namespace, command), cwd=directory, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        time.sleep(1.0)  # the program opens its sockets
        if process.poll() is not None:
            raise SystemExit(f"{command[0]} ended at once, exit {process.returncode}: {' '.join(command)}")
        yield
        time.sleep(1.0)  # a recorder's buffer of packets reaches it
    finally:
        process.send_signal(signal.SIGINT)
        process.wait(10)


@contextmanager
def namespaces() -> Iterator[None]:
    """Two namespaces joined by two veth pairs: `lan0` (10.1.0.0/24, fd00:1::/64) and `lan1` (10.2.0.0/24, fd00:2::/64)."""
    try:
        for name in (NEAR, FAR):
            run("ip", "netns", "add", name)
            run("ip", "-n", name, "link", "set", "lo", "up")
        for number in (1, 2):
            join(f"lan{number - 1}", number)
        time.sleep(2.5)  # IPv6 duplicate address detection
        yield
    finally:
        for name in (NEAR, FAR):
            run("ip", "netns", "del", name, check=False)


def join(device: str, network: int) -> None:
    run("ip", "link", "add", device, "netns", NEAR, "type", "veth", "peer", "name", device, "netns", FAR)
    for namespace, hosts in ((NEAR, (100,)), (FAR, (1, 2, 3, 25, 53, 80))):
        for host in hosts:
            run("ip", "-n", namespace, "addr", "add", f"10.{network}.0.{host}/24", "dev", device)
            run("ip", "-n", namespace, "addr", "add", f"fd00:{network}::{host}/64", "dev", device, "nodad")
        run("ip", "-n", namespace, "link", "set", device, "up")


def checksums_in_software(device: str) -> None:
    """In this process's namespace: no checksum and segmentation offload, so that frames are as a wire would carry them."""
    value = bytearray(struct.pack("II", ETHTOOL_STXCSUM, 0))
    address = (memoryview(value).obj, fcntl)  # keep both alive over the call
    import ctypes

    buffer = (ctypes.c_char * len(value)).from_buffer(value)
    request = struct.pack("16sP", device.encode(), ctypes.addressof(buffer))
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as control:
        fcntl.ioctl(control, SIOCETHTOOL, request + bytes(16))
    del address
