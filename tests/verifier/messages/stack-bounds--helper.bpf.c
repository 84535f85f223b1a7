#include <routebpf.h>

SEC("lwt_xmit")
int probe(struct __sk_buff *skb)
{
    char head[8];

    if (bpf_skb_load_bytes(skb, 0, head, 20))
        return BPF_OK;
    return head[0] == 0x45 ? BPF_DROP : BPF_OK;
}

char LICENSE[] SEC("license") = "GPL";
