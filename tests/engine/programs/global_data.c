// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
#include "program.h"

__u64 counter = 7; static volatile __u32 hidden = 9; int zeroed[5]; const volatile __u32 rate = 1000;
static const int table[4] = {1, 20, 300, 4000};
SEC("lwt_xmit") int run(struct __sk_buff *skb) {
    zeroed[3] = 2; counter += rate; hidden++; put(0, counter); put(1, hidden);
    return counter + hidden + zeroed[3] + table[skb->len & 3];
}
