#include <routebpf.h>

SEC("lwt_xmit")
int probe(struct __sk_buff *skb)
{
    bpf_rcu_read_lock();
    if (skb->len > 100)
        return BPF_DROP;
    bpf_rcu_read_unlock();
    return BPF_OK;
}

char LICENSE[] SEC("license") = "GPL";
