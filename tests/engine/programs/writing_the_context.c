// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
#include "program.h"

SEC("lwt_xmit") int run(struct __sk_buff *skb) {
    skb->mark = 0x12345678; skb->priority = 0x9abcdef0; skb->cb[0] = 1; skb->cb[4] = 0xffffffff;
    *(volatile __u8 *)&skb->cb[1] = 0xaa; *((volatile __u16 *)&skb->cb[1] + 1) = 0xbbbb;
    *(volatile __u64 *)&skb->cb[2] = 0x1122334455667788;
    for (int i = 0; i < 5; i++) put(i, skb->cb[i]);
    put(5, skb->mark); put(6, skb->priority); put(7, *((volatile __u8 *)&skb->mark + 1));
    put(8, *(volatile __u64 *)&skb->cb[2]);
    return 0;
}
