#include <routebpf.h>

SEC("lwt_in")
int probe(struct __sk_buff *skb)
{
    __u8 ttl = 64;

    bpf_skb_store_bytes(skb, 8, &ttl, 1, 0);
    return BPF_OK;
}

char LICENSE[] SEC("license") = "GPL";
