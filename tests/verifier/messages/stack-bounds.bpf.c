#include <routebpf.h>

SEC("lwt_xmit")
int probe(struct __sk_buff *skb)
{
    char name[16] = {};
    __u32 index = skb->mark & 31;

    name[index] = 1;
    asm volatile("" : : "r"(name) : "memory");
    return BPF_OK;
}

char LICENSE[] SEC("license") = "GPL";
