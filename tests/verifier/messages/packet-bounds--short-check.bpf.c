#include <routebpf.h>

SEC("lwt_xmit")
int probe(struct __sk_buff *skb)
{
    void *data = (void *)(long)skb->data;
    void *data_end = (void *)(long)skb->data_end;
    struct iphdr *ip = data;
    struct tcphdr *tcp = (void *)(ip + 1);

    if ((void *)(ip + 1) > data_end)
        return BPF_OK;
    if (ip->protocol != IPPROTO_TCP || ip->ihl != 5)
        return BPF_OK;
    return tcp->dest == bpf_htons(25) ? BPF_DROP : BPF_OK;
}

char LICENSE[] SEC("license") = "GPL";
