#include <routebpf.h>

extern int bpf_sk_assign_tcp_reqsk(struct __sk_buff *skb) __ksym;

SEC("lwt_xmit")
int probe(struct __sk_buff *skb)
{
    return bpf_sk_assign_tcp_reqsk(skb) ? BPF_DROP : BPF_OK;
}

char LICENSE[] SEC("license") = "GPL";
