"""The route of a packet: rules in order, in each table the longest prefix, there the first route that fits.

kernel: net/core/fib_rules.c, fib_rules_lookup(); net/ipv4/fib_trie.c, fib_table_lookup(); net/ipv6/ip6_fib.c,
fib6_table_lookup(). A result is the address of a route (positive), or a reason (negative).
"""

from __future__ import annotations

from routebpf.datapath.fib_records import (
    BUCKET_BYTES,
    BUCKET_KEY,
    BUCKET_ROUTE,
    FIB_INPUTS,
    FIB_RULE_COUNT,
    FIB_RULES,
    FIB_USES_IIF,
    FIB_USES_MARK,
    FIB_USES_SOURCE,
    FIB_USES_TOS,
    HASH_BITS,
    HOP_BOUND,
    HOP_BYTES,
    HOP_FLAGS,
    HOP_GATEWAY_FAMILY,
    HOP_IFINDEX,
    HOP_LOCAL,
    HOP_SOURCE,
    HOST_FIB4,
    HOST_FIB6,
    LENGTH_BUCKET_MASK,
    LENGTH_BUCKETS,
    LENGTH_BYTES,
    LENGTH_MASK,
    ROUTE_HAS_EQUAL,
    ROUTE_HOP_COUNT,
    ROUTE_HOPS,
    ROUTE_NEXT,
    ROUTE_PREFIX_BITS,
    ROUTE_REASON,
    ROUTE_TOS,
    ROUTE_TYPE,
    RTN_THROW,
    RULE_BYTES,
    RULE_DESTINATION,
    RULE_DESTINATION_MASK,
    RULE_FLAGS,
    RULE_IIF,
    RULE_INVERTED,
    RULE_MARK,
    RULE_MARK_MASK,
    RULE_REASON,
    RULE_SKIPPED,
    RULE_SOURCE,
    RULE_SOURCE_MASK,
    RULE_SUPPRESS,
    RULE_TABLE,
    RULE_TOS,
    TABLE_COUNT,
    TABLE_LENGTHS,
)
from routebpf.datapath.verdicts import NO_ROUTE
from routebpf.runtime.cpu import CPU_HOST, CPU_ROUTE_CACHE
from routebpf.runtime.memory import load32, load64, lshr, store64
from routebpf.runtime.native import native

LOOPBACK_IFINDEX = 1  # the device that packets of this host come in by, to rules
_ODD = 0x9E3779B97F4A7C15 - (1 << 64)

# The cache of lookups, one a CPU: direct-mapped, emptied when routes change. 64 bits each.
CACHE_ENTRIES = 1024
_CACHE_BITS = 10
CACHE_DESTINATION = 0  # high and low
CACHE_SOURCE = 16  # high and low
CACHE_REST = 32  # mark, input device, TOS and family; 0: empty
CACHE_ROUTE = 40  # the result of the lookup
CACHE_ENTRY_BYTES = 64
_FAMILY6 = 1 << 62  # in CACHE_REST
_FULL = 1 << 61
_KNOWN = -(1 << 63)


@native
def spread(high: int, low: int) -> int:
    """A hash of an address: its upper bits are the good ones."""
    return (high ^ low * _ODD ^ lshr(high, 29)) * _ODD


@native
def fib_insert(length: int, high: int, low: int) -> int:
    """The bucket of a prefix in the hash table of its length, a new one if it had none. There must be room."""
    mask = load64(length + LENGTH_BUCKET_MASK)
    buckets = load64(length + LENGTH_BUCKETS)
    at = lshr(spread(high, low), 32) & mask
    while True:
        bucket = buckets + at * BUCKET_BYTES
        if load64(bucket + BUCKET_ROUTE) == 0:
            store64(bucket + BUCKET_KEY, high)
            store64(bucket + BUCKET_KEY + 8, low)
            return bucket
        if load64(bucket + BUCKET_KEY) == high and load64(bucket + BUCKET_KEY + 8) == low:
            return bucket
        at = (at + 1) & mask


