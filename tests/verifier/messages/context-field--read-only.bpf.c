#include <routebpf.h>

SEC("lwt_xmit")
int probe(struct __sk_buff *skb)
{
    skb->len = 100;
    return BPF_OK;
}

char LICENSE[] SEC("license") = "GPL";
