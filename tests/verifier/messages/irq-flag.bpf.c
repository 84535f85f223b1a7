#include <routebpf.h>

SEC("lwt_xmit")
int probe(struct __sk_buff *skb)
{
    unsigned long flags = 0;

    bpf_local_irq_restore(&flags);
    return BPF_OK;
}

char LICENSE[] SEC("license") = "GPL";
