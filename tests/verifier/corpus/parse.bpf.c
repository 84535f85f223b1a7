// Headers of the packet, parsed with and without the checks that it takes.
#include <routebpf.h>

struct headers {
	struct iphdr ip;
	struct udphdr udp;
};

SEC("lwt_xmit")
int ipv4_checked(struct __sk_buff *skb)
{
	void *data = (void *)(long)skb->data, *end = (void *)(long)skb->data_end;
	struct iphdr *ip = data;

	if (data + sizeof(*ip) > end)
		return BPF_OK;
	return ip->protocol == IPPROTO_UDP ? BPF_DROP : BPF_OK;
}

SEC("lwt_xmit")
int refused_ipv4_unchecked(struct __sk_buff *skb)
{
	struct iphdr *ip = (void *)(long)skb->data;

	return ip->protocol == IPPROTO_UDP ? BPF_DROP : BPF_OK;
}

SEC("lwt_xmit")
int ports_behind_options(struct __sk_buff *skb)
{
	void *data = (void *)(long)skb->data, *end = (void *)(long)skb->data_end;
	struct iphdr *ip = data;
	struct tcphdr *tcp;

	if (data + sizeof(*ip) > end || ip->version != 4 || ip->protocol != IPPROTO_TCP)
		return BPF_OK;
	tcp = data + ip->ihl * 4;
	if ((void *)(tcp + 1) > end)
		return BPF_OK;
	return tcp->dest == bpf_htons(80) && !tcp->syn ? BPF_DROP : BPF_OK;
}

SEC("lwt_xmit")
int refused_ports_behind_options(struct __sk_buff *skb)
{
	void *data = (void *)(long)skb->data, *end = (void *)(long)skb->data_end;
	struct iphdr *ip = data;
	struct tcphdr *tcp;

	if (data + sizeof(*ip) + sizeof(*tcp) > end || ip->protocol != IPPROTO_TCP)
		return BPF_OK;
	tcp = data + ip->ihl * 4;
	return tcp->dest == bpf_htons(80) ? BPF_DROP : BPF_OK;
}

SEC("lwt_xmit")
int extension_headers(struct __sk_buff *skb)
{
	void *data = (void *)(long)skb->data, *end = (void *)(long)skb->data_end;
	struct ipv6hdr *ip = data;
	__u8 next;
	__u32 offset = sizeof(*ip);

	if (data + sizeof(*ip) > end || ip->version != 6)
		return BPF_OK;
	next = ip->nexthdr;
	for (int i = 0; i < 6; i++) {
		__u8 *header = data + offset;

		if (next != 0 && next != 43 && next != 60)
			break;
		if ((void *)(header + 2) > end)
			return BPF_DROP;
		next = header[0];
		offset += (header[1] + 1) * 8;
		if (offset > 2048)
			return BPF_DROP;
	}
	return next == IPPROTO_ICMPV6 ? BPF_DROP : BPF_OK;
}

SEC("lwt_xmit")
int copied_to_the_stack(struct __sk_buff *skb)
{
	struct headers h;

	if (bpf_skb_load_bytes(skb, 0, &h, sizeof(h)))
		return BPF_OK;
	return h.udp.dest == bpf_htons(53) ? BPF_DROP : BPF_OK;
}

SEC("lwt_xmit")
int refused_after_pull(struct __sk_buff *skb)
{
	void *data = (void *)(long)skb->data, *end = (void *)(long)skb->data_end;
	struct iphdr *ip = data;

	if (data + sizeof(*ip) > end)
		return BPF_OK;
	bpf_skb_pull_data(skb, 40);
	return ip->ttl < 2 ? BPF_DROP : BPF_OK;
}

SEC("lwt_xmit")
int bytes_summed(struct __sk_buff *skb)
{
	__u8 *data = (void *)(long)skb->data, *end = (void *)(long)skb->data_end;
	__u32 sum = 0;

	for (int i = 0; i < 60; i++) {
		if (data + i + 1 > end)
			break;
		sum += data[i];
	}
	skb->mark = sum;
	return BPF_OK;
}

SEC("lwt_xmit")
int refused_one_byte_further(struct __sk_buff *skb)
{
	__u8 *data = (void *)(long)skb->data, *end = (void *)(long)skb->data_end;

	if (data + 20 > end)
		return BPF_OK;
	return data[20] == 1 ? BPF_DROP : BPF_OK;
}

char LICENSE[] SEC("license") = "GPL";
