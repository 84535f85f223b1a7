// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
// Much to verify: IPv6 extension headers and TCP options in loops, unrolled tables, a function called on every path.
#include <routebpf.h>

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 256);
	__type(key, __u32);
	__type(value, __u64);
} counts SEC(".maps");

static __noinline int count(__u32 key)
{
	__u64 *value = bpf_map_lookup_elem(&counts, &key);

	if (value)
		__sync_fetch_and_add(value, 1);
	return value != 0;
}

// A multiplicative hash of the bytes of the header, spelt out for every one of them.
#define STEP(n) hash = (hash ^ data[n]) * 16777619; hash ^= hash >> 15;
#define STEPS4(n) STEP(n) STEP(n + 1) STEP(n + 2) STEP(n + 3)
#define STEPS16(n) STEPS4(n) STEPS4(n + 4) STEPS4(n + 8) STEPS4(n + 12)
#define STEPS64(n) STEPS16(n) STEPS16(n + 16) STEPS16(n + 32) STEPS16(n + 48)

SEC("lwt_xmit")
int large(struct __sk_buff *skb)
{
	__u8 *data = (void *)(long)skb->data;
	__u8 *end = (void *)(long)skb->data_end;
	__u32 hash = 2166136261;
	__u32 bits = 0;

	if (data + 512 > end)
		return BPF_OK;
	STEPS64(0) STEPS64(64) STEPS64(128) STEPS64(192)
	STEPS64(256) STEPS64(320) STEPS64(384) STEPS64(448)
	for (int i = 0; i < 200; i++) {
		bits += data[i] & 1;
		if (bits > 150)
			break;
	}
	count(hash & 255);
	count(bits & 255);
	return bits & 1 ? BPF_DROP : BPF_OK;
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
