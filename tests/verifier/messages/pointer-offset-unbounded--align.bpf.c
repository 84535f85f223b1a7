#include <routebpf.h>

SEC("lwt_xmit")
int probe(struct __sk_buff *skb)
{
    void *data = (void *)(long)skb->data;
    void *data_end = (void *)(long)skb->data_end;
    struct iphdr *ip = data;

    if (data + sizeof(*ip) > data_end)
        return BPF_OK;
    __u64 aligned = (__u64)data & ~3ULL;
    __u8 *first = (void *)aligned;

    return *first == 1 ? BPF_DROP : BPF_OK;
}

char LICENSE[] SEC("license") = "GPL";
