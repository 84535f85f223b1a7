#include <routebpf.h>

struct {
    __uint(type, BPF_MAP_TYPE_RINGBUF);
    __uint(max_entries, 4096);
} events SEC(".maps");

SEC("lwt_xmit")
int probe(struct __sk_buff *skb)
{
    void *data = (void *)(long)skb->data;
    void *data_end = (void *)(long)skb->data_end;
    struct iphdr *ip = data;

    if (data + sizeof(*ip) > data_end)
        return BPF_OK;
    char copy[20] = {};

    bpf_skb_pull_data(skb, 40);
    bpf_ringbuf_output(&events, ip, 20, 0);
    return BPF_OK;
}

char LICENSE[] SEC("license") = "GPL";
