// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
#include "program.h"

struct inner { __uint(type, 2); __uint(max_entries, 1); __type(key, __u32); __type(value, __u32); };
struct inner a SEC(".maps"), b SEC(".maps");
struct { __uint(type, 12); __uint(max_entries, 8); __type(key, __u32); __array(values, struct inner); }
    outer SEC(".maps") = { .values = { [1] = &a, [5] = &b } };
SEC("lwt_xmit") int run(struct __sk_buff *skb) {
    __u32 one = 1, five = 5, zero = 0, value = 33, *found; void *inner;
    bpf_map_update_elem(&b, &zero, &value, 0);
    inner = bpf_map_lookup_elem(&outer, &five);
    if (!inner) return 1;
    found = bpf_map_lookup_elem(inner, &zero);
    if (!found) return 2;
    inner = bpf_map_lookup_elem(&outer, &zero);
    return inner ? 3 : *found;
}
