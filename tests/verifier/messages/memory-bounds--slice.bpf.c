#include <routebpf.h>

SEC("lwt_xmit")
int probe(struct __sk_buff *skb)
{
    struct bpf_dynptr packet;
    struct iphdr copy, *ip;

    if (bpf_dynptr_from_skb(skb, 0, &packet))
        return BPF_OK;
    ip = bpf_dynptr_slice(&packet, 0, &copy, 12);
    return ip && ip->daddr == 7 ? BPF_DROP : BPF_OK;
}

char LICENSE[] SEC("license") = "GPL";
