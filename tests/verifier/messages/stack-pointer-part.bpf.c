#include <routebpf.h>

SEC("lwt_xmit")
int probe(struct __sk_buff *skb)
{
    void *data = (void *)(long)skb->data;
    void *data_end = (void *)(long)skb->data_end;
    struct iphdr *ip = data;

    if (data + sizeof(*ip) > data_end)
        return BPF_OK;
    __u32 half;

    asm volatile("*(u64 *)(r10 - 8) = %1; %0 = *(u32 *)(r10 - 4)" : "=r"(half) : "r"(ip) : "memory");
    return half ? BPF_DROP : BPF_OK;
}

char LICENSE[] SEC("license") = "GPL";
