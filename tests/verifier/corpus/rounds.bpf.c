// Loops: unrolled, bounded, with bpf_loop and with numbers of an iterator.
#include <routebpf.h>

struct sums {
	__u32 all;
	__u32 cells[8];
};

static long step(__u64 index, void *context)
{
	struct sums *s = context;

	s->all += index;
	if (index < 8)
		s->cells[index]++;
	return s->all > 1000;
}

static long wild_step(__u64 index, void *context)
{
	struct sums *s = context;

	s->cells[index]++;
	return 0;
}

SEC("lwt_xmit")
int called_back(struct __sk_buff *skb)
{
	struct sums s = {};

	bpf_loop(100, step, &s, 0);
	return s.all & 1 ? BPF_DROP : BPF_OK;
}

SEC("lwt_xmit")
int refused_called_back(struct __sk_buff *skb)
{
	struct sums s = {};

	bpf_loop(100, wild_step, &s, 0);
	return s.all & 1 ? BPF_DROP : BPF_OK;
}

SEC("lwt_xmit")
int bounded(struct __sk_buff *skb)
{
	__u32 n = skb->len & 63, sum = 0;

	for (__u32 i = 0; i < n; i++)
		sum = sum * 31 + i;
	skb->mark = sum;
	return BPF_OK;
}

static __u8 cells[64];

SEC("lwt_xmit")
int nested(struct __sk_buff *skb)
{
	__u32 n = skb->mark & 7;

#pragma clang loop unroll(disable)
	for (__u32 i = 0; i < 8; i++)
#pragma clang loop unroll(disable)
		for (__u32 j = 0; j < 8; j++)
			cells[(i * 8 + j) & 63] += i ^ j ^ n;
	return cells[n] ? BPF_DROP : BPF_OK;
}

SEC("lwt_xmit")
int searched(struct __sk_buff *skb)
{
	__u8 text[16] = {};
	__u32 i;

	if (bpf_skb_load_bytes(skb, 0, text, sizeof(text)))
		return BPF_OK;
#pragma clang loop unroll(disable)
	for (i = 0; i < sizeof(text); i++)
		if (text[i] == 0x45)
			break;
	return i < sizeof(text) ? BPF_DROP : BPF_OK;
}

SEC("lwt_xmit")
int counted_numbers(struct __sk_buff *skb)
{
	struct bpf_iter_num it;
	int *n, sum = 0;

	bpf_iter_num_new(&it, 0, 50);
	while ((n = bpf_iter_num_next(&it)))
		sum += *n;
	bpf_iter_num_destroy(&it);
	return sum > 10 ? BPF_DROP : BPF_OK;
}

SEC("lwt_xmit")
int refused_undestroyed(struct __sk_buff *skb)
{
	struct bpf_iter_num it;
	int *n, sum = 0;

	bpf_iter_num_new(&it, 0, 50);
	while ((n = bpf_iter_num_next(&it))) {
		sum += *n;
		if (sum > 100)
			return BPF_DROP;
	}
	bpf_iter_num_destroy(&it);
	return BPF_OK;
}

SEC("lwt_xmit")
int checksum(struct __sk_buff *skb)
{
	__u16 *data = (void *)(long)skb->data, *end = (void *)(long)skb->data_end;
	__u32 sum = 0;

	if ((void *)(data + 10) > (void *)end)
		return BPF_OK;
#pragma clang loop unroll(full)
	for (int i = 0; i < 10; i++)
		sum += data[i];
	sum = (sum & 0xffff) + (sum >> 16);
	sum += sum >> 16;
	return (__u16)~sum ? BPF_DROP : BPF_OK;
}

char LICENSE[] SEC("license") = "GPL";
