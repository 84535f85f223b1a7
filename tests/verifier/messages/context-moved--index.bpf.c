#include <routebpf.h>

SEC("lwt_xmit")
int probe(struct __sk_buff *skb)
{
    __u32 sum = 0;

#pragma clang loop unroll(disable)
    for (int i = 0; i < 5; i++)
        sum += skb->cb[i];
    return sum == 9 ? BPF_DROP : BPF_OK;
}

char LICENSE[] SEC("license") = "GPL";
