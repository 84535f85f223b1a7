"""The devices of the embedded host as running code sees them, and the sink that takes the frames that leave.

kernel: net/core/dev.c, dev_queue_xmit(): here a frame that a device takes has left.
"""

from __future__ import annotations

from routebpf.runtime.cpu import CPU_HOST, CPU_PACKET, CPU_SINK
from routebpf.runtime.memory import copy, libc_free, libc_malloc, load32, load64, store32, store64, ugt
from routebpf.runtime.native import native

# The host's struct.
HOST_DEVICES = 0  # the address of the table of devices, by ifindex
HOST_DEVICE_COUNT = 8  # entries of it: the largest ifindex + 1
HOST_BYTES = 64

# A device. 32 bits each unless said.
DEVICE_FLAGS = 0
DEVICE_MTU = 4
DEVICE_HARD_HEADER_LEN = 8  # bytes of link header: 14 for Ethernet, 0 for none
DEVICE_TYPE = 12  # ARPHRD_*
DEVICE_MAC = 16  # 6 bytes, its own
DEVICE_TX_FRAMES = 24  # 64 bits
DEVICE_TX_BYTES = 32  # 64 bits
DEVICE_TX_DROPPED = 40  # 64 bits
DEVICE_BYTES = 64

DEVICE_PRESENT, DEVICE_UP, DEVICE_ETHERNET, DEVICE_NOARP, DEVICE_LOOPBACK = (1 << bit for bit in range(5))
DEVICE_QUEUED = 1 << 5  # it has a queue, and takes frames from however deep
DEVICE_PAIRED = 1 << 6  # its frames come in at another device, which does not take those that are too long for its MTU

# kernel: include/linux/netdevice.h. A device takes a frame from no deeper than that, unless it has a queue.
XMIT_RECURSION_LIMIT = 8

# The sink of frames, one a CPU. 64 bits each.
SINK_BASE = 0  # the address of the memory that takes records, 0: they are counted only
SINK_SIZE = 8
SINK_USED = 16
SINK_FRAMES = 24  # of the current packet
SINK_OVERFLOW = 32  # frames that found no room
SINK_GROWN = 40  # the address of memory that stands in for the sink's own, which was too small; 0: none does
SINK_BYTES = 64
SINK_LARGEST = 1 << 30  # bytes: a sink grows up to that

# A record: this header, the frame's bytes, and padding to 8 bytes.
FRAME_IFINDEX = 0  # 32 bits
FRAME_LENGTH = 4  # 32 bits
FRAME_PACKET = 8  # the number of the packet in the replay
FRAME_TIME = 16  # ns
FRAME_HEADER_BYTES = 24


@native
def device_of(cpu: int, ifindex: int) -> int:
    """The address of a device, 0 if there is none of that ifindex."""
    host = load64(cpu + CPU_HOST)
    if host == 0 or ifindex <= 0 or ifindex >= load64(host + HOST_DEVICE_COUNT):
        return 0
    device = load64(host + HOST_DEVICES) + ifindex * DEVICE_BYTES
    if load32(device + DEVICE_FLAGS) & DEVICE_PRESENT:
        return device
    return 0


@native
def is_too_deep(device: int, depth: int) -> int:
    """Whether a device takes no frame from so deep. kernel: __dev_queue_xmit()."""
    return depth > XMIT_RECURSION_LIMIT and load32(device + DEVICE_FLAGS) & DEVICE_QUEUED == 0


@native
def transmit(cpu: int, ifindex: int, header: int, header_size: int, data: int, size: int, time: int) -> int:
    """A frame of `header_size` + `size` bytes leaves by a device, which must exist and be up. 0."""
    device = device_of(cpu, ifindex)
    length = header_size + size
    store64(device + DEVICE_TX_FRAMES, load64(device + DEVICE_TX_FRAMES) + 1)
    store64(device + DEVICE_TX_BYTES, load64(device + DEVICE_TX_BYTES) + length)
    sink = load64(cpu + CPU_SINK)
    store64(sink + SINK_FRAMES, load64(sink + SINK_FRAMES) + 1)
    base = load64(sink + SINK_BASE)
    if base == 0:
        return 0
    used = load64(sink + SINK_USED)
    needed = FRAME_HEADER_BYTES + ((length + 7) & ~7)
    if ugt(used + needed, load64(sink + SINK_SIZE)) and _grow(sink, used + needed) == 0:
        store64(sink + SINK_OVERFLOW, load64(sink + SINK_OVERFLOW) + 1)
        return 0
    record = load64(sink + SINK_BASE) + used
    store32(record + FRAME_IFINDEX, ifindex)
    store32(record + FRAME_LENGTH, length)
    store64(record + FRAME_PACKET, load64(cpu + CPU_PACKET))
    store64(record + FRAME_TIME, time)
    copy(record + FRAME_HEADER_BYTES, header, header_size)
    copy(record + FRAME_HEADER_BYTES + header_size, data, size)
    store64(sink + SINK_USED, used + needed)
    return 0


@native
def _grow(sink: int, needed: int) -> int:
    """Give a sink larger memory with what is in it: 1, or 0 where it would be more than SINK_LARGEST."""
    size = load64(sink + SINK_SIZE)
    while size < needed:
        size *= 2
    memory = libc_malloc(size) if size <= SINK_LARGEST else 0
    if memory == 0:
        return 0
    copy(memory, load64(sink + SINK_BASE), load64(sink + SINK_USED))
    libc_free(load64(sink + SINK_GROWN))
    store64(sink + SINK_GROWN, memory)
    store64(sink + SINK_BASE, memory)
    store64(sink + SINK_SIZE, size)
    return 1


@native
def empty_sink(sink: int, base: int, size: int) -> int:
    """Empty a sink and give it its own memory: `size` bytes at `base`, or none at 0. 0."""
    libc_free(load64(sink + SINK_GROWN))
    store64(sink + SINK_GROWN, 0)
    store64(sink + SINK_BASE, base)
    store64(sink + SINK_SIZE, size)
    return store64(sink + SINK_USED, 0)
