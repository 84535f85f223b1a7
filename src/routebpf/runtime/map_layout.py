"""What every map has in memory, whatever its type: its address is what programs hold. 32 bits each unless said."""

from __future__ import annotations

MAP_TYPE = 0
MAP_FLAGS = 4
MAP_KEY_SIZE = 8
MAP_VALUE_SIZE = 12
MAP_MAX_ENTRIES = 16
MAP_ID = 20
MAP_CPUS = 24  # values an entry has in a per-CPU map
MAP_LOCK = 28  # a spin lock of the whole map
MAP_VALUE_STRIDE = 32  # 64 bits: bytes from one value to the next, a multiple of 8
MAP_COUNT = 40  # 64 bits: entries in it, where the type counts them
MAP_FIELD_COUNT = 48  # fields of a value that belong to the kernel: locks, timers, lists
MAP_SPIN_LOCK = 52  # 1 + the offset in a value of its bpf_spin_lock, 0 where it has none
MAP_OWN = 64  # from here on, each type has its own fields
MAP_FIELDS = 192  # MAX_FIELDS pairs (offset in the value, size), by offset
MAP_BYTES = 256

MAX_FIELDS = 8
