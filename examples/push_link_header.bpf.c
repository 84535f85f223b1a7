// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
//
// A link header pushed at transmit: no neighbour is resolved, the program knows the next hop's address, and sends the
// frame by the device that it chooses.
//
//     routebpf run --topology examples/push_link_header.topology --pcap captures/web.pcap --write build/pushed.pcap
//
#include <routebpf.h>

const volatile __u32 out_ifindex = 3;  // lan1 of the topology
const volatile __u8 next_hop[ETH_ALEN] = { 0x02, 0x00, 0x5e, 0x10, 0x00, 0x01 };
const volatile __u8 own_address[ETH_ALEN] = { 0x02, 0x00, 0x5e, 0x10, 0x00, 0x02 };

SEC("lwt_xmit")
int push_link_header(struct __sk_buff *skb)
{
	struct ethhdr eth = { .h_proto = skb->protocol };

	for (int i = 0; i < ETH_ALEN; i++) {
		eth.h_dest[i] = next_hop[i];
		eth.h_source[i] = own_address[i];
	}
	if (bpf_skb_change_head(skb, sizeof(eth), 0))
		return BPF_DROP;
	if (bpf_skb_store_bytes(skb, 0, &eth, sizeof(eth), 0))
		return BPF_DROP;
	return bpf_redirect(out_ifindex, 0);
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
