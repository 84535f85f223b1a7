#include <routebpf.h>

SEC("lwt_xmit")
int probe(struct __sk_buff *skb)
{
    void *data = (void *)(long)skb->data;
    void *data_end = (void *)(long)skb->data_end;
    struct iphdr *ip = data;

    if (data + sizeof(*ip) > data_end)
        return BPF_OK;
    __u64 low;

    asm volatile("r3 = %1; w3 += 4; %0 = r3" : "=r"(low) : "r"(data) : "r3");
    return low == 7 ? BPF_DROP : BPF_OK;
}

char LICENSE[] SEC("license") = "GPL";
