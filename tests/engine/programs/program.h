// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/* What every program here has: the context, and an array for what it found out. */
#pragma once

struct __sk_buff { __u32 len, pkt_type, mark, queue_mapping, protocol, vlan_present, vlan_tci, vlan_proto, priority,
    ingress_ifindex, ifindex, tc_index, cb[5], hash, tc_classid, data, data_end, napi_id, family, remote_ip4, local_ip4,
    remote_ip6[4], local_ip6[4], remote_port, local_port, data_meta; __u64 flow_keys, tstamp; __u32 wire_len, gso_segs;
    __u64 sk; __u32 gso_size; };
struct { __uint(type, 2); __uint(max_entries, 16); __type(key, __u32); __type(value, __u64); } out SEC(".maps");
static __attribute__((always_inline)) void put(__u32 at, __u64 value) { bpf_map_update_elem(&out, &at, &value, 0); }
