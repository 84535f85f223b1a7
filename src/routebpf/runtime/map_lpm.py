"""LPM tries: the longest prefix of a key. kernel: kernel/bpf/lpm_trie.c, of whose rules this is the same trie.

A key is its number of bits (32 bits, of the machine's byte order), then bytes. A node has a prefix and up to two
children with longer ones; an intermediate node has no value, only children that part there. Writers take the map's
lock and make the version odd while they change links; readers take no lock, and look again when the version changed.
"""

from __future__ import annotations

from routebpf.runtime.errno_values import EEXIST, EINVAL, ENOENT, ENOSPC
from routebpf.runtime.map_layout import MAP_COUNT, MAP_LOCK, MAP_MAX_ENTRIES, MAP_OWN
from routebpf.runtime.map_lock import SPINS, acquire, release
from routebpf.runtime.map_value import BPF_EXIST, BPF_NOEXIST
from routebpf.runtime.memory import (
    atomic_add64,
    bswap32,
    bswap64,
    clz64,
    copy,
    fence_acquire,
    load8,
    load16,
    load32,
    load64,
    load_acquire32,
    load_acquire64,
    store32,
    store64,
    store_release32,
    ugt,
    yield_cpu,
)
from routebpf.runtime.native import native

# 64 bits each unless said.
LPM_NODES = MAP_OWN  # the address of node 0, which is never used
LPM_VERSION = MAP_OWN + 64
LPM_ROOT = MAP_OWN + 72  # 32 bits: the link to the root
LPM_FREE = MAP_OWN + 76  # 32 bits: the first free node; its first child is the next one
LPM_FREE_LAST = MAP_OWN + 80  # 32 bits
LPM_UNUSED = MAP_OWN + 88  # nodes from this one on were never used
LPM_CAPACITY = MAP_OWN + 96  # nodes there are, with node 0

# A node; 32 bits each.
NODE_CHILDREN = 0  # two links: nodes by number, 0 for none
NODE_LENGTH = 8  # bits of the prefix
NODE_KIND = 12
NODE_DATA = 16  # then the value, 8 bytes aligned
FREE, ENTRY, INTERMEDIATE = range(3)

LENGTH_BYTES = 4  # of a key, before its bytes


@native
def value_offset(key_size: int) -> int:
    """Where the value is in a node."""
    return NODE_DATA + ((key_size - LENGTH_BYTES + 7) & ~7)


@native
def node_bytes(key_size: int, value_size: int) -> int:
    return value_offset(key_size) + ((value_size + 7) & ~7)


@native
def bit_of(data: int, index: int) -> int:
    """A bit, counted from the most significant one of the first byte."""
    return load8(data + (index >> 3)) >> (7 - (index & 7)) & 1


@native
def common_bits(a: int, b: int, size: int, most: int) -> int:
    """How many of the first bits of `size` bytes are equal, at most `most`."""
    done = 0
    while done + 8 <= size:
        differing = load64(a + done) ^ load64(b + done)
        if differing != 0:
            return min(most, done * 8 + clz64(bswap64(differing)))
        done += 8
    if size & 4:
        differing = load32(a + done) ^ load32(b + done)
        if differing != 0:
            return min(most, done * 8 + clz64(bswap32(differing)) - 32)
        done += 4
    if size & 2:
        differing = load16(a + done) ^ load16(b + done)
        if differing != 0:
            return min(most, done * 8 + clz64(bswap32(differing)) - 32)
        done += 2
    if size & 1:
        return min(most, done * 8 + clz64(load8(a + done) ^ load8(b + done)) - 56)
    return most


@native
def lookup(cpu: int, map: int, key_size: int, value_size: int, key: int) -> int:
    """The address of the value of the longest prefix of a key, 0 if there is none."""
    size = key_size - LENGTH_BYTES
    wanted = load32(key)
    if wanted > size * 8:
        return 0
    spins = 0
    while True:
        version = load_acquire64(map + LPM_VERSION)
        found = 0
        if version & 1 == 0:
            found = longest(map, key_size, value_size, key, wanted)
            fence_acquire()
            if load_acquire64(map + LPM_VERSION) == version:
                return found
        spins += 1
        if spins == SPINS:
            yield_cpu()
            spins = 0


