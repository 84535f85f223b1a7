#include <routebpf.h>

SEC("lwt_xmit")
int probe(struct __sk_buff *skb)
{
    struct bpf_iter_num numbers;
    int *number = bpf_iter_num_next(&numbers);

    return number ? BPF_DROP : BPF_OK;
}

char LICENSE[] SEC("license") = "GPL";
