// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
#include "jumps.h"

SEC("lwt_xmit/again") int again(struct __sk_buff *skb) { return 21; }
SEC("lwt_xmit/other") int other(struct __sk_buff *skb) { __u64 *runs = count(0); if (runs) ++*runs; return 22; }
static __noinline int within(struct __sk_buff *skb, int which) { bpf_tail_call(skb, &jumps, which); return 5; }
SEC("lwt_xmit/run") int run(struct __sk_buff *skb) {
    __u64 sum = 0;
    for (int i = 0; i < 40; i++) sum += within(skb, 2);
    put(1, sum); put(2, within(skb, 0)); put(3, within(skb, 3));
    return sum;
}
