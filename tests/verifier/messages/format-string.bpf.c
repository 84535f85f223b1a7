#include <routebpf.h>

#undef bpf_snprintf

SEC("lwt_xmit")
int probe(struct __sk_buff *skb)
{
    char text[32];
    __u64 value = skb->mark;

    bpf_snprintf(text, sizeof(text), "mark %q", &value, sizeof(value));
    return text[0] == 'm' ? BPF_DROP : BPF_OK;
}

char LICENSE[] SEC("license") = "GPL";
