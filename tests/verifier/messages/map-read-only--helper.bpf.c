#include <routebpf.h>

const volatile char zeros[8] = {};

SEC("lwt_xmit")
int probe(struct __sk_buff *skb)
{
    bpf_skb_load_bytes(skb, 0, (void *)zeros, sizeof(zeros));
    return zeros[0] ? BPF_DROP : BPF_OK;
}

char LICENSE[] SEC("license") = "GPL";
