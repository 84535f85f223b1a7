#include <routebpf.h>

static __noinline int checksum(struct __sk_buff *skb)
{
    char buffer[200];
    int sum = 0;

    if (bpf_skb_load_bytes(skb, 0, buffer, sizeof(buffer)))
        return 0;
    for (int i = 0; i < sizeof(buffer); i++)
        sum += buffer[i];
    return sum;
}

SEC("lwt_xmit")
int probe(struct __sk_buff *skb)
{
    char buffer[400];

    if (bpf_skb_load_bytes(skb, 0, buffer, sizeof(buffer)))
        return BPF_OK;
    return checksum(skb) == buffer[0] ? BPF_DROP : BPF_OK;
}

char LICENSE[] SEC("license") = "GPL";
