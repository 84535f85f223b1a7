#include <routebpf.h>

struct entry {
    struct bpf_res_spin_lock lock;
    __u32 packets;
};

struct {
    __uint(type, BPF_MAP_TYPE_ARRAY);
    __uint(max_entries, 1);
    __type(key, __u32);
    __type(value, struct entry);
} table SEC(".maps");

SEC("lwt_xmit")
int probe(struct __sk_buff *skb)
{
    __u32 zero = 0;
    struct entry *entry = bpf_map_lookup_elem(&table, &zero);

    if (!entry || bpf_res_spin_lock(&entry->lock))
        return BPF_OK;
    if (bpf_res_spin_lock(&entry->lock)) {
        bpf_res_spin_unlock(&entry->lock);
        return BPF_OK;
    }
    bpf_res_spin_unlock(&entry->lock);
    bpf_res_spin_unlock(&entry->lock);
    return BPF_OK;
}

char LICENSE[] SEC("license") = "GPL";
