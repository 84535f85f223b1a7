// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
#include "program.h"

struct { __uint(type, 2); __uint(max_entries, 1); __type(key, __u32); __type(value, __u64); } shared SEC(".maps");
SEC("lwt_xmit") int run(struct __sk_buff *skb) {
    __u32 zero = 0; __u64 *v = bpf_map_lookup_elem(&shared, &zero); if (!v) return 1;
    __sync_fetch_and_add(v, 5); put(0, __sync_fetch_and_add(v, skb->len)); put(1, __sync_fetch_and_or(v, 0xf00));
    put(2, __sync_lock_test_and_set(v, 77)); put(3, __sync_val_compare_and_swap(v, 77, 99));
    put(4, __sync_val_compare_and_swap(v, 77, 98));
    put(5, __sync_fetch_and_xor(v, -1)); put(6, __sync_fetch_and_and((__u32 *)v, 0xffff)); put(7, *v);
    return 0;
}
