// Functions: static, global, nested, with pointers; tail calls.
#include <routebpf.h>

struct pair {
	__u32 a, b;
};

struct {
	__uint(type, BPF_MAP_TYPE_PROG_ARRAY);
	__uint(max_entries, 4);
	__type(key, __u32);
	__type(value, __u32);
} next SEC(".maps");

static __attribute__((noinline)) __u32 mix(__u32 a, __u32 b)
{
	return (a ^ b) * 2654435761u >> 7;
}

static __attribute__((noinline)) int fill(struct pair *p, __u32 n)
{
	p->a = n;
	p->b = mix(n, p->a);
	return n & 1;
}

__attribute__((noinline)) int of_context(struct __sk_buff *skb)
{
	return skb->len > 100 ? BPF_DROP : BPF_OK;
}

__attribute__((noinline)) int of_memory(struct pair *p)
{
	if (!p)
		return 0;
	p->b++;
	return p->a > p->b;
}

__attribute__((noinline)) int of_unchecked_memory(struct pair *p)
{
	p->b++;
	return p->a > p->b;
}

__attribute__((noinline)) int of_number(__u32 n)
{
	volatile __u8 cells[32] = {};

	cells[n & 31] = 1;
	return cells[(n + 1) & 31];
}

static __attribute__((noinline)) int packet_byte(struct __sk_buff *skb, __u32 at)
{
	__u8 *data = (void *)(long)skb->data, *end = (void *)(long)skb->data_end;

	if (at > 200 || data + at + 1 > end)
		return -1;
	return data[at];
}

SEC("lwt_xmit")
int with_static(struct __sk_buff *skb)
{
	struct pair p;
	int odd = fill(&p, skb->mark);

	return odd ^ (p.a > p.b) ? BPF_DROP : BPF_OK;
}

SEC("lwt_xmit")
int with_global(struct __sk_buff *skb)
{
	struct pair p = { skb->mark, 1 };

	return of_memory(&p) ? of_context(skb) : BPF_OK;
}

SEC("lwt_xmit")
int refused_with_global(struct __sk_buff *skb)
{
	struct pair p = { skb->mark, 1 };

	return of_unchecked_memory(&p) ? BPF_DROP : BPF_OK;
}

SEC("lwt_xmit")
int with_number(struct __sk_buff *skb)
{
	return of_number(skb->hash) ? BPF_DROP : BPF_OK;
}

SEC("lwt_xmit")
int with_packet(struct __sk_buff *skb)
{
	return packet_byte(skb, skb->mark) == 6 ? BPF_DROP : BPF_OK;
}

SEC("lwt_xmit")
int gone_on(struct __sk_buff *skb)
{
	bpf_tail_call(skb, &next, skb->mark & 3);
	return BPF_OK;
}

static __attribute__((noinline)) int leave(struct __sk_buff *skb)
{
	bpf_tail_call(skb, &next, 1);
	return 0;
}

SEC("lwt_xmit")
int refused_packet_after_leaving(struct __sk_buff *skb)
{
	__u8 *data = (void *)(long)skb->data, *end = (void *)(long)skb->data_end;

	if (data + 20 > end)
		return BPF_OK;
	leave(skb);
	return data[9] == 17 ? BPF_DROP : BPF_OK;
}

SEC("lwt_xmit")
int refused_deep(struct __sk_buff *skb)
{
	volatile __u8 here[488] = {};

	here[skb->len & 255] = 1;
	return of_number(here[skb->mark & 255]) + here[0] ? BPF_DROP : BPF_OK;
}

char LICENSE[] SEC("license") = "GPL";
