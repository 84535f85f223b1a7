"""The loop over a batch of packets: each is sent, or comes in, and what became of it is counted and noted."""

from __future__ import annotations

from routebpf.datapath.fib_records import HOST_FLAGS, HOST_WANTS_HEADERS, ROUTE_NUMBER
from routebpf.datapath.ip_forward import IPV6_MIN_MTU, ip_receive
from routebpf.datapath.ip_header import ipv4_length, ipv6_length
from routebpf.datapath.ip_output import REROUTE_FAILED
from routebpf.datapath.ip_send import end_plain, ip_send4, ip_send6
from routebpf.datapath.link_layer import (
    ETH_P_IP,
    LAYER_ETHERTYPE_SHIFT,
    LAYER_OFFSET_MASK,
    LAYER_REASON_SHIFT,
    network_layer,
)
from routebpf.datapath.packet_rows import ROW_ADDRESS, ROW_BYTES, ROW_SIZE, ROW_TIME, ROW_WIRE_SIZE
from routebpf.datapath.run_records import (
    COUNT_BYTES,
    NO_ROUTE_NUMBER,
    RESULT_BYTES,
    RESULT_FRAMES,
    RESULT_ROUTE,
    ROUTE_COUNT_BYTES,
    RUN_COUNT,
    RUN_DONE,
    RUN_EXACT,
    RUN_FLAGS,
    RUN_INGRESS,
    RUN_LENGTH,
    RUN_MARK,
    RUN_NUMBER,
    RUN_REASONS,
    RUN_RESULTS,
    RUN_ROOM,
    RUN_ROUTE,
    RUN_ROWS,
    RUN_SET_CLOCK,
)
from routebpf.datapath.short_send import NOT_TAKEN, short_send
from routebpf.datapath.verdicts import DEVICE_DOWN, LINK_UNKNOWN, NOT_IP, SENT, TOO_LONG
from routebpf.runtime.cpu import (
    CPU_DEPTH,
    CPU_FAULT,
    CPU_HOST,
    CPU_IS_REROUTED,
    CPU_NOW,
    CPU_PACKET,
    CPU_REASON_COUNTS,
    CPU_ROUTE_COUNTS,
    CPU_SINK,
)
from routebpf.runtime.device import (
    DEVICE_FLAGS,
    DEVICE_MTU,
    DEVICE_UP,
    SINK_BASE,
    SINK_FRAMES,
    SINK_SIZE,
    SINK_USED,
    device_of,
)
from routebpf.runtime.errno_values import ENOBUFS
from routebpf.runtime.memory import load8, load32, load64, store32, store64
from routebpf.runtime.native import native
from routebpf.runtime.skb import MAX_PACKET


@native
def replay_batch(cpu: int, run: int) -> int:
    """Run the packets of a batch from RUN_DONE on: how many are done. It stops early when the sink is nearly full, or
    when a program was stopped for what it did."""
    at = load64(run + RUN_DONE)
    count = load64(run + RUN_COUNT)
    sink = load64(cpu + CPU_SINK)
    number = load64(run + RUN_NUMBER)
    results = load64(run + RUN_RESULTS)
    set_clock = load64(run + RUN_FLAGS) & RUN_SET_CLOCK
    row = load64(run + RUN_ROWS) + at * ROW_BYTES
    is_short = _goes_short(cpu, run)
    while at < count:
        if load64(sink + SINK_BASE) and load64(sink + SINK_USED) + load64(run + RUN_ROOM) > load64(sink + SINK_SIZE):
            break
        if set_clock:
            store64(cpu + CPU_NOW, load64(row + ROW_TIME))
        store64(cpu + CPU_PACKET, number + at)
        result = 0
        if results:
            result = results + at * RESULT_BYTES
        code = NOT_TAKEN
        if is_short:
            code = short_send(cpu, run, row, result)
            if code == 0:
                at += 1
                row += ROW_BYTES
                continue
        store64(sink + SINK_FRAMES, 0)
        store32(cpu + CPU_DEPTH, 0)
        store64(cpu + CPU_IS_REROUTED, 0)
        if code == NOT_TAKEN:
            reason = _packet(cpu, run, row)
        else:
            reason = end_plain(cpu, run, code)
        _count(cpu, run, reason)
        if result:
            _note(cpu, run, result, reason)
        at += 1
        row += ROW_BYTES
        if load32(cpu + CPU_FAULT):
            break
    store64(run + RUN_DONE, at)
    return at


