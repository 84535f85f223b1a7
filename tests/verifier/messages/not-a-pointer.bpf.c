#include <routebpf.h>

SEC("lwt_xmit")
int probe(struct __sk_buff *skb)
{
    __u32 *device = (void *)(long)skb->mark;

    return *device == 1 ? BPF_DROP : BPF_OK;
}

char LICENSE[] SEC("license") = "GPL";
