#include <routebpf.h>

static long (*xdp_adjust_head)(void *context, int delta) = (void *)44;

SEC("lwt_xmit")
int probe(struct __sk_buff *skb)
{
    if (xdp_adjust_head(skb, 14))
        return BPF_DROP;
    return BPF_OK;
}

char LICENSE[] SEC("license") = "GPL";
