#include <routebpf.h>

SEC("lwt_xmit")
int probe(struct __sk_buff *skb)
{
    char bytes[16] = {};

    asm volatile("" : : "r"(bytes) : "memory");
    asm volatile("*(u32 *)(%0 + 2) = %1" : : "r"(bytes), "r"(skb->mark) : "memory");
    return bytes[2] == 1 ? BPF_DROP : BPF_OK;
}

char LICENSE[] SEC("license") = "GPL";
