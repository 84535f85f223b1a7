#include <routebpf.h>

SEC("lwt_xmit")
int probe(struct __sk_buff *skb)
{
    struct bpf_sock *sk = skb->sk;

    if (!sk)
        return BPF_OK;
    return sk->mark == 7 ? BPF_DROP : BPF_OK;
}

char LICENSE[] SEC("license") = "GPL";
