#include <routebpf.h>

const volatile int limit = 100;

SEC("lwt_xmit")
int probe(struct __sk_buff *skb)
{
    *(volatile int *)&limit = skb->len;
    return BPF_OK;
}

char LICENSE[] SEC("license") = "GPL";
