// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
#include "jumps.h"

SEC("lwt_xmit/again") int again(struct __sk_buff *skb) { put(1, skb->len); return 21; }
SEC("lwt_xmit/other") int other(struct __sk_buff *skb) { put(2, skb->cb[0]); return 22; }
SEC("lwt_xmit/run") int run(struct __sk_buff *skb) { skb->cb[0] = 9; bpf_tail_call(skb, &jumps, 2); return 1; }
