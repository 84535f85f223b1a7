#include <routebpf.h>

SEC("lwt_xmit")
int probe(struct __sk_buff *skb)
{
    __sync_fetch_and_add(&skb->mark, 1);
    return BPF_OK;
}

char LICENSE[] SEC("license") = "GPL";
