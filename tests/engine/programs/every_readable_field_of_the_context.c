// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
#include "program.h"

SEC("lwt_xmit") int run(struct __sk_buff *skb) {
    put(0, skb->len); put(1, skb->pkt_type); put(2, skb->mark); put(3, skb->queue_mapping); put(4, skb->protocol);
    put(5, skb->vlan_present); put(6, skb->priority); put(7, skb->ingress_ifindex); put(8, skb->ifindex);
    put(9, skb->tc_index);
    put(10, skb->hash); put(11, skb->napi_id); put(12, skb->gso_segs); put(13, skb->gso_size);
    put(14, *(volatile __u8 *)&skb->len); put(15, *((volatile __u16 *)&skb->protocol));
    return skb->data_end - skb->data;
}
