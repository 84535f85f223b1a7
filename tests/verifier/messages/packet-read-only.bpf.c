#include <routebpf.h>

SEC("lwt_in")
int probe(struct __sk_buff *skb)
{
    void *data = (void *)(long)skb->data;
    void *data_end = (void *)(long)skb->data_end;
    struct iphdr *ip = data;

    if (data + sizeof(*ip) > data_end)
        return BPF_OK;
    ip->ttl = 64;
    return BPF_OK;
}

char LICENSE[] SEC("license") = "GPL";
