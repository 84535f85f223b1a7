#include <routebpf.h>

struct {
    __uint(type, BPF_MAP_TYPE_PROG_ARRAY);
    __uint(max_entries, 4);
    __type(key, __u32);
    __type(value, __u32);
} programs SEC(".maps");

static __noinline int go_on(struct __sk_buff *skb)
{
    bpf_tail_call(skb, &programs, 0);
    return skb->mark;
}

SEC("lwt_xmit")
int probe(struct __sk_buff *skb)
{
    char buffer[300];

    if (bpf_skb_load_bytes(skb, 0, buffer, sizeof(buffer)))
        return BPF_OK;
    asm volatile("" : : "r"(buffer) : "memory");
    return go_on(skb) + buffer[0] == 7 ? BPF_DROP : BPF_OK;
}

char LICENSE[] SEC("license") = "GPL";
