// Ring buffers, locks, timers, dynptrs, text.
#include <routebpf.h>

struct event {
	__u64 when;
	__u32 length;
	__u8 start[20];
};

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 4096);
} events SEC(".maps");

struct guarded {
	struct bpf_spin_lock lock;
	__u32 tokens;
	__u64 when;
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct guarded);
} bucket SEC(".maps");

struct alarm {
	struct bpf_timer timer;
	__u64 rung;
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct alarm);
} alarms SEC(".maps");

SEC("lwt_xmit")
int recorded(struct __sk_buff *skb)
{
	struct event *e = bpf_ringbuf_reserve(&events, sizeof(*e), 0);

	if (!e)
		return BPF_OK;
	e->when = bpf_ktime_get_ns();
	e->length = skb->len;
	if (bpf_skb_load_bytes(skb, 0, e->start, sizeof(e->start)))
		bpf_ringbuf_discard(e, 0);
	else
		bpf_ringbuf_submit(e, 0);
	return BPF_OK;
}

SEC("lwt_xmit")
int refused_leaked(struct __sk_buff *skb)
{
	struct event *e = bpf_ringbuf_reserve(&events, sizeof(*e), 0);

	if (!e)
		return BPF_OK;
	e->length = skb->len;
	if (skb->len > 100)
		return BPF_DROP;
	bpf_ringbuf_submit(e, 0);
	return BPF_OK;
}

SEC("lwt_xmit")
int limited(struct __sk_buff *skb)
{
	__u32 key = 0, allowed = 0;
	__u64 now = bpf_ktime_get_ns();
	struct guarded *g = bpf_map_lookup_elem(&bucket, &key);

	if (!g)
		return BPF_OK;
	bpf_spin_lock(&g->lock);
	if (now - g->when > 1000000) {
		g->tokens = 10;
		g->when = now;
	}
	if (g->tokens) {
		g->tokens--;
		allowed = 1;
	}
	bpf_spin_unlock(&g->lock);
	return allowed ? BPF_OK : BPF_DROP;
}

SEC("lwt_xmit")
int refused_call_in_lock(struct __sk_buff *skb)
{
	__u32 key = 0;
	struct guarded *g = bpf_map_lookup_elem(&bucket, &key);

	if (!g)
		return BPF_OK;
	bpf_spin_lock(&g->lock);
	g->when = bpf_ktime_get_ns();
	bpf_spin_unlock(&g->lock);
	return BPF_OK;
}

SEC("lwt_xmit")
int refused_lock_kept(struct __sk_buff *skb)
{
	__u32 key = 0;
	struct guarded *g = bpf_map_lookup_elem(&bucket, &key);

	if (!g)
		return BPF_OK;
	bpf_spin_lock(&g->lock);
	if (!g->tokens)
		return BPF_DROP;
	g->tokens--;
	bpf_spin_unlock(&g->lock);
	return BPF_OK;
}

static int rings(void *map, int *key, struct alarm *alarm)
{
	alarm->rung++;
	bpf_timer_start(&alarm->timer, 1000000, 0);
	return 0;
}

SEC("lwt_xmit")
int wound(struct __sk_buff *skb)
{
	__u32 key = 0;
	struct alarm *a = bpf_map_lookup_elem(&alarms, &key);

	if (!a)
		return BPF_OK;
	bpf_timer_init(&a->timer, &alarms, 1);
	bpf_timer_set_callback(&a->timer, rings);
	bpf_timer_start(&a->timer, 1000, 0);
	return a->rung ? BPF_DROP : BPF_OK;
}

SEC("lwt_xmit")
int sliced(struct __sk_buff *skb)
{
	struct bpf_dynptr packet;
	struct iphdr buffer = {}, *ip;

	if (bpf_dynptr_from_skb(skb, 0, &packet))
		return BPF_OK;
	ip = bpf_dynptr_slice(&packet, 0, &buffer, sizeof(buffer));
	if (!ip)
		return BPF_OK;
	return ip->protocol == IPPROTO_UDP ? BPF_DROP : BPF_OK;
}

SEC("lwt_xmit")
int refused_sliced(struct __sk_buff *skb)
{
	struct bpf_dynptr packet;
	struct iphdr buffer = {}, *ip;

	if (bpf_dynptr_from_skb(skb, 0, &packet))
		return BPF_OK;
	ip = bpf_dynptr_slice(&packet, 0, &buffer, sizeof(buffer));
	return ip->protocol == IPPROTO_UDP ? BPF_DROP : BPF_OK;
}

SEC("lwt_xmit")
int told(struct __sk_buff *skb)
{
	bpf_printk("%d bytes, mark %x", skb->len, skb->mark);
	return BPF_OK;
}

char LICENSE[] SEC("license") = "GPL";
