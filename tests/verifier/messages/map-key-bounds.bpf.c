#include <routebpf.h>

struct {
    __uint(type, BPF_MAP_TYPE_HASH);
    __uint(max_entries, 1024);
    __type(key, __u32);
    __type(value, __u64);
} counts SEC(".maps");

static long visit(struct bpf_map *map, const __u32 *key, __u64 *value, void *context)
{
    *value = key[1];
    return 0;
}

SEC("lwt_xmit")
int probe(struct __sk_buff *skb)
{
    bpf_for_each_map_elem(&counts, visit, 0, 0);
    return BPF_OK;
}

char LICENSE[] SEC("license") = "GPL";