@native
def _goes_short(cpu: int, run: int) -> int:
    """Whether packets of this batch may go the short way: sent, unmarked, and nobody wants frames or link headers."""
    if load64(run + RUN_INGRESS) or load64(run + RUN_MARK) or load64(run + RUN_FLAGS) & RUN_EXACT:
        return 0
    flags = load64(load64(cpu + CPU_HOST) + HOST_FLAGS)
    return load64(load64(cpu + CPU_SINK) + SINK_BASE) == 0 and flags & HOST_WANTS_HEADERS == 0


@native
def _packet(cpu: int, run: int, row: int) -> int:
    """What becomes of the packet in a row: a reason. RUN_ROUTE and RUN_LENGTH are its route and length."""
    store64(run + RUN_ROUTE, 0)
    layer = network_layer(row)
    offset = layer & LAYER_OFFSET_MASK
    data = load64(row + ROW_ADDRESS) + offset
    have = load32(row + ROW_SIZE) - offset
    wire = max(load32(row + ROW_WIRE_SIZE) - offset, have)
    store64(run + RUN_LENGTH, max(wire, 0))
    if layer >> LAYER_REASON_SHIFT:
        # Those of the link layer come in the same order as ours.
        return min(NOT_IP - 1 + (layer >> LAYER_REASON_SHIFT), LINK_UNKNOWN)
    exact = load64(run + RUN_FLAGS) & RUN_EXACT
    is_ipv4 = layer >> LAYER_ETHERTYPE_SHIFT == ETH_P_IP
    length = ipv4_length(data, have, wire, exact) if is_ipv4 else ipv6_length(data, have, wire, exact)
    if length < 0:
        return -length
    store64(run + RUN_LENGTH, length)
    if length > MAX_PACKET or (is_ipv4 and length > 0xFFFF):
        return TOO_LONG
    time = load64(row + ROW_TIME)
    ingress = load64(run + RUN_INGRESS)
    if ingress:
        device = device_of(cpu, ingress)
        if device == 0 or load32(device + DEVICE_FLAGS) & DEVICE_UP == 0:
            return DEVICE_DOWN
        if not is_ipv4 and load32(device + DEVICE_MTU) < IPV6_MIN_MTU:
            return DEVICE_DOWN
        return ip_receive(cpu, run, 4 if is_ipv4 else 6, data, have, length, time)
    if is_ipv4:
        return ip_send4(cpu, run, data, have, length, time)
    return ip_send6(cpu, run, data, have, length, time)


@native
def _count(cpu: int, run: int, reason: int) -> int:
    """Count the packet, by its route and verdict and by its reason."""
    verdict = load8(load64(run + RUN_REASONS) + reason * 8)
    route = load64(run + RUN_ROUTE)
    entry = load64(cpu + CPU_ROUTE_COUNTS) + verdict * COUNT_BYTES
    if route:
        entry += (load32(route + ROUTE_NUMBER) + 1) * ROUTE_COUNT_BYTES
    store64(entry, load64(entry) + 1)
    store64(entry + 8, load64(entry + 8) + load64(run + RUN_LENGTH))
    if reason != SENT:
        entry = load64(cpu + CPU_REASON_COUNTS) + reason * 8
        store64(entry, load64(entry) + 1)
    return 0


@native
def _note(cpu: int, run: int, result: int, reason: int) -> int:
    """Write the result of a packet."""
    row = load64(load64(run + RUN_REASONS) + reason * 8)
    if load64(cpu + CPU_IS_REROUTED) == REROUTE_FAILED:
        row = (row & 0xFFFFFFFF) | ENOBUFS << 32
    route = load64(run + RUN_ROUTE)
    number = NO_ROUTE_NUMBER
    if route:
        number = load32(route + ROUTE_NUMBER)
    store64(result, row)
    store64(result + RESULT_ROUTE, number | load64(run + RUN_LENGTH) << 32)
    store64(result + RESULT_FRAMES, load64(load64(cpu + CPU_SINK) + SINK_FRAMES))
    return 0
