// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
//
// Statistics for each destination, and a sample of one packet in `one_in`.
//
//     routebpf run examples/account.bpf.c --pcap captures/web.pcap
//     python3 examples/show_samples.py captures/web.pcap
//
#include <routebpf.h>

struct address {
	__u8 bytes[16];  // an IPv4 address is mapped: ::ffff:a.b.c.d
};

struct traffic {
	__u64 packets;
	__u64 bytes;
	__u64 last_seen;  // ns
};

struct sample {
	__u64 time;  // ns
	struct address destination;
	__u32 length;    // of the packet
	__u32 captured;  // of `head`
	__u8 head[64];
};

const volatile __u32 one_in = 16;

struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 65536);
	__type(key, struct address);
	__type(value, struct traffic);
} traffic_by_destination SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 1 << 20);
} samples SEC(".maps");

static bool read_destination(struct __sk_buff *skb, struct address *address)
{
	if (skb->protocol == bpf_htons(ETH_P_IP)) {
		address->bytes[10] = address->bytes[11] = 0xff;
		return !bpf_skb_load_bytes(skb, offsetof(struct iphdr, daddr), &address->bytes[12], 4);
	}
	if (skb->protocol == bpf_htons(ETH_P_IPV6))
		return !bpf_skb_load_bytes(skb, offsetof(struct ipv6hdr, daddr), address->bytes, 16);
	return false;
}

static void count(struct address *destination, __u32 length, __u64 now)
{
	struct traffic *traffic = bpf_map_lookup_elem(&traffic_by_destination, destination);

	if (!traffic) {
		struct traffic first = {};

		bpf_map_update_elem(&traffic_by_destination, destination, &first, BPF_NOEXIST);
		traffic = bpf_map_lookup_elem(&traffic_by_destination, destination);
		if (!traffic)
			return;
	}
	__sync_fetch_and_add(&traffic->packets, 1);
	__sync_fetch_and_add(&traffic->bytes, length);
	traffic->last_seen = now;
}

static void take_sample(struct __sk_buff *skb, struct address *destination, __u64 now)
{
	struct sample *sample = bpf_ringbuf_reserve(&samples, sizeof(*sample), 0);
	__u32 captured;

	if (!sample)
		return;  // nobody reads fast enough: a sample is lost, no packet
	captured = skb->len < sizeof(sample->head) ? skb->len : sizeof(sample->head);
	sample->time = now;
	sample->destination = *destination;
	sample->length = skb->len;
	sample->captured = captured;
	if (captured == 0 || bpf_skb_load_bytes(skb, 0, sample->head, captured))
		sample->captured = 0;
	bpf_ringbuf_submit(sample, 0);
}

SEC("lwt_xmit")
int account(struct __sk_buff *skb)
{
	struct address destination = {};
	__u64 now = bpf_ktime_get_ns();

	if (!read_destination(skb, &destination))
		return BPF_OK;
	count(&destination, skb->len, now);
	if (one_in && bpf_get_prandom_u32() % one_in == 0)
		take_sample(skb, &destination, now);
	return BPF_OK;
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
