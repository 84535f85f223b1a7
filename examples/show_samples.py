"""Plays a capture through account.bpf.c and shows the packets that it sampled: each a record of its ring buffer.

python3 examples/show_samples.py captures/web.pcap
"""

from __future__ import annotations

import ipaddress
import struct
import sys
from datetime import UTC, datetime
from pathlib import Path

import routebpf

SAMPLE = struct.Struct("<Q16sII64s")  # struct sample


def main(capture: str) -> None:
    account = routebpf.load(Path(__file__).parent / "account.bpf.c")
    host = routebpf.EmbeddedHost()
    host.add_device("veth0")
    host.add_route("0.0.0.0/0", dev="veth0", xmit=account.programs["account"])
    host.add_route("::/0", dev="veth0", xmit=account.programs["account"])
    replay = host.replay(capture)

    for record in account.maps["samples"].consume():
        time, destination, length, captured, head = SAMPLE.unpack(record)
        address = ipaddress.IPv6Address(destination)
        when = datetime.fromtimestamp(time / 1e9, UTC).strftime("%H:%M:%S.%f")
        print(f"{when} {address.ipv4_mapped or address} length {length}: {head[:captured].hex()}")
    print(f"{replay.packets} packets to {len(account.maps['traffic_by_destination'])} destinations")


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    main(sys.argv[1])
