"""Records the captures of this folder: real programs talking over veth pairs between network namespaces.

sudo python3 captures/record.py [DIRECTORY]      # writes web.pcap, mail-and-dns.pcapng, probes.pcap

Needs root, Linux and: ip, ethtool, tcpdump, dumpcap (Wireshark), curl, ping, dnsmasq, dig. What each capture holds is
in README.md, whose counts are counted anew by tcpdump at the end.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import struct
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

HERE = Path(__file__).resolve().parent
TALKERS = HERE / "talkers.py"
TOOLS = ("ip", "ethtool", "tcpdump", "dumpcap", "curl", "ping", "dnsmasq", "dig")
NEAR, FAR = "rbpf-near", "rbpf-far"  # packets are recorded in NEAR
LANS = {"lan0": ("10.1.0.{}/24", "fd00:1::{}/64"), "lan1": ("192.168.253.{}/24", "fd00:2::{}/64")}
HOSTS = {NEAR: (100,), FAR: (1, 2, 3, 25, 53, 80)}  # the last number of each address in each network

ZONE = (
    "--host-record=www.example.org,10.1.0.80,fd00:1::80",
    "--host-record=mail.example.org,10.1.0.25,fd00:1::25",
    "--mx-host=example.org,mail.example.org,10",
    "--txt-record=example.org,v=spf1 mx -all",
    "--txt-record=large.example.org," + ",".join([letter * 250 for letter in "abcdefghij"]),
    "--local=/example.org/",
)
MAIL = "From: <sender@example.org>\r\nTo: <reader@example.org>\r\nSubject: The licence\r\n\r\n"


def run(*command: str, namespace: str | None = None) -> None:
    subprocess.run(inside(namespace, command), check=True, stdout=subprocess.DEVNULL)


def inside(namespace: str | None, command: tuple[str, ...]) -> list[str]:
    return ["ip", "netns", "exec", namespace, *command] if namespace else list(command)


def near(*command: str) -> None:
    run(*command, namespace=NEAR)


@contextmanager
def server(*command: str) -> Iterator[None]:
    """`command` runs at the far end for the length of the block."""
    process = subprocess.Popen(inside(FAR, command), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        wait_to_start(process, command)
        yield
    finally:
        process.terminate()
        process.wait(10)


@contextmanager
def recorder(path: Path, *command: str) -> Iterator[None]:
    """`command` records the near end to its standard output, which is `path`; a packet that it missed is an error."""
    with path.open("wb") as output, tempfile.TemporaryFile("w+") as words:
        process = subprocess.Popen(inside(NEAR, command), stdout=output, stderr=words)
        try:
            wait_to_start(process, command)
            yield
            time.sleep(1.5)  # the kernel hands a block of packets over once a second
        finally:
            process.terminate()
            process.wait(10)
        words.seek(0)
        told = words.read()
    lost = re.findall(r"^(\d+) packets dropped by kernel|received/dropped on interface '.*': \d+/(\d+)", told, re.M)
    if not lost or any(int(tcpdumps or dumpcaps) for tcpdumps, dumpcaps in lost):
        raise SystemExit(f"{path.name}: {command[0]} lost packets:\n{told}")


def wait_to_start(process: subprocess.Popen[bytes], command: tuple[str, ...]) -> None:
    time.sleep(1.5)  # the program opens its sockets
    if process.poll() is not None:
        raise SystemExit(f"{command[0]} ended at once, exit {process.returncode}: {' '.join(command)}")


@contextmanager
def network() -> Iterator[None]:
    """Two namespaces joined by two veth pairs, with the addresses of LANS and HOSTS."""
    with ExitStack() as made:
        for name in (NEAR, FAR):
            run("ip", "netns", "add", name)
            made.callback(run, "ip", "netns", "del", name)
            run("ip", "-n", name, "link", "set", "lo", "up")
        for number, (device, prefixes) in enumerate(LANS.items()):
            join(device, number, prefixes)
        time.sleep(2.5)  # IPv6 duplicate address detection
        yield


def join(device: str, number: int, prefixes: tuple[str, str]) -> None:
    run("ip", "link", "add", device, "netns", NEAR, "type", "veth", "peer", "name", device, "netns", FAR)
    for end, (namespace, hosts) in enumerate(HOSTS.items(), start=1):
        run("ip", "-n", namespace, "link", "set", device, "address", f"02:00:00:00:{number:02x}:{end:02x}")
        for host in hosts:
            run("ip", "-n", namespace, "addr", "add", prefixes[0].format(host), "dev", device)
            run("ip", "-n", namespace, "addr", "add", prefixes[1].format(host), "dev", device, "nodad")
        run("ip", "-n", namespace, "link", "set", device, "up")


def offload(state: str) -> None:
    """With "off", checksums and segments are made before a packet is recorded, as a wire would carry it."""
    for namespace in (NEAR, FAR):
        for device in LANS:
            run("ethtool", "-K", device, "tx", state, "sg", state, "tso", state, "gso", state, namespace=namespace)


@contextmanager
def web_server(directory: Path) -> Iterator[None]:
    with server(sys.executable, "-m", "http.server", "80", "--bind", "::", "--directory", str(directory)):
        yield


def get(*urls: str) -> None:
    for url in urls:
        near("curl", "-sS", "-g", "-o", os.devnull, url)


def send_mail(letter: Path, *servers: str) -> None:
    sender = ("--mail-from", "sender@example.org", "--mail-rcpt", "reader@example.org", "--upload-file", str(letter))
    for address in servers:
        near("curl", "-sS", "-g", *sender, f"smtp://{address}/client.example.org")


def record_web(path: Path, scratch: Path) -> None:
    offload("off")
    with web_server(scratch), recorder(path, "tcpdump", "-i", "lan0", "-Z", "root", "-w", "-"):
        for host in ("10.1.0.80", "[fd00:1::80]"):
            get(f"http://{host}/", f"http://{host}/page.txt", f"http://{host}/missing", f"http://{host}/book.txt")
        for host in ("10.1.0.1", "10.1.0.2", "fd00:1::1", "fd00:1::2"):
            near("ping", "-q", "-c", "3", "-i", "0.3", host)
        for host in ("10.1.0.3", "fd00:1::3"):
            near("ping", "-q", "-c", "3", "-i", "0.3", "-s", "4000", host)


def record_mail_and_dns(path: Path, scratch: Path) -> None:
    offload("off")
    alone = ("--conf-file=/dev/null", "--keep-in-foreground", "--user=root", "--pid-file", "--no-resolv", "--no-hosts")
    dns = ("dnsmasq", *alone, "--edns-packet-max=4096", *ZONE)
    with (
        server(*dns),
        server(sys.executable, str(TALKERS), "mail", "25"),
        recorder(path, "dumpcap", "-q", "-i", "lan0", "-i", "lan1", "-w", "-"),
    ):
        for resolver in ("@10.1.0.53", "@192.168.253.53", "@fd00:1::53"):
            near("dig", resolver, "www.example.org", "A", "www.example.org", "AAAA", "example.org", "MX")
            near("dig", resolver, "nobody.example.org", "A", "+tcp", "example.org", "TXT")
            near("dig", resolver, "+bufsize=4096", "large.example.org", "TXT")
        send_mail(scratch / "mail.txt", "10.1.0.25", "192.168.253.25", "[fd00:1::25]", "10.1.0.2", "[fd00:2::25]")
    path.write_bytes(without_machine(path.read_bytes()))


def record_probes(path: Path, scratch: Path) -> None:
    offload("on")
    with (
        web_server(scratch),
        server(sys.executable, str(TALKERS), "mail", "25"),
        recorder(path, "tcpdump", "-i", "any", "-y", "LINUX_SLL2", "-Z", "root", "-w", "-"),
    ):
        near("ping", "-q", "-c", "5", "-i", "0.2", "192.168.253.1")
        near(sys.executable, str(TALKERS), "scan", "10.1.0.3", "1", "150")
        near(sys.executable, str(TALKERS), "scan", "fd00:1::3", "1", "100")
        near(sys.executable, str(TALKERS), "burst", "10.1.0.2", "9", "400", "200")
        near("ping", "-q", "-f", "-c", "300", "fd00:1::2")
        near("ping", "-q", "-c", "2", "-i", "0.2", "-s", "9000", "192.168.253.2")
        near("ping", "-q", "-c", "2", "-i", "0.2", "-s", "9000", "fd00:2::2")
        get("http://10.1.0.80/shelf.txt", "http://[fd00:2::80]/shelf.txt")
        send_mail(scratch / "large-mail.txt", "192.168.253.25", "[fd00:1::25]")


def without_machine(pcapng: bytes) -> bytes:
    """The same blocks, less the options that tell the recording machine's processor and system."""
    options_at = {0x0A0D0D0A: 24, 1: 16}  # in a section header, in an interface description
    told = {0x0A0D0D0A: (2, 3), 1: (12,)}  # shb_hardware, shb_os; if_os
    kept, at = [], 0
    while at < len(pcapng):
        kind, size = struct.unpack_from("<II", pcapng, at)
        block, at = pcapng[at : at + size], at + size
        if kind in options_at:
            option, body = options_at[kind], block[8 : options_at[kind]]
            while option < size - 4:
                code, length = struct.unpack_from("<HH", block, option)
                end = option + 4 + (length + 3) // 4 * 4
                body += block[option:end] if code not in told[kind] else b""
                option = end
            ends = struct.pack("<I", len(body) + 12)
            block = block[:4] + ends + body + ends
        kept.append(block)
    return b"".join(kept)


