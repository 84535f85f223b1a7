"""Arrays of maps, and program arrays. kernel: kernel/bpf/arraymap.c, array_of_map_lookup_elem().

A slot is 8 bytes: the address of a map, or of a program's entry; 0 is empty. Only user space fills them.
"""

from __future__ import annotations

from routebpf.runtime.map_layout import MAP_MAX_ENTRIES, MAP_OWN
from routebpf.runtime.memory import load32, load64, load_acquire64
from routebpf.runtime.native import native

SLOTS = MAP_OWN  # 64 bits: the address of the slots
SLOT_BYTES = 8


@native
def lookup(cpu: int, map: int, key_size: int, value_size: int, key: int) -> int:
    """What the slot holds, 0 for an empty one or beyond the end."""
    index = load32(key)
    if index >= load32(map + MAP_MAX_ENTRIES):
        return 0
    return load_acquire64(load64(map + SLOTS) + index * SLOT_BYTES)
