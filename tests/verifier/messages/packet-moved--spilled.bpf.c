#include <routebpf.h>

SEC("lwt_xmit")
int probe(struct __sk_buff *skb)
{
    void *data = (void *)(long)skb->data;
    void *data_end = (void *)(long)skb->data_end;
    struct iphdr *volatile ip = data;

    if (data + sizeof(struct iphdr) > data_end)
        return BPF_OK;
    if (bpf_skb_change_head(skb, 14, 0))
        return BPF_DROP;
    return ip->ttl > 1 ? BPF_OK : BPF_DROP;
}

char LICENSE[] SEC("license") = "GPL";
