#include <routebpf.h>

SEC("lwt_xmit")
int probe(struct __sk_buff *skb)
{
    __u32 rounds = 0;

    while (skb->mark != 7)
        asm volatile("");
    return BPF_OK;
}

char LICENSE[] SEC("license") = "GPL";
