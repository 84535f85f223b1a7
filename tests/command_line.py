"""The command `routebpf` as people run it, and the programs that judge what it says: tcpdump and Wireshark's."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parent.parent
COMMAND = Path(sys.executable).parent / "routebpf"
MAIL, PROBES, WEB = (ROOT / "captures" / name for name in ("mail-and-dns.pcapng", "probes.pcap", "web.pcap"))
DROP_SMTP = ROOT / "examples" / "drop_smtp.bpf.c"

needs_tcpdump = pytest.mark.skipif(not shutil.which("tcpdump"), reason="no tcpdump here")
needs_tshark = pytest.mark.skipif(not shutil.which("tshark"), reason="no tshark here")


def routebpf(*arguments: object, code: int = 0, **options: Any) -> subprocess.CompletedProcess[str]:
    """Run the command from the repository's root; it must end with that exit code, and never with a traceback."""
    command = [str(COMMAND), *map(str, arguments)]
    options = {"capture_output": True, "text": True, "cwd": ROOT, "timeout": 120} | options
    done: subprocess.CompletedProcess[str] = subprocess.run(command, **options)
    assert "Traceback" not in str(done.stderr), done.stderr
    assert done.returncode == code, f"{' '.join(command)}\n{done.stdout}\n{done.stderr}"
    return done


def report(*arguments: object, **options: Any) -> Any:
    """What `routebpf … --json` prints."""
    return json.loads(routebpf(*arguments, "--json", **options).stdout)


def shown_on(master: int) -> bytes:
    """What is left to read of a terminal whose other side is closed, which is closed too."""
    shown = b""
    try:
        while more := os.read(master, 1 << 16):
            shown += more
    except OSError:  # the other side is closed
        pass
    os.close(master)
    return shown


def complaint(*arguments: object, code: int = 2, **options: Any) -> str:
    """The error output of a command that fails and says nothing else."""
    done = routebpf(*arguments, code=code, **options)
    assert not done.stdout
    assert done.stderr.startswith("routebpf: ") or done.stderr.startswith("Usage: routebpf ")
    return done.stderr


def imported(*arguments: object) -> set[str]:
    """The modules that the command imports."""
    command = [sys.executable, "-X", "importtime", str(COMMAND), *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=ROOT)
    modules = re.findall(r"^import time: .*\| +(\S+)$", done.stderr, re.MULTILINE)
    assert "routebpf.cli.main" in modules
    return set(modules)


def tcpdump(capture: object, *arguments: str, input: bytes | None = None) -> list[str]:
    """The lines of tcpdump -q, with times in UTC."""
    command = ["tcpdump", "-n", "-q", "-r", str(capture), *arguments]
    done = subprocess.run(command, capture_output=True, input=input, check=False, env={**os.environ, "TZ": "UTC"})
    return done.stdout.decode().splitlines()


def tshark(capture: object, *fields: str, where: str = "") -> list[list[str]]:
    """The fields of each packet, of its outermost headers, that the display filter takes."""
    chosen = [argument for field in fields for argument in ("-e", field)]
    command = ["tshark", "-n", "-r", str(capture), "-Y", where, "-T", "fields", "-E", "occurrence=f", *chosen]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return [line.split("\t") for line in done.stdout.splitlines()]


def counts(text: str) -> dict[tuple[str, str], tuple[int, int]]:
    """Packets and bytes by (route, verdict), as the table for people has them."""
    heading, *lines = text.split("\n\n")[0].splitlines()
    program, verdict = heading.index("program"), heading.index("verdict")
    found, route = {}, ""
    for line in lines:
        route = line[:program].strip() or route
        *name, packets, size = line[verdict:].replace(",", "").split()
        found[route, "".join(name)] = (int(packets), int(size))
    return found


def program_file(folder: Path, body: str, section: str = "lwt_xmit", before: str = "") -> Path:
    """A program file whose one program, `probe`, has that body."""
    path = folder / "probe.bpf.c"
    path.write_text(
        f'#include <routebpf.h>\n{before}\nSEC("{section}") int probe(struct __sk_buff *skb)\n{{\n{body}\n}}\n'
        'char LICENSE[] SEC("license") = "Dual BSD/GPL";\n'
    )
    return path


def map_of(name: str, kind: str, key: str, value: str, entries: int = 1024) -> str:
    """The C of a map."""
    return (
        f"struct {{ __uint(type, BPF_MAP_TYPE_{kind}); __uint(max_entries, {entries});"
        f' __type(key, {key}); __type(value, {value}); }} {name} SEC(".maps");\n'
    )
