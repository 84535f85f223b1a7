// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
//
// No mail leaves by this route: packets to TCP port 25 are dropped, all others go on.
//
//     routebpf run examples/drop_smtp.bpf.c --to 10.0.0.0/8 --pcap captures/mail-and-dns.pcapng
//
#include <routebpf.h>

SEC("lwt_xmit")
int drop_smtp(struct __sk_buff *skb)
{
	void *data = (void *)(long)skb->data;
	void *data_end = (void *)(long)skb->data_end;
	struct iphdr *ip = data;
	struct tcphdr *tcp;

	// On a route, the packet begins with its IP header.
	if (data + sizeof(*ip) > data_end || ip->version != 4 || ip->protocol != IPPROTO_TCP)
		return BPF_OK;
	if (ip->frag_off & bpf_htons(0x1fff))
		return BPF_OK;  // not the first fragment: it holds no port

	tcp = data + ip->ihl * 4;
	if ((void *)(tcp + 1) > data_end)
		return BPF_OK;
	return tcp->dest == bpf_htons(25) ? BPF_DROP : BPF_OK;
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
