"""Whatever a packet is, and whatever a program does to it, nothing is touched beyond it, and it is counted once.

A packet is in memory between pages that cannot be read: a byte too far is the end of the process.
"""

from __future__ import annotations

from pathlib import Path
from random import Random

import pytest
from hostile_packets import GuardedRows, hostile_packet, real_packets

import routebpf
from routebpf.objects.compiler import compile_source

PACKETS = 1024
EXAMPLES = Path(__file__).parents[2] / "examples"
SOURCES = [*(EXAMPLES / f"{name}.bpf.c" for name in ("drop_smtp", "guard", "account", "push_link_header"))]
HOSTILE = Path(__file__).parent / "hostile.bpf.c"


@pytest.fixture(scope="module")
def objects() -> dict[str, bytes]:
    return {source.name.partition(".")[0]: compile_source(str(source)) for source in (*SOURCES, HOSTILE)}


def _host(objects: dict[str, bytes], random: Random) -> routebpf.EmbeddedHost:
    """Its MTUs are small, so that packets are cut, and its routes and devices any."""
    host = routebpf.EmbeddedHost(seed=random.randrange(1 << 30), make_neighbours=random.random() < 0.8)
    host.add_device("veth0", address=["172.31.0.1/24", "fd31::1/64"], mtu=random.choice((1280, 1500, 65_535)))
    host.add_device("veth1", address="172.31.1.1/24", mtu=random.choice((68, 576)))
    host.add_device("tun0", kind="tun", address="172.31.2.1/24", mtu=random.choice((68, 1500, 65_535)))
    with_ipv6 = [name for name in ("veth0", "tun0") if host.device(name).mtu >= 1280]
    host.add_device("dummy0", kind="dummy", up=random.random() < 0.8)
    hostile = routebpf.load(objects["hostile"])
    programs = [hostile.programs["anything"]] * 4
    programs += [routebpf.load(data).program() for name, data in objects.items() if name != "hostile"]
    for prefix in ("10.0.0.0/16", "10.1.0.0/16", "0.0.0.0/0", "192.0.0.0/8", "224.0.0.0/4", "fd00::/16", "::/0"):
        host.add_route(
            prefix,
            dev=random.choice(("veth0", "veth1", "tun0") if "." in prefix else with_ipv6),
            xmit=random.choice(programs),
            in_=random.choice((None, None, hostile.programs["enter"])),
            out=random.choice((None, None, hostile.programs["leave"])),
        )
    return host


@pytest.mark.parametrize("seed", range(4))
def test_nothing_is_touched_beyond_a_packet_and_each_is_counted_once(objects: dict[str, bytes], seed: int) -> None:
    random = Random(seed)
    real = real_packets()
    room = GuardedRows(PACKETS)
    try:
        for _ in range(2):
            rows = room.rows([hostile_packet(random, real) for _ in range(PACKETS)], random)
            host = _host(objects, random)
            for device in (None, "veth0", "veth1", "tun0"):
                for keep_packets in (False, True):
                    replay = host.replay(rows, device=device, keep_packets=keep_packets)
                    assert replay.packets == sum(replay.verdicts.values()) == PACKETS
                    assert replay.columns is not None
                    assert sum(replay.reasons.values()) == (replay.columns["reason"] != 0).sum()
                    assert replay.columns["frames"].sum() == sum(replay.frames.values())
                    if replay.packet_frames is not None:
                        kept = [frame for frames in replay.packet_frames for frame in frames]
                        assert len(kept) == sum(replay.frames.values())
                        assert sum(len(frame.data) for frame in kept) == sum(replay.frame_bytes.values())
    finally:
        room.close()
