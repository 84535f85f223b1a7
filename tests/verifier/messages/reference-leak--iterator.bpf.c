#include <routebpf.h>

SEC("lwt_xmit")
int probe(struct __sk_buff *skb)
{
    struct bpf_iter_num numbers;

    bpf_iter_num_new(&numbers, 0, 10);
    if (bpf_iter_num_next(&numbers))
        return BPF_DROP;
    bpf_iter_num_destroy(&numbers);
    return BPF_OK;
}

char LICENSE[] SEC("license") = "GPL";
