"""Random programs for scenarios, as C: rows of what a program may do, each with places for arguments that are drawn.

Not drawn, as both hosts cannot make the same of it: bpf_skb_under_cgroup, whose maps only the kernel has; values of
hashes, random numbers and clocks; BPF_F_INGRESS to a device that is up and takes the packet as its own; a packet
without a byte, which nobody sees leave; what a program does after bpf_skb_set_tunnel_key but drop or redirect, as the
packet has no route then, which the kernel does not survive.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from random import Random

PRELUDE = Path(__file__).with_name("generated.bpf.h").read_text(encoding="utf-8")
IN, OUT, XMIT = "lwt_in", "lwt_out", "lwt_xmit"
ALL = (IN, OUT, XMIT)

# Devices by number: 1 is lo, 2 and 3 are Ethernet and up, 4 is a tun, 5 is Ethernet and down, 6 has
# no ARP, 7 is a dummy, 8 a tap, 999 is none.
ARGUMENTS: dict[str, tuple[str, ...]] = {
    "offset": (
        "0", "1", "2", "6", "8", "9", "12", "14", "16", "19", "20", "24", "28", "33", "39", "40", "41", "47", "54",
        "60", "skb->len - 1", "skb->len - 2", "skb->len - 4", "skb->len - 8", "skb->len", "skb->len + 1",
        "skb->len / 2", "skb->len / 2 | 1", "0xffff", "0x10000", "-1", "-4", "0x7fffffff", "0x80000000",
        "0xffffffff",
    ),
    "near": ("0", "1", "2", "4", "6", "8", "10", "11", "14", "20", "26", "28", "36", "40", "46", "60"),
    "size": ("1", "2", "3", "4", "5", "6", "8", "14", "16", "20", "28", "32", "40", "63", "64"),
    "sum_size": ("4", "4", "8", "16", "40", "64", "1", "2", "3", "7", "63"),
    "store_flags": ("0", "0", "0", "1", "1", "2", "3", "4", "8", "-1", "1ull << 32"),
    "no_flags": ("0", "0", "0", "0", "0", "0", "0", "1", "-1", "1ull << 32"),
    "pull": ("0", "1", "20", "60", "skb->len - 1", "skb->len", "skb->len + 1", "0xffff", "-1", "0x80000000"),
    "head": (
        "0", "1", "2", "4", "13", "14", "14", "14", "14", "16", "18", "20", "40", "64", "100", "255", "256", "260",
        "300", "512", "1000", "8000", "16064 - skb->len", "16065 - skb->len", "-1", "0x7fffffff", "0x80000000",
    ),
    "tail": (
        "40", "41", "48", "60", "skb->len - 1", "skb->len - 2", "skb->len - 8",
        "skb->len", "skb->len + 1", "skb->len + 2", "skb->len + 14", "skb->len + 64", "576", "1280", "1399", "1400",
        "1401", "1500", "1501", "1504", "1514", "1518", "1519", "1600", "4000", "16064", "16065", "0xffff", "-1",
        "0x80000000",
    ),
    "short_tail": ("1", "19", "20", "21", "28", "39"),
    "seed": ("0", "1", "0xffff", "0x10000", "0xffffffff", "0x12345678"),
    "old_new": ("0", "1", "0xffff", "0x1234", "0xffffffff", "0x0a000001", "-1", "1ull << 32"),
    "l3_flags": ("0", "2", "2", "4", "4", "1", "3", "8", "16", "-1"),
    "l4_flags": (
        "0", "2", "4", "16 | 2", "16 | 4", "16", "32 | 2", "32 | 4", "32 | 64 | 2", "64 | 4", "16 | 32 | 4", "128",
        "16 | 128", "16 | 32 | 64 | 4", "128 | 4", "1", "3", "8", "256", "-1",
    ),
    "level": ("0", "1", "1", "2", "2", "3", "4", "-1"),
    "device": ("2", "2", "3", "3", "3", "4", "4", "5", "6", "7", "8", "999", "0", "-1"),
    "redirect_flags": ("0", "0", "0", "0", "0", "2", "1ull << 32", "-1"),
    "no_device": ("5", "999"),
    "ethernet": ("2", "3", "6", "7", "8"),
    "tos": ("0", "0x10", "0x08", "0xff", "0xb8", "0x03"),
    "hops": ("0", "1", "2", "64", "255"),
    "outer_map": ("slots", "keyed"),
    "mark": ("0", "1", "0x77", "0x77", "0xffffffff"),
    "priority": ("0", "1", "6", "15", "0xffffffff"),
    "cb": ("0", "1", "2", "3", "4"),
    "byte": ("0", "0x45", "0x4f", "0x46", "0x65", "0x7f", "0xff", "0xb8", "33"),
    "half": ("0", "0xffff", "0x1234", "0x45", "bpf_htons(1500)", "bpf_htons(skb->len)"),
    "word": ("0", "0xffffffff", "0x12345678", "bpf_htonl(0x0a010003)"),
    "to4": (
        "0x0a000003", "0x0a010003", "0x0a020003", "0x0a000002", "0x0a0000ff", "0xe0050007", "0xcb007101", "0xc0a80007",
        "0xc0a80107", "0xc0a80207", "0xc0a80307", "0xc0a80407", "0xc0a80507", "0xc0a80607", "0xc0a8c801", "0xc0a8c901",
        "0xc0a8ca01", "0xffffffff", "0xac120007",
    ),
    "to6": (
        "0xa, 0, 3", "0xb, 0, 3", "0xc, 0, 3", "0xa, 0, 2", "0x99, 0, 1", "0x20, 0, 7", "0x20, 1, 7", "0x20, 2, 7",
        "0x20, 3, 7", "0x20, 4, 7", "0x20, 0xc8, 1", "0x20, 0xc9, 1", "0x20, 0xca, 1",
        "0x32, 0, 7",
    ),
    "kind": ("2", "2", "2", "2", "2", "2", "2", "0", "1", "3", "-1"),
    "outer4": ("20", "20", "20", "24", "28", "28", "32", "36", "19", "21", "40", "64", "1"),
    "outer6": ("40", "40", "40", "44", "48", "48", "52", "39", "41", "60", "64"),
    "next": ("4", "41", "47", "47", "17", "17", "253", "0"),
    "ihl": ("5", "5", "5", "6"),
    "any_ihl": ("5", "6", "4", "0", "15"),
    "check": ("0", "0", "0", "0x1234", "0xffff"),
    "fragment": ("0", "0", "0", "0x4000", "0x2000", "0x0010"),
    "ttl": ("64", "64", "64", "1", "0", "255"),
    "key_size": ("44", "44", "44", "28", "24", "22", "8", "43", "1"),
    "key_flags": ("0", "0", "1", "1", "2", "4", "8", "16", "32", "-1"),
    "label": ("0", "0", "0", "0x12345"),
    "ext": ("0", "0", "0", "1"),
    "option_size": ("4", "8", "64", "5", "1"),
    "map": (
        "small_array", "small_array_percpu", "small_hash", "small_hash_late", "small_hash_percpu", "small_lru",
        "small_lru_percpu",
    ),
    "hash": ("small_hash", "small_hash_late", "small_hash_percpu", "small_lru", "small_lru_percpu"),
    "percpu": ("small_array_percpu", "small_hash_percpu", "small_lru_percpu"),
    "taken": ("small_queue", "small_stack"),
    "map_flags": ("0", "0", "0", "0", "1", "1", "2", "2", "3", "4", "8", "-1", "1ull << 32"),
    "prefix": ("0", "1", "7", "8", "23", "24", "31", "32", "33", "-1"),
    "times": ("skb->mark & 1", "1", "7", "1000", "1002", "1 << 23", "(1 << 23) + 1", "-1"),
    "ring_flags": ("0", "0", "1", "2", "3", "4", "-1"),
    "query": ("0", "1", "2", "3", "4", "-1"),
    "record_size": ("0", "1", "7", "8", "9", "40", "64"),
    "sample_flags": (
        "BPF_F_CURRENT_CPU", "BPF_F_CURRENT_CPU", "BPF_F_CURRENT_CPU | 20ull << 32", "100000",
        "BPF_F_CURRENT_CPU | (__u64)skb->len << 32", "BPF_F_CURRENT_CPU | (__u64)(skb->len + 1) << 32",
        "0", "BPF_F_CURRENT_CPU | (__u64)(skb->len - 1) << 32",
        "BPF_F_CURRENT_CPU | 1ull << 52", "BPF_F_CURRENT_CPU | 1ull << 63", "1ull << 52 | BPF_F_CURRENT_CPU",
    ),
    "start": ("0", "0", "1", "14", "20", "40", "skb->len - 2", "skb->len", "skb->len + 1", "-1"),
    "end": ("skb->len", "skb->len", "skb->len - 2", "40", "60", "0", "skb->len + 1", "-1"),
    "base": ("0", "0", "8", "10", "10", "16", "16", "2", "17", "-1", "1ull << 32"),
    "room": ("0", "1", "8", "40", "63", "64"),
    "count": ("0", "1", "8", "20", "64", "300", "skb->len", "skb->len - 1", "skb->len - 40", "-1", "0x80000000"),
    "reserved": ("0", "8", "9", "40", "300", "skb->len", "4088", "4089", "0xffffffff"),
    "any_map": (
        "small_array", "small_array_percpu", "small_hash", "small_hash_late", "small_hash_percpu", "small_lru",
        "small_lru_percpu",
    ),
    "guarded": ("guarded_array", "guarded_hash"),
    "lock_flags": ("0", "1", "2", "3", "4", "4", "5", "6", "7", "8"),
    "integer": ("0", "1", "-5", "60", "READ(__u8, 8)", "0x7fffffff", "-2147483647 - 1", "8388608"),
    "words": ("0", "1", "2", "3", "4", "5", "512", "513"),
    "type": ("__u8", "__s8", "__u16", "__s16", "__u32", "__s32", "__u64", "__s64"),
    "value": (
        "READ(__u8, 1)", "READ(__u16, 2)", "READ(__u32, 16)", "READ(__u64, 12)", "READ(__u64, 8)", "-READ(__u8, 8)",
        "skb->len", "-(__s64)skb->len", "1ull << 63", "1ull << 31",
    ),
    "digits": ("1", "2", "5", "15", "16"),
    "print": (
        "format_numbers, skb->len, skb->mark, -(__s64)skb->len, READ(__u32, 4), READ(__u32, 16)",
        "format_wide, READ(__u32, 4) * 0x100000001ull, READ(__u32, 12), 'a' + (skb->len & 15)",
        "format_signs, skb->len, -(__s64)skb->len, READ(__u8, 8), READ(__u16, 2), READ(__u64, 12)",
        "format_addresses, (long)pattern, (long)pattern, (long)pattern, (long)some_text",
    ),
    "print_size": ("64", "64", "32", "8", "1"),
    "tail_slot": ("0", "1", "2", "2", "2", "3", "5", "6", "-1"),
    "condition": (
        "skb->len & 1", "skb->len > 200", "skb->len < 60", "skb->protocol == bpf_htons(ETH_P_IP)", "skb->mark",
        "skb->ingress_ifindex", "skb->pkt_type", "skb->ifindex == 2", "skb->cb[0]",
        "READ(__u8, 1)", "READ(__u8, 8) > 60",
    ),
    "field": (
        "len", "pkt_type", "mark", "queue_mapping", "protocol", "vlan_present", "vlan_tci", "vlan_proto", "priority",
        "ingress_ifindex", "ifindex", "tc_index", "napi_id", "gso_segs", "gso_size", "cb[0]", "cb[4]",
    ),
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Block:
    """What a program may do. `text`: C, with the names of arguments in braces. `hooks`: the program types that can."""

    weight: int
    text: str
    hooks: tuple[str, ...] = (XMIT,)


BLOCKS: tuple[Block, ...] = (
    Block(4, "note(skb->{field});", ALL),
    Block(2, "note(skb->data_end - skb->data);", ALL),
    Block(2, "note(READ(__u8, {near}));", ALL),
    Block(2, "note(READ(__u32, {near}));", ALL),
    Block(4, "note(bpf_skb_load_bytes(skb, {offset}, bytes, {size})); note(SUM(bytes));", ALL),
    Block(2, "note(bpf_skb_pull_data(skb, {pull}));", ALL),
    Block(2, "note(bpf_csum_diff((void *)bytes, {sum_size}, (void *)pattern, {sum_size}, {seed}));", ALL),
    Block(1, "note(bpf_csum_diff(0, 0, (__be32 *)pattern, {sum_size}, {seed}));", ALL),
    Block(1, "note(bpf_csum_diff((__be32 *)pattern, {sum_size}, 0, 0, {seed}));", ALL),
    Block(1, "note(bpf_get_route_realm(skb));", ALL),
    Block(1, "note(bpf_get_cgroup_classid(skb));", ALL),
    Block(2, "note(bpf_get_hash_recalc(skb) != 0);", ALL),
    Block(1, "note(bpf_get_hash_recalc(skb) == skb->hash);", ALL),
    Block(1, "note(count(skb, {near}));", ALL),
    Block(2, "skb->mark = {mark};", ALL),
    Block(1, "skb->priority = {priority};", ALL),
    Block(1, "skb->cb[{cb}] = {word};", ALL),
    Block(1, "bpf_set_hash_invalid(skb); note(skb->hash);"),
    Block(4, "note(bpf_skb_store_bytes(skb, {offset}, pattern, {size}, {store_flags}));"),
    Block(2, "note(bpf_skb_store_bytes(skb, {near}, pattern, {size}, {store_flags}));"),
    Block(3, "note(bpf_skb_change_head(skb, {head}, {no_flags}));"),
    Block(4, "note(bpf_skb_change_tail(skb, {tail}, {no_flags}));"),
    # An IPv6 packet that ends before its header does is routed by what lies behind it.
    Block(1, "if (skb->protocol == bpf_htons(ETH_P_IP)) note(bpf_skb_change_tail(skb, {short_tail}, {no_flags}));"),
    Block(2, "note(WRITE(__u8, {near}, {byte}));"),
    Block(1, "note(WRITE(__u16, {near}, {half}));"),
    Block(1, "note(WRITE(__u32, {near}, {word}));"),
    Block(2, "note(bpf_csum_update(skb, {seed}));"),
    Block(3, "note(bpf_csum_level(skb, {level}));"),
    Block(2, "note(bpf_l3_csum_replace(skb, {offset}, {old_new}, {old_new}, {l3_flags}));"),
    Block(1, "note(bpf_l3_csum_replace(skb, 10, 0, {old_new}, 0));"),
    Block(3, "note(bpf_l4_csum_replace(skb, {offset}, {old_new}, {old_new}, {l4_flags}));"),
    Block(1, "note(bpf_l4_csum_replace(skb, 26, 0, {old_new}, {l4_flags}));"),
    Block(2, "note(bpf_redirect({device}, {redirect_flags}));"),
    Block(3, "note(bpf_clone_redirect(skb, {device}, {redirect_flags}));"),
    Block(1, "note(bpf_clone_redirect(skb, {no_device}, BPF_F_INGRESS));"),
    Block(2, "note(link_header(skb)); note(bpf_clone_redirect(skb, {device}, {redirect_flags}));"),
    Block(5, "note(destination(skb, {to4}, {to6}));"),
    Block(
        5,
        "note(outer4(skb, {to4}, {next}, {outer4}, {ihl}, {check}, {fragment}, {ttl}, {kind}));",
    ),
    Block(4, "note(outer6(skb, {to6}, {next}, {outer6}, {ttl}, {kind}));"),
    # Fragments of a packet whose header is not as long as it says have what lies behind them in their checksum; with
    # BPF_OK a packet is forwarded, and cut, as one of its route's family.
    Block(
        1,
        "if (IS_SHORT) note(outer4(skb, {to4}, {next}, {outer4}, {any_ihl}, {check}, {fragment}, {ttl}, {kind}));",
    ),
    Block(
        5,
        "if (IS_SHORT) note(outer4(skb, {to4}, {next}, {outer4}, {any_ihl}, {check}, {fragment}, {ttl}, {kind}));",
        (IN,),
    ),
    Block(4, "if (IS_SHORT) note(outer6(skb, {to6}, {next}, {outer6}, {ttl}, {kind}));", (IN,)),
)
# Maps, loops, records, tail calls.
BLOCKS += (
    Block(3, "note(bpf_map_update_elem(&{map}, KEY({near}), NUMBER(skb->len), {map_flags}));", ALL),
    Block(2, "note(FOUND(bpf_map_lookup_elem(&{map}, KEY({near}))));", ALL),
    Block(2, "note(ADDED(bpf_map_lookup_elem(&{map}, KEY({near}))));", ALL),
    Block(2, "note(bpf_map_delete_elem(&{hash}, KEY({near})));", ALL),
    Block(1, "note(bpf_map_lookup_percpu_elem(&{percpu}, KEY({near}), 100000) != 0);", ALL),
    Block(2, "note(bpf_map_update_elem(&trie, PREFIX({prefix}, {near}), NUMBER(skb->len), {map_flags}));", ALL),
    Block(2, "note(FOUND(bpf_map_lookup_elem(&trie, PREFIX({prefix}, {near}))));", ALL),
    Block(1, "note(bpf_map_delete_elem(&trie, PREFIX({prefix}, {near})));", ALL),
    Block(2, "note(bpf_map_push_elem(&{taken}, NUMBER(skb->len), {map_flags}));", ALL),
    Block(1, "note(bpf_map_pop_elem(&{taken}, &number)); note(number);", ALL),
    Block(1, "note(bpf_map_peek_elem(&{taken}, &number)); note(number);", ALL),
    Block(1, "note(bpf_map_push_elem(&bloom, KEY({near}), {map_flags})); note(bpf_map_peek_elem(&bloom, &word));", ALL),
    Block(1, "note(each({no_flags}));", ALL),
    Block(1, "note(loop({times}, {no_flags}));", ALL),
    Block(1, "note(bpf_ringbuf_output(&ring, (void *)pattern, {record_size}, {ring_flags}));", ALL),
    Block(1, "note(reserve(skb, {no_flags}, {level}, {ring_flags}));", ALL),
    Block(1, "note(bpf_ringbuf_query(&ring, {query}));", ALL),
    Block(1, "note(bpf_perf_event_output(skb, &samples, {sample_flags}, (void *)pattern, {record_size}));", ALL),
    Block(2, "part(skb, bytes, {no_flags}, {start}, {end}, {offset});", ALL),
    Block(2, "written(skb, {start}, {offset}, {no_flags}, {store_flags});"),
    Block(1, "parsed(skb, bytes, {near}, {digits}, {base});", ALL),
    Block(1, "PRINTED({print_size}, {print});", ALL),
    Block(2, "bpf_tail_call(skb, &tails, {tail_slot}); note(-1);"),
    Block(2, "bpf_tail_call(skb, &tails_in, {tail_slot}); note(-1);", (IN,)),
    Block(2, "bpf_tail_call(skb, &tails_out, {tail_slot}); note(-1);", (OUT,)),
    Block(2, "to_memory(skb, {room}, {no_flags}, {start}, {near}, {offset}, {count});", ALL),
    Block(2, "to_packet(skb, {start}, {end}, {offset}, {near}, {count}, {byte});"),
    Block(1, "to_ring(skb, {reserved}, {no_flags}, {near}, {offset}, {count}, {level}, {ring_flags});", ALL),
    Block(1, "LOCKED({guarded}, KEY({near}), {lock_flags});", ALL),
    Block(2, "note(AT({near}, 24, bpf_map_update_elem(&wide_hash, p, p + 16, {map_flags})));", ALL),
    Block(1, "note(AT({near}, 16, FOUND(bpf_map_lookup_elem(&wide_hash, p))));", ALL),
    Block(1, "note(AT({near}, 16, bpf_map_delete_elem(&wide_hash, p)));", ALL),
    Block(1, "note(AT({near}, 64, bpf_csum_diff(0, 0, p, {sum_size}, {seed})));", ALL),
    Block(1, "note(AT({near}, 64, bpf_csum_diff(p, {sum_size}, (__be32 *)pattern, {sum_size}, {seed})));", ALL),
    Block(1, "EVERY({any_map}, {no_flags});", ALL),
    Block(1, "numbers({integer}, {integer});", ALL),
    Block(1, "bits(skb, {near}, {words});", ALL),
    Block(1, "ATOMIC(cell, {value});", ALL),
    Block(1, "ATOMIC(half_cell, (__u32)({value}));", ALL),
    Block(2, "CALCULATED({type}, {value}, {value});", ALL),
    Block(1, "note(bpf_trace_printk(some_text, sizeof(some_text)));", ALL),
)
# Maps in maps, fields of the IP header, routes with a program of in.
BLOCKS += (
    Block(2, "INNER({outer_map}, KEY({near}), {near}, {map_flags});", ALL),
    Block(1, "note(bpf_user_ringbuf_drain(&commands, in_command, NULL, {ring_flags}));", ALL),
    Block(2, "set_tos(skb, {tos});"),
    Block(2, "set_ttl(skb, {hops});"),
    Block(1, "if (skb->protocol != bpf_htons(ETH_P_IP)) half_changed(skb, 2, (__u16){seed}, 0xffff);"),
    Block(1, "note(link_header(skb)); note(bpf_clone_redirect(skb, {ethernet}, BPF_F_INGRESS));"),
)
# Before these a packet still has its route, behind them it has none.
TUNNEL_BLOCKS: tuple[Block, ...] = (
    Block(3, "note(tunnel(skb, {key_size}, {key_flags}, {label}, {ext}));"),
    Block(
        3,
        "note(bpf_skb_get_tunnel_key(skb, (void *)bytes, {key_size}, {key_flags})); note(SUM(bytes));",
    ),
    Block(2, "note(bpf_skb_set_tunnel_opt(skb, (void *)pattern, {option_size}));"),
    Block(2, "note(bpf_skb_get_tunnel_opt(skb, (void *)bytes, {option_size})); note(SUM(bytes));"),
    Block(1, "note(bpf_get_route_realm(skb));"),
    Block(1, "note(bpf_clone_redirect(skb, {device}, {redirect_flags}));"),
    Block(1, "note(link_header(skb));"),
    Block(1, "note(bpf_skb_store_bytes(skb, {near}, pattern, {size}, {store_flags}));"),
)
_TUNNEL_CHANCE = 0.06
_CONDITION_CHANCE = 0.2
_RETURN_CHANCE = 0.06


@dataclass(frozen=True, slots=True)
class Return:
    """What a program may return. `reroutes`: it may have the route looked up anew."""

    weight: int
    text: str
    hooks: tuple[str, ...] = ALL
    reroutes: bool = False


RETURNS: tuple[Return, ...] = (
    Return(8, "0"),
    Return(1, "2"),
    Return(1, "1"),
    Return(1, "3"),
    Return(1, "7"),
    Return(1, "127"),
    Return(1, "129"),
    Return(1, "-1"),
    Return(1, "256"),
    Return(7, "128", reroutes=True),
    Return(2, "bpf_redirect({device}, {redirect_flags})", (XMIT,)),
    Return(2, "link_header(skb) ? 2 : bpf_redirect({device}, {redirect_flags})", (XMIT,)),
    Return(1, "bpf_redirect({no_device}, BPF_F_INGRESS)", (XMIT,)),
    Return(1, "link_header(skb) ? 2 : bpf_redirect({ethernet}, BPF_F_INGRESS)", (XMIT,)),
)
_TUNNEL_RETURNS: tuple[Return, ...] = (
    Return(2, "2"),
    Return(2, "bpf_redirect({device}, {redirect_flags})"),
    Return(2, "link_header(skb) ? 2 : bpf_redirect({device}, {redirect_flags})"),
)


@dataclass(frozen=True, slots=True)
class Program:
    """A program: what it does, a text each, and what it returns."""

    name: str
    hook: str
    blocks: tuple[str, ...]
    code: str

    @property
    def text(self) -> str:
        lines = "".join(f"\t{one}\n" for one in self.blocks)
        number = int(self.name[1:])
        return (
            f'SEC("{self.hook}") int {self.name}(struct __sk_buff *skb)\n'
            f"{{\n\t__u8 bytes[64] = {{}};\n\n\tnoted.program = {number};\n{lines}\treturn {self.code};\n}}\n"
        )


def draw_program(chance: Random, name: str, hook: str, *, reroutes: bool) -> Program:
    """A program of a hook. `reroutes`: it may return BPF_LWT_REROUTE."""
    is_tunnel = hook == XMIT and chance.random() < _TUNNEL_CHANCE
    blocks = [one for one in (TUNNEL_BLOCKS if is_tunnel else BLOCKS) if hook in one.hooks]
    returns = [
        one
        for one in (_TUNNEL_RETURNS if is_tunnel else RETURNS)
        if hook in one.hooks and (reroutes or not one.reroutes)
    ]

    def drawn(text: str) -> str:
        return re.sub(r"\{(\w+)\}", lambda found: chance.choice(ARGUMENTS[found[1]]), text)

    def code() -> str:
        return drawn(chance.choices(returns, [one.weight for one in returns])[0].text)

    texts = []
    for one in chance.choices(blocks, [one.weight for one in blocks], k=chance.choice((0, 1, 1, 2, 2, 3, 4, 6))):
        text = drawn(one.text)
        if chance.random() < _CONDITION_CHANCE:
            text = f"if ({drawn('{condition}')}) {{ {text} }}"
        texts.append(text)
        if chance.random() < _RETURN_CHANCE:
            texts.append(drawn("if ({condition})") + f" return {code()};")
    return Program(name, hook, tuple(texts), code())


def source_of(programs: tuple[Program, ...]) -> str:
    """The C file that has them all."""
    return PRELUDE + "\n" + "\n".join(one.text for one in programs)
