#include <routebpf.h>

SEC("lwt_xmit")
int probe(struct __sk_buff *skb)
{
    void *data = (void *)(long)skb->data;
    void *data_end = (void *)(long)skb->data_end;
    struct iphdr *ip = data;

    if (data + sizeof(*ip) > data_end)
        return BPF_OK;
    __u64 offset = 0;

    bpf_skb_load_bytes(skb, 0, &offset, 8);
    data += offset;
    if (data + 1 > data_end)
        return BPF_OK;
    return *(__u8 *)data == 1 ? BPF_DROP : BPF_OK;
}

char LICENSE[] SEC("license") = "GPL";
