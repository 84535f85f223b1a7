#include <routebpf.h>

struct {
    __uint(type, BPF_MAP_TYPE_HASH);
    __uint(max_entries, 1024);
    __type(key, __u32);
    __type(value, __u64);
} counts SEC(".maps");

struct map_head {
    char before[36];
    __u32 max_entries;
};

SEC("lwt_xmit")
int probe(struct __sk_buff *skb)
{
    struct bpf_map *map = (void *)&counts;

    *(volatile __u32 *)&((struct map_head *)map)->max_entries = 1;
    return BPF_OK;
}

char LICENSE[] SEC("license") = "GPL";
