#include <routebpf.h>

static long (*new_helper)(void *context) = (void *)4000;

SEC("lwt_xmit")
int probe(struct __sk_buff *skb)
{
    return new_helper(skb) ? BPF_DROP : BPF_OK;
}

char LICENSE[] SEC("license") = "GPL";