@native
def table_lookup(table: int, high: int, low: int, tos: int, by: int, iif: int) -> int:
    """The route of the longest prefix in a table that has one for this TOS, and by the device `by` unless that is 0; 0
    if there is none. Among equal ones of IPv6 that by the device `iif` comes first."""
    length = load64(table + TABLE_LENGTHS)
    end = length + load64(table + TABLE_COUNT) * LENGTH_BYTES
    while length < end:
        key_high = high & load64(length + LENGTH_MASK)
        key_low = low & load64(length + LENGTH_MASK + 8)
        mask = load64(length + LENGTH_BUCKET_MASK)
        buckets = load64(length + LENGTH_BUCKETS)
        at = lshr(spread(key_high, key_low), 32) & mask
        while True:
            bucket = buckets + at * BUCKET_BYTES
            route = load64(bucket + BUCKET_ROUTE)
            if route == 0:
                break
            if load64(bucket + BUCKET_KEY) == key_high and load64(bucket + BUCKET_KEY + 8) == key_low:
                while route != 0:
                    wanted = load32(route + ROUTE_TOS)
                    if (wanted == 0 or wanted == tos) and (by == 0 or _goes_by(route, by)):
                        return _of_equals(route, iif) if load32(route + ROUTE_HAS_EQUAL) else route
                    route = load64(route + ROUTE_NEXT)
                break
            at = (at + 1) & mask
        length += LENGTH_BYTES
    return 0


@native
def _of_equals(route: int, iif: int) -> int:
    """The first of a route and its equals that goes by the device that a packet came in by; itself, if none does.
    kernel: find_rr_leaf()."""
    if iif == LOOPBACK_IFINDEX:
        return route
    one = route
    while _goes_by(one, iif) == 0:
        if load32(one + ROUTE_HAS_EQUAL) == 0:
            return route
        one = load64(one + ROUTE_NEXT)
    return one


@native
def _goes_by(route: int, ifindex: int) -> int:
    """Whether a route is local, or has a next hop by a device. kernel: rt6_score_route(), RT6_LOOKUP_F_IFACE."""
    hop = load64(route + ROUTE_HOPS)
    end = hop + load32(route + ROUTE_HOP_COUNT) * HOP_BYTES
    while hop < end:
        if load32(hop + HOP_IFINDEX) == ifindex or load32(hop + HOP_FLAGS) & HOP_LOCAL:
            return 1
        hop += HOP_BYTES
    return 0


@native
def _rule_fits(rule: int, dst: int, dst_low: int, src: int, src_low: int, tos: int, mark: int, iif: int) -> int:
    """kernel: fib_rule_match()."""
    fits = 1
    if load32(rule + RULE_IIF) != 0 and load32(rule + RULE_IIF) != iif:
        fits = 0
    if (load32(rule + RULE_MARK) ^ mark) & load32(rule + RULE_MARK_MASK):
        fits = 0
    if load32(rule + RULE_TOS) != 0 and load32(rule + RULE_TOS) != tos:
        fits = 0
    if (src ^ load64(rule + RULE_SOURCE)) & load64(rule + RULE_SOURCE_MASK):
        fits = 0
    if (src_low ^ load64(rule + RULE_SOURCE + 8)) & load64(rule + RULE_SOURCE_MASK + 8):
        fits = 0
    if (dst ^ load64(rule + RULE_DESTINATION)) & load64(rule + RULE_DESTINATION_MASK):
        fits = 0
    if (dst_low ^ load64(rule + RULE_DESTINATION + 8)) & load64(rule + RULE_DESTINATION_MASK + 8):
        fits = 0
    return fits ^ (load32(rule + RULE_FLAGS) & RULE_INVERTED)


@native
def _counts(route: int, rule: int, is_known: int) -> int:
    """Whether a route ends the search: it does not throw, and is an error or one that the rule does not suppress.

    `is_known`: the packet has its header from its sender (FLOWI_FLAG_KNOWN_NH): a route without a gateway becomes one
    to its destination alone. kernel: fib_rules_lookup(), fib6_rule_suppress(), ip6_rt_cache_alloc().
    """
    if load32(route + ROUTE_TYPE) == RTN_THROW:
        return 0
    if load32(route + ROUTE_REASON):
        return 1
    bits = load32(route + ROUTE_PREFIX_BITS)
    if is_known and load32(load64(route + ROUTE_HOPS) + HOP_GATEWAY_FAMILY) == 0:
        bits = 128
    return bits >= load32(rule + RULE_SUPPRESS)


