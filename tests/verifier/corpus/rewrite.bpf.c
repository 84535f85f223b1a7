// Packets changed: fields, checksums, room, headers pushed, redirects.
#include <routebpf.h>

#define TTL 8
#define CSUM 10

SEC("lwt_xmit")
int ttl_in_place(struct __sk_buff *skb)
{
	void *data = (void *)(long)skb->data, *end = (void *)(long)skb->data_end;
	struct iphdr *ip = data;

	if ((void *)(ip + 1) > end || ip->ttl < 2)
		return BPF_DROP;
	ip->ttl--;
	ip->check += bpf_htons(0x100);
	return BPF_OK;
}

SEC("lwt_xmit")
int address_replaced(struct __sk_buff *skb)
{
	void *data = (void *)(long)skb->data, *end = (void *)(long)skb->data_end;
	struct iphdr *ip = data;
	__be32 old, new = bpf_htonl(0x0a000001);

	if ((void *)(ip + 1) > end)
		return BPF_OK;
	old = ip->saddr;
	if (bpf_l3_csum_replace(skb, CSUM, old, new, 4))
		return BPF_DROP;
	if (bpf_skb_store_bytes(skb, offsetof(struct iphdr, saddr), &new, 4, 0))
		return BPF_DROP;
	return BPF_OK;
}

SEC("lwt_xmit")
int refused_used_after_store(struct __sk_buff *skb)
{
	void *data = (void *)(long)skb->data, *end = (void *)(long)skb->data_end;
	struct iphdr *ip = data;
	__u8 ttl = 5;

	if ((void *)(ip + 1) > end)
		return BPF_OK;
	bpf_skb_store_bytes(skb, TTL, &ttl, 1, 0);
	return ip->protocol == 6 ? BPF_DROP : BPF_OK;
}

SEC("lwt_xmit")
int header_pushed(struct __sk_buff *skb)
{
	struct {
		struct iphdr ip;
		struct udphdr udp;
	} outer = { .ip = { .version = 4, .ihl = 5, .ttl = 64, .protocol = IPPROTO_UDP } };

	outer.ip.tot_len = bpf_htons(skb->len + sizeof(outer));
	outer.udp.len = bpf_htons(skb->len + sizeof(outer.udp));
	if (bpf_lwt_push_encap(skb, BPF_LWT_ENCAP_IP, &outer, sizeof(outer)))
		return BPF_DROP;
	return BPF_LWT_REROUTE;
}

SEC("lwt_out")
int refused_header_pushed_out(struct __sk_buff *skb)
{
	struct iphdr outer = { .version = 4, .ihl = 5 };

	return bpf_lwt_push_encap(skb, BPF_LWT_ENCAP_IP, &outer, sizeof(outer)) ? BPF_DROP : BPF_OK;
}

SEC("lwt_in")
int refused_written_in(struct __sk_buff *skb)
{
	void *data = (void *)(long)skb->data, *end = (void *)(long)skb->data_end;
	struct iphdr *ip = data;

	if ((void *)(ip + 1) > end)
		return BPF_OK;
	ip->ttl--;
	return BPF_OK;
}

SEC("lwt_in")
int read_in(struct __sk_buff *skb)
{
	void *data = (void *)(long)skb->data, *end = (void *)(long)skb->data_end;
	struct iphdr *ip = data;

	if ((void *)(ip + 1) > end)
		return BPF_OK;
	return ip->ttl < 3 ? BPF_DROP : BPF_OK;
}

SEC("lwt_xmit")
int redirected(struct __sk_buff *skb)
{
	static const __u8 link[14] = { [12] = 8 };

	if (bpf_skb_change_head(skb, 14, 0) || bpf_skb_store_bytes(skb, 0, link, sizeof(link), 0))
		return BPF_DROP;
	return bpf_redirect(skb->ifindex, 0);
}

SEC("lwt_xmit")
int cut(struct __sk_buff *skb)
{
	__u32 length = skb->len;

	if (length > 512)
		length = 512;
	skb->cb[0] = length;
	skb->priority = 7;
	return bpf_skb_change_tail(skb, length, 0) ? BPF_DROP : BPF_OK;
}

SEC("lwt_xmit")
int copied_by_length(struct __sk_buff *skb)
{
	__u8 bytes[64];
	__u32 length = (skb->len & 31) + 1;

	if (bpf_skb_load_bytes(skb, 0, bytes, length))
		return BPF_DROP;
	return bytes[0] >> 4 == 4 ? BPF_OK : BPF_DROP;
}

SEC("lwt_xmit")
int refused_copied_by_length(struct __sk_buff *skb)
{
	__u8 bytes[64];
	__u32 length = skb->len;

	if (length > 65)
		return BPF_OK;
	if (bpf_skb_load_bytes(skb, 0, bytes, length))
		return BPF_DROP;
	return bytes[0] >> 4 == 4 ? BPF_OK : BPF_DROP;
}

SEC("lwt_xmit")
int refused_context_written(struct __sk_buff *skb)
{
	skb->len = 5;
	return BPF_OK;
}

char LICENSE[] SEC("license") = "GPL";