@native
def longest(map: int, key_size: int, value_size: int, key: int, wanted: int) -> int:
    """`lookup`, which a concurrent writer may lead astray, but not out of the nodes and not in circles."""
    nodes = load64(map + LPM_NODES)
    stride = node_bytes(key_size, value_size)
    size = key_size - LENGTH_BYTES
    found = 0
    before = -1
    link = load_acquire32(map + LPM_ROOT)
    while link != 0:
        node = nodes + link * stride
        length = load32(node + NODE_LENGTH)
        matched = common_bits(node + NODE_DATA, key + LENGTH_BYTES, size, min(length, wanted))
        if matched < length or length <= before:
            break
        if load32(node + NODE_KIND) == ENTRY:
            found = node + value_offset(key_size)
        if length == size * 8:
            break
        before = length
        link = load_acquire32(node + bit_of(key + LENGTH_BYTES, length) * 4)
    return found


@native
def take_node(map: int, key_size: int, value_size: int, kind: int, length: int, data: int) -> int:
    """A node without children; there always is one. Those that were freed are reused last, the oldest first."""
    stride = node_bytes(key_size, value_size)
    nodes = load64(map + LPM_NODES)
    link = load64(map + LPM_UNUSED)
    if link < load64(map + LPM_CAPACITY):
        store64(map + LPM_UNUSED, link + 1)
    else:
        link = load32(map + LPM_FREE)
        store32(map + LPM_FREE, load32(nodes + link * stride))
    node = nodes + link * stride
    store64(node + NODE_CHILDREN, 0)
    store32(node + NODE_LENGTH, length)
    store32(node + NODE_KIND, kind)
    copy(node + NODE_DATA, data, key_size - LENGTH_BYTES)
    return link


@native
def free_node(map: int, stride: int, link: int) -> int:
    nodes = load64(map + LPM_NODES)
    store32(nodes + link * stride + NODE_KIND, FREE)
    store32(nodes + link * stride, 0)
    if load32(map + LPM_FREE) == 0:
        store32(map + LPM_FREE, link)
    else:
        store32(nodes + load32(map + LPM_FREE_LAST) * stride, link)
    return store32(map + LPM_FREE_LAST, link)


@native
def find_place(map: int, key_size: int, value_size: int, key: int) -> int:
    """The address of the link to the node where a prefix is, or where its way leaves the trie."""
    size = key_size - LENGTH_BYTES
    wanted = load32(key)
    place = map + LPM_ROOT
    link = load32(place)
    while link != 0:
        node = load64(map + LPM_NODES) + link * node_bytes(key_size, value_size)
        length = load32(node + NODE_LENGTH)
        matched = common_bits(node + NODE_DATA, key + LENGTH_BYTES, size, min(length, wanted))
        if length != matched or length == wanted:
            break
        place = node + bit_of(key + LENGTH_BYTES, length) * 4
        link = load32(place)
    return place


@native
def update(cpu: int, map: int, key_size: int, value_size: int, key: int, value: int, flags: int) -> int:
    """0, or EINVAL (flags, or too long a prefix), ENOSPC (full), EEXIST (with BPF_NOEXIST), ENOENT (with BPF_EXIST)."""
    if ugt(flags, BPF_EXIST) or load32(key) > (key_size - LENGTH_BYTES) * 8:
        return -EINVAL
    acquire(map + MAP_LOCK)
    place = find_place(map, key_size, value_size, key)
    there = load64(map + LPM_NODES) + load32(place) * node_bytes(key_size, value_size)
    is_there = 0
    if load32(place) != 0 and load32(there + NODE_KIND) == ENTRY and load32(there + NODE_LENGTH) == load32(key):
        matched = common_bits(there + NODE_DATA, key + LENGTH_BYTES, key_size - LENGTH_BYTES, load32(key))
        if matched == load32(key):
            is_there = 1
    result = 0
    if is_there:
        if flags == BPF_NOEXIST:
            result = -EEXIST
    elif flags == BPF_EXIST:
        result = -ENOENT
    elif load64(map + MAP_COUNT) == load32(map + MAP_MAX_ENTRIES):
        result = -ENOSPC
    else:
        store64(map + MAP_COUNT, load64(map + MAP_COUNT) + 1)
    if result == 0:
        attach(map, key_size, value_size, place, key, value)
    release(map + MAP_LOCK)
    return result


