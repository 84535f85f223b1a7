"""Which element of an LRU hash goes when room is needed: the kernel's lists, step for step.

Elements that are in use are in an active and an inactive list; a lookup only sets an element's mark. Room is made in
batches: marked elements at the inactive list's end go to the active one, unmarked ones are taken. Between the CPUs
and these lists each CPU has a small list of free elements, and one of those it has just used. With BPF_F_NO_COMMON_LRU
each CPU has its own active and inactive list, and nothing else.

kernel: kernel/bpf/bpf_lru_list.c since 6.16. With one CPU at a time doing the same, on a map made for as many CPUs as
the kernel has possible ones, the same elements go as in the kernel.
"""

from __future__ import annotations

from routebpf.runtime.map_chain import END, FREE, HASH_BUCKETS, HASH_ELEMENTS, HASH_LRU, lock_bucket, set_link
from routebpf.runtime.map_lock import acquire, release
from routebpf.runtime.memory import load8, load32, load64, store8, store16, store32, store_release32
from routebpf.runtime.native import native

# What HASH_LRU points to. 32 bits each unless said.
LRU_NODES = 0  # 64 bits: the address of the nodes, one an element and one a list's head, by number
LRU_LOCALS = 8  # 64 bits: the address of the CPUs' local lists, 0 with BPF_F_NO_COMMON_LRU
LRU_SCANS = 16  # elements that a rotation looks at
LRU_TARGET = 20  # free elements that are fetched at once
LRU_LISTS = 64  # the common lists, or those of each CPU: LIST_BYTES each

# A set of lists. 32 bits each.
LIST_LOCK = 0
LIST_COUNTS = 4  # elements in the active list, then in the inactive list
LIST_CURSOR = 12  # the node of the inactive list where the next rotation starts
LIST_HEADS = 16  # the head of the active list; then come those of the inactive and free list
LIST_UNUSED = 20  # the first element that was never used: they are the end of the free list
LIST_UNUSED_END = 24
LIST_BYTES = 64

# A CPU's local lists. 32 bits each.
LOCAL_LOCK = 0
LOCAL_HEADS = 4  # the head of the free list; then comes that of the pending list
LOCAL_NEXT_STEAL = 8  # the CPU to take from when nothing else is left
LOCAL_BYTES = 64

# A node. 32 bits each unless said.
NODE_PREVIOUS = 0
NODE_NEXT = 4
NODE_BUCKET = 8  # where its element is, or will be
NODE_CPU = 12  # 16 bits
NODE_TYPE = 14  # 8 bits: the list it is in
NODE_MARK = 15  # 8 bits: not 0 since a lookup
NODE_BYTES = 16

ACTIVE, INACTIVE, UNUSED, LOCAL_FREE, LOCAL_PENDING = range(5)


@native
def unlink(nodes: int, node: int) -> int:
    """Take a node out of its list. 0."""
    place = nodes + node * NODE_BYTES
    store32(nodes + load32(place + NODE_PREVIOUS) * NODE_BYTES + NODE_NEXT, load32(place + NODE_NEXT))
    return store32(nodes + load32(place + NODE_NEXT) * NODE_BYTES + NODE_PREVIOUS, load32(place + NODE_PREVIOUS))


@native
def link_first(nodes: int, node: int, head: int, kind: int) -> int:
    """Make a node the first of a list, unmarked. 0."""
    place = nodes + node * NODE_BYTES
    following = load32(nodes + head * NODE_BYTES + NODE_NEXT)
    store32(place + NODE_PREVIOUS, head)
    store32(place + NODE_NEXT, following)
    store32(nodes + following * NODE_BYTES + NODE_PREVIOUS, node)
    store32(nodes + head * NODE_BYTES + NODE_NEXT, node)
    store8(place + NODE_TYPE, kind)
    return store8(place + NODE_MARK, 0)


@native
def previous_of(nodes: int, node: int) -> int:
    return load32(nodes + node * NODE_BYTES + NODE_PREVIOUS)


