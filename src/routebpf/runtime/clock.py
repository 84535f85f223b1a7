"""The clocks of the host: bpf_ktime_get_ns and its kin.

With CLOCK_SET the time is what the datapath says (a capture's, as a rule), with CLOCK_MACHINE it is this machine's.
kernel: kernel/bpf/helpers.c.
"""

from __future__ import annotations

from routebpf.runtime.cpu import CLOCK_SET, CPU_BOOT_OFFSET, CPU_CLOCK, CPU_NOW, CPU_TAI_OFFSET
from routebpf.runtime.memory import clock, load32, load64, udiv
from routebpf.runtime.native import native

# clockid_t
MONOTONIC = 1
MONOTONIC_COARSE = 6
BOOTTIME = 7
TAI = 11

# The kernel's timer tick, CONFIG_HZ 250 (Debian's, Ubuntu's and Fedora's differ: 250, 1000, 1000).
TICK_NANOSECONDS = 4_000_000
# jiffies start so that they wrap five minutes after boot (kernel: include/linux/jiffies.h, INITIAL_JIFFIES).
INITIAL_JIFFIES = (1 << 32) - 300 * 250


@native
def bpf_ktime_get_ns(cpu: int) -> int:
    """Nanoseconds of the monotonic clock."""
    if load32(cpu + CPU_CLOCK) == CLOCK_SET:
        return load64(cpu + CPU_NOW)
    return clock(MONOTONIC)


@native
def bpf_ktime_get_boot_ns(cpu: int) -> int:
    """Nanoseconds since boot, time asleep included."""
    if load32(cpu + CPU_CLOCK) == CLOCK_SET:
        return load64(cpu + CPU_NOW) + load64(cpu + CPU_BOOT_OFFSET)
    return clock(BOOTTIME)


@native
def bpf_ktime_get_tai_ns(cpu: int) -> int:
    """Nanoseconds of International Atomic Time."""
    if load32(cpu + CPU_CLOCK) == CLOCK_SET:
        return load64(cpu + CPU_NOW) + load64(cpu + CPU_TAI_OFFSET)
    return clock(TAI)


@native
def bpf_ktime_get_coarse_ns(cpu: int) -> int:
    """The monotonic clock as of the last timer tick."""
    if load32(cpu + CPU_CLOCK) == CLOCK_SET:
        return udiv(load64(cpu + CPU_NOW), TICK_NANOSECONDS) * TICK_NANOSECONDS
    return clock(MONOTONIC_COARSE)


@native
def bpf_jiffies64(cpu: int) -> int:
    """Timer ticks."""
    return udiv(bpf_ktime_get_ns(cpu), TICK_NANOSECONDS) + INITIAL_JIFFIES
