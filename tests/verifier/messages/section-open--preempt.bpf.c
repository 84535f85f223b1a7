#include <routebpf.h>

SEC("lwt_xmit")
int probe(struct __sk_buff *skb)
{
    bpf_preempt_disable();
    if (skb->len > 100)
        return BPF_DROP;
    bpf_preempt_enable();
    return BPF_OK;
}

char LICENSE[] SEC("license") = "GPL";
