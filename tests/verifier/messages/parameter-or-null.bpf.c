#include <routebpf.h>

struct pair {
    __u32 a, b;
};

struct {
    __uint(type, BPF_MAP_TYPE_HASH);
    __uint(max_entries, 1024);
    __type(key, __u32);
    __type(value, struct pair);
} pairs SEC(".maps");

__noinline int difference(struct pair *pair)
{
    return pair->a - pair->b;
}

SEC("lwt_xmit")
int probe(struct __sk_buff *skb)
{
    __u32 key = skb->mark;
    struct pair *pair = bpf_map_lookup_elem(&pairs, &key);

    if (!pair)
        return BPF_OK;
    return difference(pair) ? BPF_DROP : BPF_OK;
}

char LICENSE[] SEC("license") = "GPL";
