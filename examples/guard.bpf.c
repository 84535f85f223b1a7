// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
//
// A filter with a memory: what it knows of a destination decides what may be sent there.
//
// - rate: more than `burst` packets at once, or `rate` packets a second for long, are dropped (a token bucket);
// - port scan: whoever has tried more than `max_ports` ports of a destination is shut out from it;
// - first seen: when the first packet went there, and how many, stands in the map for everybody to read.
//
//     routebpf run examples/guard.bpf.c --pcap captures/probes.pcap
//
#include <routebpf.h>

#define SECOND 1000000000ULL

const volatile __u32 rate = 100;  // packets a second
const volatile __u32 burst = 50;
const volatile __u32 max_ports = 20;

struct destination {
	__u64 packets;
	__u64 too_fast;  // of these, dropped
	__u64 first_seen;  // ns
	__u64 last_seen;
	__u64 tokens;  // in ns of time: a packet costs SECOND / rate
};

struct pair {
	__be32 source;
	__be32 destination;
};

struct ports {
	__u32 count;
	__u32 dropped;
	__u64 seen[16];  // a set of 1024 bits: ports by their low 10 bits
};

struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 65536);
	__type(key, __be32);
	__type(value, struct destination);
} destinations SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 65536);
	__type(key, struct pair);
	__type(value, struct ports);
} scanners SEC(".maps");

static const struct ports no_ports;

// Whether a packet may be sent now: tokens come with time, and go with packets.
static bool within_rate(struct destination *to, __u64 now)
{
	__u64 cost = SECOND / (rate ? rate : 1);
	__u64 room = cost * burst;
	__u64 passed = now > to->last_seen ? now - to->last_seen : 0;

	to->tokens = passed > room - to->tokens ? room : to->tokens + passed;
	to->last_seen = now;
	if (to->tokens < cost)
		return false;
	to->tokens -= cost;
	return true;
}

static bool may_be_sent_to(__be32 address, __u64 now)
{
	struct destination *to = bpf_map_lookup_elem(&destinations, &address);

	if (!to) {
		struct destination first = {
			.first_seen = now,
			.last_seen = now,
			.tokens = SECOND / (rate ? rate : 1) * burst,
		};

		bpf_map_update_elem(&destinations, &address, &first, BPF_NOEXIST);
		to = bpf_map_lookup_elem(&destinations, &address);
		if (!to)
			return true;
	}
	to->packets++;
	if (within_rate(to, now))
		return true;
	to->too_fast++;
	return false;
}

static bool is_scan(struct iphdr *ip, __be16 port)
{
	struct pair pair = { ip->saddr, ip->daddr };
	struct ports *ports = bpf_map_lookup_elem(&scanners, &pair);
	__u32 bit = bpf_ntohs(port) % 1024;

	if (!ports) {
		bpf_map_update_elem(&scanners, &pair, &no_ports, BPF_NOEXIST);
		ports = bpf_map_lookup_elem(&scanners, &pair);
		if (!ports)
			return false;
	}
	if (!(ports->seen[bit / 64] & 1ULL << bit % 64)) {
		ports->seen[bit / 64] |= 1ULL << bit % 64;
		ports->count++;
	}
	if (ports->count <= max_ports)
		return false;
	ports->dropped++;
	return true;
}

SEC("lwt_xmit")
int guard(struct __sk_buff *skb)
{
	void *data = (void *)(long)skb->data;
	void *data_end = (void *)(long)skb->data_end;
	struct iphdr *ip = data;
	struct tcphdr *tcp;

	if (data + sizeof(*ip) > data_end || ip->version != 4)
		return BPF_OK;
	if (ip->protocol == IPPROTO_TCP && !(ip->frag_off & bpf_htons(0x1fff))) {
		tcp = data + ip->ihl * 4;
		if ((void *)(tcp + 1) <= data_end && tcp->syn && !tcp->ack && is_scan(ip, tcp->dest))
			return BPF_DROP;
	}
	return may_be_sent_to(ip->daddr, bpf_ktime_get_ns()) ? BPF_OK : BPF_DROP;
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
