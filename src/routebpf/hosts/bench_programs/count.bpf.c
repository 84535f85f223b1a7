// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
// Counts the packets to each destination in a hash map.
#include <routebpf.h>

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 65536);
	__type(key, __be32);
	__type(value, __u64);
} packets_by_destination SEC(".maps");

SEC("lwt_xmit")
int count(struct __sk_buff *skb)
{
	void *data = (void *)(long)skb->data;
	void *data_end = (void *)(long)skb->data_end;
	struct iphdr *ip = data;
	__be32 destination;
	__u64 *packets;

	if (data + sizeof(*ip) > data_end || ip->version != 4)
		return BPF_OK;
	destination = ip->daddr;
	packets = bpf_map_lookup_elem(&packets_by_destination, &destination);
	if (packets) {
		__sync_fetch_and_add(packets, 1);
	} else {
		__u64 one = 1;

		bpf_map_update_elem(&packets_by_destination, &destination, &one, BPF_ANY);
	}
	return BPF_OK;
}
