#include <routebpf.h>

struct {
    __uint(type, BPF_MAP_TYPE_HASH);
    __uint(max_entries, 1024);
    __type(key, __u32);
    __type(value, __u64);
} counts SEC(".maps");

SEC("lwt_xmit")
int probe(struct __sk_buff *skb)
{
    __u32 key = 0;
    __u64 *value = bpf_map_lookup_elem(&counts, &key);

    if (!value)
        return BPF_OK;
    bpf_timer_init((void *)value, &counts, 0);
    return BPF_OK;
}

char LICENSE[] SEC("license") = "GPL";
