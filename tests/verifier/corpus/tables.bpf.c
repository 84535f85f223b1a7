// Maps: lookups with and without checks, values indexed, updates, global variables.
#include <routebpf.h>

struct prefix {
	__u32 bits;
	__be32 address;
};

struct counter {
	__u64 packets;
	__u64 bytes;
	__u32 by_size[8];
};

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 64);
	__type(key, __u32);
	__type(value, struct counter);
} counters SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 4);
	__type(key, __u32);
	__type(value, __u64);
} totals SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_LPM_TRIE);
	__uint(max_entries, 64);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, struct prefix);
	__type(value, __u32);
} prefixes SEC(".maps");

__u32 seen[16];
const volatile __u32 limit = 100;
static __u64 last;

SEC("lwt_xmit")
int counted(struct __sk_buff *skb)
{
	__u32 key = skb->mark;
	struct counter *c = bpf_map_lookup_elem(&counters, &key), fresh = {};

	if (!c) {
		bpf_map_update_elem(&counters, &key, &fresh, BPF_NOEXIST);
		c = bpf_map_lookup_elem(&counters, &key);
		if (!c)
			return BPF_OK;
	}
	__sync_fetch_and_add(&c->packets, 1);
	__sync_fetch_and_add(&c->bytes, skb->len);
	return BPF_OK;
}

SEC("lwt_xmit")
int refused_unchecked(struct __sk_buff *skb)
{
	__u32 key = 0;
	struct counter *c = bpf_map_lookup_elem(&counters, &key);

	c->packets++;
	return BPF_OK;
}

SEC("lwt_xmit")
int size_classes(struct __sk_buff *skb)
{
	__u32 key = 0, class = skb->len / 256;
	struct counter *c = bpf_map_lookup_elem(&counters, &key);

	if (!c || class > 7)
		return BPF_OK;
	c->by_size[class]++;
	return BPF_OK;
}

SEC("lwt_xmit")
int refused_size_classes(struct __sk_buff *skb)
{
	__u32 key = 0, class = skb->len / 256;
	struct counter *c = bpf_map_lookup_elem(&counters, &key);

	if (!c || class > 8)
		return BPF_OK;
	c->by_size[class]++;
	return BPF_OK;
}

SEC("lwt_xmit")
int masked_global(struct __sk_buff *skb)
{
	seen[skb->hash & 15]++;
	last = skb->len;
	return skb->len > limit ? BPF_DROP : BPF_OK;
}

SEC("lwt_xmit")
int refused_global(struct __sk_buff *skb)
{
	seen[skb->hash & 31]++;
	return BPF_OK;
}

SEC("lwt_xmit")
int totals_by_mark(struct __sk_buff *skb)
{
	__u32 key = skb->mark & 3;
	__u64 *total = bpf_map_lookup_elem(&totals, &key);

	if (total)
		*total += skb->len;
	return last > 1000 ? BPF_DROP : BPF_OK;
}

SEC("lwt_xmit")
int longest_prefix(struct __sk_buff *skb)
{
	struct prefix key = { .bits = 32 };
	void *data = (void *)(long)skb->data, *end = (void *)(long)skb->data_end;
	struct iphdr *ip = data;
	__u32 *found;

	if ((void *)(ip + 1) > end)
		return BPF_OK;
	key.address = ip->daddr;
	found = bpf_map_lookup_elem(&prefixes, &key);
	return found ? (*found & 1 ? BPF_DROP : BPF_OK) : BPF_OK;
}

SEC("lwt_xmit")
int deleted(struct __sk_buff *skb)
{
	__u32 key = skb->mark;

	return bpf_map_delete_elem(&counters, &key) ? BPF_DROP : BPF_OK;
}

static long add(struct bpf_map *map, const void *key, void *value, void *context)
{
	struct counter *c = value;

	*(__u64 *)context += c->packets;
	return 0;
}

SEC("lwt_xmit")
int each_counter(struct __sk_buff *skb)
{
	__u64 sum = 0;

	bpf_for_each_map_elem(&counters, add, &sum, 0);
	return sum > 5 ? BPF_DROP : BPF_OK;
}

char LICENSE[] SEC("license") = "GPL";
