#include <routebpf.h>

SEC("lwt_xmit")
int probe(struct __sk_buff *skb)
{
    __u64 now;

    asm volatile("r1 = 5; call 5; %0 = r1" : "=r"(now) : : "r0", "r1", "r2", "r3", "r4", "r5");
    return now == 5 ? BPF_DROP : BPF_OK;
}

char LICENSE[] SEC("license") = "GPL";
