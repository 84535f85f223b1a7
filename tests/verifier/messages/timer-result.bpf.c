#include <routebpf.h>

struct counter {
    struct bpf_timer timer;
    __u64 packets;
};

struct {
    __uint(type, BPF_MAP_TYPE_ARRAY);
    __uint(max_entries, 1);
    __type(key, __u32);
    __type(value, struct counter);
} counters SEC(".maps");

static int reset(void *map, __u32 *key, struct counter *counter)
{
    __u64 packets = counter->packets;

    counter->packets = 0;
    return packets;
}

SEC("lwt_xmit")
int probe(struct __sk_buff *skb)
{
    __u32 first = 0;
    struct counter *counter = bpf_map_lookup_elem(&counters, &first);

    if (!counter)
        return BPF_OK;
    bpf_timer_init(&counter->timer, &counters, 1);
    bpf_timer_set_callback(&counter->timer, reset);
    bpf_timer_start(&counter->timer, 1000000000, 0);
    return BPF_OK;
}

char LICENSE[] SEC("license") = "GPL";
