#include <routebpf.h>

SEC("lwt_xmit")
int probe(struct __sk_buff *skb)
{
    void *data = (void *)(long)skb->data;
    void *data_end = (void *)(long)skb->data_end;
    struct iphdr *ip = data;
    __be16 *ports = (void *)(ip + 1);

    if ((void *)(ip + 1) > data_end)
        return BPF_OK;
    if (ip->protocol == IPPROTO_TCP)
        return ports[1] == bpf_htons(25) ? BPF_DROP : BPF_OK;
    else if (ip->protocol == IPPROTO_UDP)
        return BPF_DROP;
    return BPF_OK;
}

char LICENSE[] SEC("license") = "GPL";
