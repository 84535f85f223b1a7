#include <routebpf.h>

static const volatile __u32 rounds = 0;

static __noinline int verdict(__u64 sum)
{
    return sum > 20 ? BPF_DROP : BPF_OK;
}

static long add(__u64 index, void *context)
{
    *(__u64 *)context += index;
    return 0;
}

static long subtract(__u64 index, void *context)
{
    *(__u64 *)context -= index;
    return 0;
}

SEC("lwt_xmit")
int probe(struct __sk_buff *skb)
{
    __u64 sum = skb->len;

    bpf_loop(rounds, skb->mark ? add : subtract, &sum, 0);
    return verdict(sum);
}

char LICENSE[] SEC("license") = "GPL";
