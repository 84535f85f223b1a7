"""Hashes of maps. kernel: kernel/bpf/hashtab.c, htab_of_map_lookup_elem(). A value is the 8-byte address of a map."""

from __future__ import annotations

from routebpf.runtime import map_hash
from routebpf.runtime.memory import load_acquire64
from routebpf.runtime.native import native

lookup_slot = map_hash.lookup
SLOT_BYTES = 8


@native
def lookup(cpu: int, map: int, key_size: int, value_size: int, key: int) -> int:
    """The address of the map of a key, 0 if there is none."""
    slot = lookup_slot(cpu, map, key_size, SLOT_BYTES, key)
    if slot == 0:
        return 0
    return load_acquire64(slot)
