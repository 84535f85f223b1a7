// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
#include <stddef.h>
#include <string.h>
#include <linux/bpf.h>
#include <linux/ip.h>
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_endian.h>

struct gre { __be16 flags, protocol; };

SEC("lwt_xmit/run") int run(struct __sk_buff *skb)
{
	struct { struct iphdr ip; struct gre gre; } outer;

	memset(&outer, 0, sizeof(outer));
	outer.ip.version = 4;
	outer.ip.ihl = 5;
	outer.ip.ttl = 64;
	outer.ip.protocol = 47;
	outer.ip.saddr = bpf_htonl(0xac100164);
	outer.ip.daddr = bpf_htonl(0xac101064);
	outer.ip.tot_len = bpf_htons(skb->len + sizeof(outer));
	outer.gre.protocol = skb->protocol;
	if (bpf_lwt_push_encap(skb, BPF_LWT_ENCAP_IP, &outer, sizeof(outer)))
		return BPF_DROP;
	return BPF_LWT_REROUTE;
}

char _license[] SEC("license") = "GPL";
