// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
// Parses IPv4 and TCP headers, and drops what goes to port 25: "tcp dst port 25" and IPv4.
#include <routebpf.h>

SEC("lwt_xmit")
int filter(struct __sk_buff *skb)
{
	void *data = (void *)(long)skb->data;
	void *data_end = (void *)(long)skb->data_end;
	struct iphdr *ip = data;
	struct tcphdr *tcp;

	if (data + sizeof(*ip) > data_end || ip->version != 4 || ip->protocol != IPPROTO_TCP)
		return BPF_OK;
	if (ip->frag_off & bpf_htons(0x1fff))
		return BPF_OK;
	tcp = data + ip->ihl * 4;
	if ((void *)(tcp + 1) > data_end)
		return BPF_OK;
	return tcp->dest == bpf_htons(25) ? BPF_DROP : BPF_OK;
}