@native
def attach(map: int, key_size: int, value_size: int, place: int, key: int, value: int) -> int:
    """Put an entry where `find_place` said. 0."""
    size = key_size - LENGTH_BYTES
    stride = node_bytes(key_size, value_size)
    nodes = load64(map + LPM_NODES)
    data = key + LENGTH_BYTES
    wanted = load32(key)
    old = load32(place)
    there = nodes + old * stride
    atomic_add64(map + LPM_VERSION, 1)
    link = take_node(map, key_size, value_size, ENTRY, wanted, data)
    node = nodes + link * stride
    copy(node + value_offset(key_size), value, value_size)
    above = link
    if old != 0:
        length = load32(there + NODE_LENGTH)
        matched = common_bits(there + NODE_DATA, data, size, min(length, wanted))
        if matched == length:  # the same prefix: its entry, or an intermediate node
            store64(node + NODE_CHILDREN, load64(there + NODE_CHILDREN))
            free_node(map, stride, old)
        elif matched == wanted:
            store32(node + bit_of(there + NODE_DATA, matched) * 4, old)
        else:
            above = take_node(map, key_size, value_size, INTERMEDIATE, matched, there + NODE_DATA)
            side = bit_of(data, matched)
            store32(nodes + above * stride + side * 4, link)
            store32(nodes + above * stride + (1 - side) * 4, old)
    store_release32(place, above)
    return atomic_add64(map + LPM_VERSION, 1)


@native
def delete(cpu: int, map: int, key_size: int, value_size: int, key: int) -> int:
    """0, or EINVAL (too long a prefix), ENOENT."""
    size = key_size - LENGTH_BYTES
    wanted = load32(key)
    if wanted > size * 8:
        return -EINVAL
    stride = node_bytes(key_size, value_size)
    nodes = load64(map + LPM_NODES)
    acquire(map + MAP_LOCK)
    place = map + LPM_ROOT
    parent_place = 0
    result = -ENOENT
    while load32(place) != 0:
        node = nodes + load32(place) * stride
        length = load32(node + NODE_LENGTH)
        if common_bits(node + NODE_DATA, key + LENGTH_BYTES, size, min(length, wanted)) != length:
            break
        if length == wanted:
            if load32(node + NODE_KIND) == ENTRY:
                result = 0
            break
        parent_place = place
        place = node + bit_of(key + LENGTH_BYTES, length) * 4
    if result == 0:
        store64(map + MAP_COUNT, load64(map + MAP_COUNT) - 1)
        detach(map, stride, place, parent_place)
    release(map + MAP_LOCK)
    return result


@native
def detach(map: int, stride: int, place: int, parent_place: int) -> int:
    """Take away the entry that the link at `place` is to; its parent is at `parent_place`, 0 for the root. 0."""
    nodes = load64(map + LPM_NODES)
    link = load32(place)
    node = nodes + link * stride
    left = load32(node)
    right = load32(node + 4)
    if left != 0 and right != 0:
        return store32(node + NODE_KIND, INTERMEDIATE)
    atomic_add64(map + LPM_VERSION, 1)
    if left == 0 and right == 0 and parent_place != 0:
        above = load32(parent_place)
        parent = nodes + above * stride
        if load32(parent + NODE_KIND) == INTERMEDIATE:
            other = load32(parent + 4) if load32(parent) == link else load32(parent)
            store_release32(parent_place, other)
            free_node(map, stride, above)
        else:
            store_release32(place, 0)
    else:
        store_release32(place, left + right)
    free_node(map, stride, link)
    return atomic_add64(map + LPM_VERSION, 1)
