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
    __u32 key = skb->mark;
    __u64 *value = bpf_map_lookup_elem(&counts, &key);

    bpf_map_update_elem(&counts, value, &key, BPF_ANY);
    return BPF_OK;
}

char LICENSE[] SEC("license") = "GPL";
