#include <routebpf.h>

SEC("lwt_xmit")
int probe(struct __sk_buff *skb)
{
    __u32 sum = skb->mark;

    for (__u32 i = 0; i < 1000000; i++) {
        sum += i;
        asm volatile("" : "+r"(sum));
    }
    return sum == 7 ? BPF_DROP : BPF_OK;
}

char LICENSE[] SEC("license") = "GPL";