RECORDINGS: dict[str, Callable[[Path, Path], None]] = {
    "web.pcap": record_web,
    "mail-and-dns.pcapng": record_mail_and_dns,
    "probes.pcap": record_probes,
}


def write_files(scratch: Path) -> None:
    """What the servers serve and the mails carry: licences, once or many times."""
    licence = (HERE.parent / "LICENSE").read_text()
    (scratch / "page.txt").write_text(licence[:3000])
    (scratch / "book.txt").write_text(licence * 3)
    (scratch / "shelf.txt").write_text(licence * 12)
    (scratch / "mail.txt").write_text(MAIL + licence[:3000].replace("\n", "\r\n"), newline="")
    (scratch / "large-mail.txt").write_text(MAIL + (licence * 8).replace("\n", "\r\n"), newline="")


def count_anew(readme: Path, directory: Path) -> None:
    """Put tcpdump's counts into the tables of `readme`: `| packets | what | filter |` under a capture's heading."""
    capture, lines = Path(), []
    for line in readme.read_text().splitlines():
        if heading := re.fullmatch(r"## `(.*)`", line):
            capture = directory / heading[1]
        if row := re.fullmatch(r"\| *\d+ (\| .* \| (?:`(.*)`)? *\|)", line):
            command = ["tcpdump", "-n", "-q", "-t", "-r", str(capture), row[2] or ""]
            shown = subprocess.run(command, check=True, capture_output=True, text=True).stdout
            line = f"| {len(shown.splitlines())} {row[1]}"
        lines.append(line)
    readme.write_text("\n".join(lines) + "\n")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("directory", nargs="?", type=Path, default=HERE, help="where to write (default: this folder)")
    directory = parser.parse_args().directory.resolve()
    if missing := [tool for tool in TOOLS if not shutil.which(tool)]:
        sys.exit(f"recording needs {', '.join(missing)}; install it and try again")
    if os.geteuid() != 0:
        sys.exit("recording makes network namespaces; run it as root")
    directory.mkdir(parents=True, exist_ok=True)
    with network(), tempfile.TemporaryDirectory() as scratch:
        write_files(Path(scratch))
        for name, record in RECORDINGS.items():
            record(directory / name, Path(scratch))
            print(f"{directory / name}: {(directory / name).stat().st_size} bytes")
    if directory == HERE:
        count_anew(HERE / "README.md", HERE)


if __name__ == "__main__":
    main()
