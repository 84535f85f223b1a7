// Long parsers, whose paths are many: extension headers of IPv6 unrolled and by bpf_loop, options of TCP in a loop.
#include <routebpf.h>

struct ext {
	__u8 nexthdr, hdrlen;
};

struct frag6 {
	__u8 nexthdr, reserved;
	__be16 off;
	__be32 id;
};

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 256);
	__type(key, __u32);
	__type(value, __u64);
} protocols SEC(".maps");

static __always_inline int skip_ext(void *data, void *data_end, __u8 *proto, __u32 *off)
{
	__u8 next = *proto;
	__u32 at = *off;
#pragma unroll
	for (int i = 0; i < 6; i++) {
		switch (next) {
		case 0:
		case 43:
		case 60:
		case 51: {
			struct ext *e = data + at;
			if ((void *)(e + 1) > data_end)
				return -1;
			next = e->nexthdr;
			at += next == 51 ? (e->hdrlen + 2) * 4 : (e->hdrlen + 1) * 8;
			break;
		}
		case 44: {
			struct frag6 *f = data + at;
			if ((void *)(f + 1) > data_end)
				return -1;
			next = f->nexthdr;
			at += sizeof(*f);
			if (f->off & bpf_htons(0xfff8))
				return -2;
			break;
		}
		default:
			*proto = next;
			*off = at;
			return 0;
		}
		if (at > 512)
			return -1;
	}
	return -1;
}

SEC("lwt_xmit")
int unrolled(struct __sk_buff *skb)
{
	void *data = (void *)(long)skb->data;
	void *data_end = (void *)(long)skb->data_end;
	struct ipv6hdr *ip6 = data;
	__u32 off = sizeof(*ip6), key;
	__u8 proto;
	__u64 *n;
	if ((void *)(ip6 + 1) > data_end || ip6->version != 6)
		return BPF_OK;
	proto = ip6->nexthdr;
	if (skip_ext(data, data_end, &proto, &off) < 0)
		return BPF_DROP;
	key = proto;
	n = bpf_map_lookup_elem(&protocols, &key);
	if (n)
		(*n)++;
	if (proto == IPPROTO_TCP) {
		struct tcphdr *tcp = data + off;
		if ((void *)(tcp + 1) > data_end)
			return BPF_OK;
		if (tcp->dest == bpf_htons(25))
			return BPF_DROP;
	}
	return BPF_OK;
}

struct walk {
	struct __sk_buff *skb;
	__u32 off, n;
	__u8 next;
	int result;
};

static long one(__u64 i, void *ctx)
{
	struct walk *w = ctx;
	__u8 e[2];
	if (w->next != 0 && w->next != 43 && w->next != 60)
		return 1;
	if (bpf_skb_load_bytes(w->skb, w->off, e, 2)) {
		w->result = -1;
		return 1;
	}
	w->next = e[0];
	w->off += (e[1] + 1) * 8;
	w->n++;
	return 0;
}

SEC("lwt_xmit")
int called_back(struct __sk_buff *skb)
{
	struct ipv6hdr ip;
	struct walk w = { .skb = skb, .off = sizeof(ip) };
	if (bpf_skb_load_bytes(skb, 0, &ip, sizeof(ip)))
		return BPF_OK;
	w.next = ip.nexthdr;
	bpf_loop(16, one, &w, 0);
	if (w.result < 0)
		return BPF_DROP;
	skb->mark = w.next;
	return BPF_OK;
}

__u64 clamped;

SEC("lwt_xmit")
int mss(struct __sk_buff *skb)
{
	void *data = (void *)(long)skb->data;
	void *data_end = (void *)(long)skb->data_end;
	struct iphdr *ip = data;
	struct tcphdr *tcp = (void *)(ip + 1);
	if ((void *)(tcp + 1) > data_end || ip->version != 4 || ip->ihl != 5 || ip->protocol != IPPROTO_TCP || !tcp->syn)
		return BPF_OK;
	__u32 len = tcp->doff * 4, at = sizeof(*tcp);
	if (len < sizeof(*tcp) || len > 60)
		return BPF_DROP;
	for (int i = 0; i < 6; i++) {
		__u8 *o = (void *)tcp + at;
		if (at >= len || (void *)(o + 1) > data_end)
			break;
		if (*o == 0)
			break;
		if (*o == 1) {
			at++;
			continue;
		}
		if ((void *)(o + 2) > data_end || o[1] < 2)
			return BPF_DROP;
		if (*o == 2 && o[1] == 4) {
			if ((void *)(o + 4) > data_end)
				return BPF_DROP;
			__u16 v = o[2] << 8 | o[3];
			if (v > 1300) {
				o[2] = 1300 >> 8;
				o[3] = 1300 & 255;
				clamped++;
			}
			break;
		}
		at += o[1];
		if (at > 60)
			break;
	}
	return BPF_OK;
}

char LICENSE[] SEC("license") = "GPL";
