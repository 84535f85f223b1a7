// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
#include "jumps.h"

static long (*tail_call_64)(void *ctx, void *map, __u64 index) = (void *)12;

SEC("lwt_xmit/again") int again(struct __sk_buff *skb) { put(0, 1); return 21; }
SEC("lwt_xmit/other") int other(struct __sk_buff *skb) { return 22; }
SEC("lwt_xmit/run") int run(struct __sk_buff *skb) {
    bpf_tail_call(skb, &jumps, 1);
    put(1, 1);
    bpf_tail_call(skb, &jumps, 4);
    put(2, 1);
    bpf_tail_call(skb, &jumps, 0xffffffff);
    put(3, 1);
    tail_call_64(skb, &jumps, 0x500000001);
    put(4, 1);
    tail_call_64(skb, &jumps, 0x500000002);
    return 3;
}
