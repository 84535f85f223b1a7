// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
#include "program.h"

static long each(void *map, __u32 *key, __u64 *value, __u64 *sum) { *sum = *sum * 7 + *key + *value;
    *value += *key; return *key == 9; }
SEC("lwt_xmit") int run(struct __sk_buff *skb) {
    __u64 sum = 0; for (__u64 i = 0; i < 16; i++) put(i, i * 3);
    long n = bpf_for_each_map_elem(&out, each, &sum, 0); put(15, sum); return n;
}
