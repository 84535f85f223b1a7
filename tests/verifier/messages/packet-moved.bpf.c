#include <routebpf.h>

SEC("lwt_xmit")
int probe(struct __sk_buff *skb)
{
    void *data = (void *)(long)skb->data;
    void *data_end = (void *)(long)skb->data_end;
    struct iphdr *ip = data;

    if (data + sizeof(*ip) > data_end)
        return BPF_OK;
    __u8 ttl = 64;

    if (ip->ttl > 64)
        bpf_skb_store_bytes(skb, offsetof(struct iphdr, ttl), &ttl, 1, 0);
    return ip->protocol == IPPROTO_TCP ? BPF_DROP : BPF_OK;
}

char LICENSE[] SEC("license") = "GPL";
