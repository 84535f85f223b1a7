#include <routebpf.h>

struct key {
    __u32 address;
    __u16 protocol;
};

struct {
    __uint(type, BPF_MAP_TYPE_HASH);
    __uint(max_entries, 1024);
    __type(key, struct key);
    __type(value, __u64);
} flows SEC(".maps");

SEC("lwt_xmit")
int probe(struct __sk_buff *skb)
{
    struct key key;

    key.address = skb->mark;
    key.protocol = skb->protocol;
    __u64 *value = bpf_map_lookup_elem(&flows, &key);

    return value ? BPF_DROP : BPF_OK;
}

char LICENSE[] SEC("license") = "GPL";
