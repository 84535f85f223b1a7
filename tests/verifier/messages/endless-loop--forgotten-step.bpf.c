#include <routebpf.h>

SEC("lwt_xmit")
int probe(struct __sk_buff *skb)
{
    __u32 i = 0;

    while (i < 10) {
        if (skb->mark == i)
            continue;
        i++;
        asm volatile("" : "+r"(i));
    }
    return BPF_OK;
}

char LICENSE[] SEC("license") = "GPL";
