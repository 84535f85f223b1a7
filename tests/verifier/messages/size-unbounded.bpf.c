#include <routebpf.h>

SEC("lwt_xmit")
int probe(struct __sk_buff *skb)
{
    char buffer[64];
    __u32 size = skb->len;

    if (size)
        bpf_skb_load_bytes(skb, 0, buffer, size);
    return buffer[0] == 1 ? BPF_DROP : BPF_OK;
}

char LICENSE[] SEC("license") = "GPL";
