// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
#include "jumps.h"

SEC("lwt_xmit/again") int again(struct __sk_buff *skb) {
    __u64 *runs = count(0); if (runs) ++*runs;
    bpf_tail_call(skb, &jumps, 1);
    bpf_tail_call(skb, &jumps, 0);
    return 40;
}
SEC("lwt_xmit/other") int other(struct __sk_buff *skb) { return 22; }
SEC("lwt_xmit/run") int run(struct __sk_buff *skb) { bpf_tail_call(skb, &jumps, 0); return 1; }
