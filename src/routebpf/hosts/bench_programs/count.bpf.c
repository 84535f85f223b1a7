// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
// Counts packets and bytes of each destination in a hash map.
#include <routebpf.h>

struct traffic {
	__u64 packets;
	__u64 bytes;
};

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 65536);
	__type(key, __be32);
	__type(value, struct traffic);
} traffic_by_destination SEC(".maps");

SEC("lwt_xmit")
int count(struct __sk_buff *skb)
{
	void *data = (void *)(long)skb->data;
	void *data_end = (void *)(long)skb->data_end;
	struct iphdr *ip = data;
	struct traffic *traffic;
	__be32 destination;

	if (data + sizeof(*ip) > data_end || ip->version != 4)
		return BPF_OK;
	destination = ip->daddr;
	traffic = bpf_map_lookup_elem(&traffic_by_destination, &destination);
	if (traffic) {
		__sync_fetch_and_add(&traffic->packets, 1);
		__sync_fetch_and_add(&traffic->bytes, skb->len);
	} else {
		struct traffic first = { 1, skb->len };

		bpf_map_update_elem(&traffic_by_destination, &destination, &first, BPF_ANY);
	}
	return BPF_OK;
}
