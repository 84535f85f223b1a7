#include <routebpf.h>

SEC("lwt_xmit")
int probe(struct __sk_buff *skb)
{
    struct bpf_dynptr packet;
    __u32 word;

    bpf_dynptr_read(&word, sizeof(word), &packet, 0, 0);
    return word == 1 ? BPF_DROP : BPF_OK;
}

char LICENSE[] SEC("license") = "GPL";
