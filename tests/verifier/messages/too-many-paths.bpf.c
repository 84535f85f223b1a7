#include <routebpf.h>

SEC("lwt_xmit")
int probe(struct __sk_buff *skb)
{
    __u32 sum = 0;

    for (int i = 0; i < 10000; i++) {
        if (bpf_get_prandom_u32() == i)
            sum += i;
        asm volatile("" : "+r"(sum));
    }
    return sum == 7 ? BPF_DROP : BPF_OK;
}

char LICENSE[] SEC("license") = "GPL";