@native
def next_of(nodes: int, node: int) -> int:
    return load32(nodes + node * NODE_BYTES + NODE_NEXT)


@native
def is_marked(nodes: int, node: int) -> int:
    return load8(nodes + node * NODE_BYTES + NODE_MARK)


@native
def move(nodes: int, lists: int, node: int, head: int, kind: int) -> int:
    """Make a node that is in a list the first of another one. 0."""
    before = load8(nodes + node * NODE_BYTES + NODE_TYPE)
    if before <= INACTIVE:
        store32(lists + LIST_COUNTS + before * 4, load32(lists + LIST_COUNTS + before * 4) - 1)
    if kind <= INACTIVE:
        store32(lists + LIST_COUNTS + kind * 4, load32(lists + LIST_COUNTS + kind * 4) + 1)
    if load32(lists + LIST_CURSOR) == node:
        store32(lists + LIST_CURSOR, previous_of(nodes, node))
    unlink(nodes, node)
    return link_first(nodes, node, head, kind)


@native
def rotate_active(lru: int, lists: int) -> int:
    """From the active list's end: marked nodes go back to its start, the others to the inactive list. 0."""
    nodes = load64(lru + LRU_NODES)
    head = load32(lists + LIST_HEADS) + ACTIVE
    first = next_of(nodes, head)
    node = previous_of(nodes, head)
    for _ in range(load32(lru + LRU_SCANS)):
        if node == head:
            break
        before = previous_of(nodes, node)
        kind = ACTIVE if is_marked(nodes, node) else INACTIVE
        move(nodes, lists, node, head + kind, kind)
        if node == first:
            break
        node = before
    return 0


@native
def rotate_inactive(lru: int, lists: int) -> int:
    """From the cursor on: marked nodes go to the active list. 0."""
    nodes = load64(lru + LRU_NODES)
    head = load32(lists + LIST_HEADS) + INACTIVE
    if next_of(nodes, head) == head:
        return 0
    node = load32(lists + LIST_CURSOR)
    last = next_of(nodes, node)
    if last == head:
        last = next_of(nodes, last)
    before = head
    scanned = 0
    while scanned < load32(lru + LRU_SCANS):
        if node == head:
            node = previous_of(nodes, node)
            continue
        before = previous_of(nodes, node)
        if is_marked(nodes, node):
            move(nodes, lists, node, load32(lists + LIST_HEADS) + ACTIVE, ACTIVE)
        if node == last:
            break
        node = before
        scanned += 1
    return store32(lists + LIST_CURSOR, before)


@native
def rotate(lru: int, lists: int) -> int:
    """Both lists; the active one only while it is the longer one. 0."""
    if load32(lists + LIST_COUNTS + 4) < load32(lists + LIST_COUNTS):
        rotate_active(lru, lists)
    return rotate_inactive(lru, lists)


@native
def unhash(map: int, stride: int, node: int) -> int:
    """Take a node's element out of the chain that it is in. 0 if it is in none: it is not yet, or no longer."""
    element = load64(map + HASH_ELEMENTS) + node * stride
    bucket = load64(map + HASH_BUCKETS) + load32(load64(load64(map + HASH_LRU)) + node * NODE_BYTES + NODE_BUCKET) * 4
    first = lock_bucket(bucket)
    place = bucket
    link = first
    while link != 0 and link < END and link != node:
        place = load64(map + HASH_ELEMENTS) + link * stride
        link = load32(place)
    if link != node:
        store_release32(bucket, first)
        return 0
    following = load32(element)
    store32(element, FREE)
    set_link(bucket, first, place, following)
    return 1


