#include <routebpf.h>

SEC("lwt_xmit")
int probe(struct __sk_buff *skb)
{
    bpf_rcu_read_lock();
    bpf_rcu_read_unlock();
    return BPF_OK;
}

char LICENSE[] SEC("license") = "Apache-2.0";
