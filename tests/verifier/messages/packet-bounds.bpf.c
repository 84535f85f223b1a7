#include <routebpf.h>

SEC("lwt_xmit")
int probe(struct __sk_buff *skb)
{
    void *data = (void *)(long)skb->data;
    void *data_end = (void *)(long)skb->data_end;
    struct iphdr *ip = data;

    if (ip->protocol == IPPROTO_TCP)
        return BPF_DROP;
    return BPF_OK;
}

char LICENSE[] SEC("license") = "GPL";
