#include <routebpf.h>

SEC("lwt_xmit")
int probe(struct __sk_buff *skb)
{
    struct bpf_dynptr packet;
    void *head;

    if (bpf_dynptr_from_skb(skb, 0, &packet))
        return BPF_OK;
    head = bpf_dynptr_slice(&packet, 0, 0, 8);
    if (head)
        bpf_skb_load_bytes(skb, 20, head, 8);
    return BPF_OK;
}

char LICENSE[] SEC("license") = "GPL";
