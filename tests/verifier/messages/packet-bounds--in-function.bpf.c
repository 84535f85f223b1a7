#include <routebpf.h>

static __noinline int port_of(void *transport)
{
    struct udphdr *udp = transport;

    return bpf_ntohs(udp->dest);
}

SEC("lwt_xmit")
int probe(struct __sk_buff *skb)
{
    void *data = (void *)(long)skb->data;
    void *data_end = (void *)(long)skb->data_end;
    if (data + sizeof(struct iphdr) > data_end)
        return BPF_OK;
    return port_of(data + sizeof(struct iphdr)) == 25 ? BPF_DROP : BPF_OK;
}

char LICENSE[] SEC("license") = "GPL";
