#include <routebpf.h>

SEC("lwt_xmit")
int probe(struct __sk_buff *skb)
{
    __u32 key = 0;

    bpf_skb_load_bytes((void *)skb + 8, 0, &key, 4);
    return key == 1 ? BPF_DROP : BPF_OK;
}

char LICENSE[] SEC("license") = "GPL";
