#include <routebpf.h>

static __noinline __u64 *address_of(__u64 value)
{
    __u64 local = value;

    asm volatile("" : : "r"(&local) : "memory");
    return &local;
}

SEC("lwt_xmit")
int probe(struct __sk_buff *skb)
{
    return *address_of(skb->mark) ? BPF_DROP : BPF_OK;
}

char LICENSE[] SEC("license") = "GPL";
