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
    __u64 *value = bpf_map_lookup_elem(&counts, (void *)(long)skb->mark);

    return value ? BPF_DROP : BPF_OK;
}

char LICENSE[] SEC("license") = "GPL";