@native
def shrink(map: int, stride: int, lists: int, wanted: int, head: int, kind: int) -> int:
    """Take up to `wanted` elements out of use, into the list of `head`: unmarked ones, or else a marked one. 0."""
    lru = load64(map + HASH_LRU)
    nodes = load64(lru + LRU_NODES)
    heads = load32(lists + LIST_HEADS)
    taken = 0
    node = previous_of(nodes, heads + INACTIVE)
    for _ in range(load32(lru + LRU_SCANS)):
        if node == heads + INACTIVE or taken == wanted:
            break
        before = previous_of(nodes, node)
        if is_marked(nodes, node):
            move(nodes, lists, node, heads + ACTIVE, ACTIVE)
        elif unhash(map, stride, node):
            move(nodes, lists, node, head, kind)
            taken += 1
        node = before
    if taken:
        return 0
    end = heads + INACTIVE
    if next_of(nodes, end) == end:
        end = heads + ACTIVE
    node = previous_of(nodes, end)
    while node != end:
        if unhash(map, stride, node):
            return move(nodes, lists, node, head, kind)
        node = previous_of(nodes, node)
    return 0


@native
def fetch(map: int, stride: int, local: int) -> int:
    """Free elements for a CPU, and what it used into the common lists. Its local lists are locked. 0."""
    lru = load64(map + HASH_LRU)
    nodes = load64(lru + LRU_NODES)
    lists = lru + LRU_LISTS
    heads = load32(lists + LIST_HEADS)
    local_free = load32(local + LOCAL_HEADS)
    acquire(lists + LIST_LOCK)
    node = previous_of(nodes, local_free + 1)
    while node != local_free + 1:
        before = previous_of(nodes, node)
        kind = ACTIVE if is_marked(nodes, node) else INACTIVE
        move(nodes, lists, node, heads + kind, kind)
        node = before
    rotate(lru, lists)
    wanted = load32(lru + LRU_TARGET)
    while wanted > 0 and next_of(nodes, heads + UNUSED) != heads + UNUSED:
        move(nodes, lists, next_of(nodes, heads + UNUSED), local_free, LOCAL_FREE)
        wanted -= 1
    while wanted > 0 and load32(lists + LIST_UNUSED) < load32(lists + LIST_UNUSED_END):
        node = load32(lists + LIST_UNUSED)
        store32(lists + LIST_UNUSED, node + 1)
        link_first(nodes, node, local_free, LOCAL_FREE)
        wanted -= 1
    if wanted > 0:
        shrink(map, stride, lists, wanted, local_free, LOCAL_FREE)
    return release(lists + LIST_LOCK)


@native
def pop_local_free(nodes: int, local: int) -> int:
    """A node of a CPU's free list, 0 if there is none."""
    head = load32(local + LOCAL_HEADS)
    node = next_of(nodes, head)
    if node == head:
        return 0
    unlink(nodes, node)
    return node


@native
def pop_local_pending(map: int, stride: int, nodes: int, local: int) -> int:
    """A node of what a CPU has just used, the oldest that is not marked, or else a marked one. 0 if there is none."""
    head = load32(local + LOCAL_HEADS) + 1
    for force in range(2):
        node = previous_of(nodes, head)
        while node != head:
            if (force or is_marked(nodes, node) == 0) and unhash(map, stride, node):
                unlink(nodes, node)
                return node
            node = previous_of(nodes, node)
    return 0


@native
def add_pending(nodes: int, local: int, node: int, cpu_number: int, bucket: int) -> int:
    """A node that will be used by a CPU, whose local lists are locked. 0."""
    store32(nodes + node * NODE_BYTES + NODE_BUCKET, bucket)
    store16(nodes + node * NODE_BYTES + NODE_CPU, cpu_number)
    return link_first(nodes, node, load32(local + LOCAL_HEADS) + 1, LOCAL_PENDING)


@native
def steal(map: int, stride: int, cpu_number: int, cpus: int, bucket: int) -> int:
    """An element that some CPU has free or has just used, 0 if there is none."""
    lru = load64(map + HASH_LRU)
    nodes = load64(lru + LRU_NODES)
    locals_ = load64(lru + LRU_LOCALS)
    local = locals_ + cpu_number * LOCAL_BYTES
    other = load32(local + LOCAL_NEXT_STEAL)
    node = 0
    for _ in range(cpus):
        victim = locals_ + other * LOCAL_BYTES
        acquire(victim)
        node = pop_local_free(nodes, victim)
        if node == 0:
            node = pop_local_pending(map, stride, nodes, victim)
        release(victim)
        other = other + 1 if other + 1 < cpus else 0
        if node != 0:
            break
    acquire(local)
    store32(local + LOCAL_NEXT_STEAL, other)
    if node != 0:
        add_pending(nodes, local, node, cpu_number, bucket)
    release(local)
    return node