@native
def fib_lookup(
    fib: int,
    dst: int,
    dst_low: int,
    src: int,
    src_low: int,
    tos: int,
    mark: int,
    iif: int,
    by: int,
    is_known: int,
) -> int:
    """The route that the rules of a FIB lead to, or a reason, negative. `by`: the device that it is to go by, or 0.
    `is_known`: see `_counts`."""
    rule = load64(fib + FIB_RULES)
    end = rule + load64(fib + FIB_RULE_COUNT) * RULE_BYTES
    while rule < end:
        if _rule_fits(rule, dst, dst_low, src, src_low, tos, mark, iif):
            if load32(rule + RULE_REASON):
                return -load32(rule + RULE_REASON)
            table = load64(rule + RULE_TABLE)
            if table != 0 and load32(rule + RULE_FLAGS) & RULE_SKIPPED == 0:
                route = table_lookup(table, dst, dst_low, tos, by, iif)
                if route != 0 and _counts(route, rule, is_known):
                    return route
        rule += RULE_BYTES
    return -NO_ROUTE


@native
def route_of(
    cpu: int, family: int, dst: int, dst_low: int, src: int, src_low: int, tos: int, mark: int, iif: int, is_known: int
) -> int:
    """`fib_lookup` with the CPU's cache before it. `family` 4 or 6; `is_known` of IPv6."""
    fib = load64(load64(cpu + CPU_HOST) + HOST_FIB4)
    rest = _FULL
    if family == 6:
        fib = load64(load64(cpu + CPU_HOST) + HOST_FIB6)
        rest = _FULL | _FAMILY6
    if is_known:
        rest |= _KNOWN
    inputs = load64(fib + FIB_INPUTS)
    if inputs:
        if inputs & FIB_USES_SOURCE == 0:
            src = 0
            src_low = 0
        if inputs & FIB_USES_MARK:
            rest |= mark
        if inputs & FIB_USES_IIF:
            rest |= (iif & 0x1FFFFF) << 40
        if inputs & FIB_USES_TOS:
            rest |= tos << 32
    else:
        src = 0
        src_low = 0
    entry = load64(cpu + CPU_ROUTE_CACHE) + lshr(spread(dst, dst_low), 64 - _CACHE_BITS) * CACHE_ENTRY_BYTES
    if (
        load64(entry + CACHE_DESTINATION) == dst
        and load64(entry + CACHE_REST) == rest
        and load64(entry + CACHE_DESTINATION + 8) == dst_low
        and load64(entry + CACHE_SOURCE) == src
        and load64(entry + CACHE_SOURCE + 8) == src_low
    ):
        return load64(entry + CACHE_ROUTE)
    route = fib_lookup(fib, dst, dst_low, src, src_low, tos, mark, iif, 0, is_known)
    store64(entry + CACHE_DESTINATION, dst)
    store64(entry + CACHE_DESTINATION + 8, dst_low)
    store64(entry + CACHE_SOURCE, src)
    store64(entry + CACHE_SOURCE + 8, src_low)
    store64(entry + CACHE_REST, rest)
    store64(entry + CACHE_ROUTE, route)
    return route


@native
def hop_of(route: int, dst: int, dst_low: int, src: int, src_low: int, own: int) -> int:
    """The next hop of a route for a flow, chosen by a hash of its addresses; negative: the reason why there is none.

    One by a device that has the address `own` is preferred (IPv4, since 6.15); 0: there is none. kernel:
    fib_select_multipath() with fib_multipath_hash_policy 0, but for the hash, which is random there.
    """
    if route < 0:
        return route
    reason = load32(route + ROUTE_REASON)
    if reason:
        return -reason
    hop = load64(route + ROUTE_HOPS)
    count = load32(route + ROUTE_HOP_COUNT)
    if count <= 1:
        return hop
    value = lshr(spread(dst ^ spread(src, src_low), dst_low), 64 - HASH_BITS)
    best = 0
    chosen = hop
    while count > 0 and best < 3:
        score = 0
        if own != 0 and load32(hop + HOP_SOURCE) == own:
            score = 2
        if value <= load32(hop + HOP_BOUND):
            score += 1
        if score > best:
            best = score
            chosen = hop
        if own == 0 and best:
            break
        hop += HOP_BYTES
        count -= 1
    return chosen
