#include <routebpf.h>

static long add(__u64 index, void *context)
{
    *(__u64 *)context += index;
    return index;
}

SEC("lwt_xmit")
int probe(struct __sk_buff *skb)
{
    __u64 sum = 0;

    bpf_loop(10, add, &sum, 0);
    return sum > 20 ? BPF_DROP : BPF_OK;
}

char LICENSE[] SEC("license") = "GPL";