@native
def pop_of_cpu(map: int, stride: int, cpu_number: int, bucket: int) -> int:
    """An element to use, from this CPU's own lists (BPF_F_NO_COMMON_LRU). 0 if there is none."""
    lru = load64(map + HASH_LRU)
    nodes = load64(lru + LRU_NODES)
    lists = lru + LRU_LISTS + cpu_number * LIST_BYTES
    heads = load32(lists + LIST_HEADS)
    acquire(lists + LIST_LOCK)
    rotate(lru, lists)
    node = load32(lists + LIST_UNUSED)
    if next_of(nodes, heads + UNUSED) == heads + UNUSED:
        if node < load32(lists + LIST_UNUSED_END):
            store32(lists + LIST_UNUSED, node + 1)
            link_first(nodes, node, heads + UNUSED, UNUSED)
            store16(nodes + node * NODE_BYTES + NODE_CPU, cpu_number)
        else:
            shrink(map, stride, lists, load32(lru + LRU_TARGET), heads + UNUSED, UNUSED)
    node = next_of(nodes, heads + UNUSED)
    if node == heads + UNUSED:
        node = 0
    else:
        store32(nodes + node * NODE_BYTES + NODE_BUCKET, bucket)
        move(nodes, lists, node, heads + INACTIVE, INACTIVE)
    release(lists + LIST_LOCK)
    return node


@native
def take_element(map: int, stride: int, cpu_number: int, cpus: int, bucket: int) -> int:
    """An element to use in that bucket, 0 if there is none. Others may have to go."""
    lru = load64(map + HASH_LRU)
    if load64(lru + LRU_LOCALS) == 0:
        node = pop_of_cpu(map, stride, cpu_number, bucket)
    else:
        nodes = load64(lru + LRU_NODES)
        local = load64(lru + LRU_LOCALS) + cpu_number * LOCAL_BYTES
        acquire(local)
        node = pop_local_free(nodes, local)
        if node == 0:
            fetch(map, stride, local)
            node = pop_local_free(nodes, local)
        if node != 0:
            add_pending(nodes, local, node, cpu_number, bucket)
        release(local)
        if node == 0:
            node = steal(map, stride, cpu_number, cpus, bucket)
    if node != 0:
        store32(load64(map + HASH_ELEMENTS) + node * stride, FREE)
    return node


@native
def free_element(map: int, node: int) -> int:
    """Free an element that is in no chain any more. 0."""
    lru = load64(map + HASH_LRU)
    nodes = load64(lru + LRU_NODES)
    place = nodes + node * NODE_BYTES
    lists = lru + LRU_LISTS
    locals_ = load64(lru + LRU_LOCALS)
    cpu_number = load32(place + NODE_CPU) & 0xFFFF
    if locals_ == 0:
        lists += cpu_number * LIST_BYTES
    elif load8(place + NODE_TYPE) == LOCAL_PENDING:
        local = locals_ + cpu_number * LOCAL_BYTES
        acquire(local)
        if load8(place + NODE_TYPE) == LOCAL_PENDING:
            unlink(nodes, node)
            link_first(nodes, node, load32(local + LOCAL_HEADS), LOCAL_FREE)
            return release(local)
        release(local)
    acquire(lists + LIST_LOCK)
    move(nodes, lists, node, load32(lists + LIST_HEADS) + UNUSED, UNUSED)
    return release(lists + LIST_LOCK)


@native
def mark(map: int, node: int) -> int:
    """An element was looked up. 0."""
    place = load64(load64(map + HASH_LRU)) + node * NODE_BYTES + NODE_MARK
    if load8(place) == 0:
        store8(place, 1)
    return 0
