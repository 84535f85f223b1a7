// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
#include "program.h"

__u64 sum;
static __noinline int square(int x) { return x * x; }
static long inner(__u32 i, void *ctx) { sum += square(i); return 0; }
static long outer(__u32 i, void *ctx) { bpf_loop(i, inner, 0, 0); return sum > 500; }
SEC("lwt_xmit") int run(struct __sk_buff *skb) {
    sum = skb->len;
    put(1, bpf_loop(50, outer, 0, 0));
    put(0, sum);
    return 0;
}
