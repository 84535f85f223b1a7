"""What a CPU of the embedded host has: clock, random numbers, the redirect in progress. One a worker thread.

The address of this struct is the first argument of every program and helper.
"""

from __future__ import annotations

from routebpf.runtime.memory import Memory

CPU_ID = 0  # 32 bits
CPU_CLOCK = 4  # 32 bits: CLOCK_*
CPU_NOW = 8  # ns: what bpf_ktime_get_ns says, with CLOCK_SET
CPU_BOOT_OFFSET = 16  # ns that the boot clock is ahead of it
CPU_TAI_OFFSET = 24  # ns that the TAI clock is ahead of it
CPU_RANDOM = 32  # the state of the random numbers; never 0
CPU_REDIRECT_IFINDEX = 40  # 32 bits
CPU_REDIRECT_FLAGS = 44  # 32 bits
CPU_TAIL_CALLS = 48  # 32 bits: in this run of a program
CPU_FAULT = 52  # 32 bits: not 0 once a program did what it must not; the datapath stops
CPU_HOST = 56  # the address of the host's struct (runtime.device)
CPU_SINK = 64  # the address of the frame sink (runtime.device)
CPU_TRACE = 72  # the address of the trace ring (runtime.trace), 0 where nobody reads it
CPU_SCRATCH = 80  # the address of SCRATCH_BYTES bytes for a helper to use until it returns
CPU_SKB = 88  # the packet of the running program
CPU_DEPTH = 96  # 32 bits: how deep the packet is in lwtunnel_input, _output and _xmit (kernel: dev_xmit_recursion())
CPU_PACKET = 104  # the number of the packet in the replay
CPU_CLONE = 112  # a second struct skb with a buffer of its own, for clones
CPU_ROUTE_CACHE = 120  # the address of its cache of route lookups (datapath.fib_lookup)
CPU_ROUTE_COUNTS = 128  # the address of its counters by route and verdict (datapath.replay)
CPU_REASON_COUNTS = 136  # the address of its counters by reason
CPU_FRAGMENTS = 144  # the addresses of struct skbs for fragments, one a level
CPU_LEVEL = 152  # how many of them are in use
CPU_IS_REROUTED = 160  # whether the packet was rerouted; 2: and then failed
CPU_IPV4_IDS = 168  # how many IP ids the host has given
CPU_HELD_LOCK = 176  # the address of the struct bpf_spin_lock that the program holds, 0: none
CPU_TUNNEL = 256  # the record of tunnel metadata (runtime.skb_tunnel)
CPU_SOCKETS = 576  # two struct bpf_sock: what an IPv4, an IPv6 packet of the host's own names as its socket
SOCKET_BYTES = 80
CPU_BYTES = CPU_SOCKETS + 2 * SOCKET_BYTES

CLOCK_SET, CLOCK_MACHINE = range(2)
_AF_INET, _AF_INET6, _SOCK_RAW, _IPPROTO_RAW, _TCP_CLOSE = 2, 10, 3, 255, 7
SCRATCH_BYTES = 1 << 17


def new_cpu(number: int, *, seed: int = 1) -> tuple[Memory, Memory]:
    """A CPU's struct, and the scratch memory that must live as long."""
    cpu, scratch = Memory(CPU_BYTES), Memory(SCRATCH_BYTES)
    cpu.write(CPU_ID, number.to_bytes(4, "little"))
    cpu.write(CPU_RANDOM, (seed * 0x9E3779B97F4A7C15 + number + 1 & (1 << 64) - 1 or 1).to_bytes(8, "little"))
    cpu.write(CPU_SCRATCH, scratch.address.to_bytes(8, "little"))
    for index, family in enumerate((_AF_INET, _AF_INET6)):
        cpu.write(CPU_SOCKETS + index * SOCKET_BYTES, _raw_socket(family))
    return cpu, scratch


def _raw_socket(family: int) -> bytes:
    """The struct bpf_sock of an unbound raw socket that sends packets with their headers: its number is its protocol,
    it is bound to nothing, and no queue received for it."""
    fields = {4: family, 8: _SOCK_RAW, 12: _IPPROTO_RAW, 44: _IPPROTO_RAW, 72: _TCP_CLOSE, 76: 0xFFFFFFFF}
    return b"".join(fields.get(offset, 0).to_bytes(4, "little") for offset in range(0, SOCKET_BYTES, 4))
