#include <routebpf.h>

SEC("lwt_xmit")
int probe(struct __sk_buff *skb)
{
    char name[16] = {};

    asm volatile("" : : "r"(name) : "memory");
    return name[skb->mark] == 1 ? BPF_DROP : BPF_OK;
}

char LICENSE[] SEC("license") = "GPL";
