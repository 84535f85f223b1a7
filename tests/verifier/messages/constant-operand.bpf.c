#include <routebpf.h>

SEC("lwt_xmit")
int probe(struct __sk_buff *skb)
{
    __u64 mark = skb->mark;

    asm volatile("%0 /= 0" : "+r"(mark));
    return mark == 7 ? BPF_DROP : BPF_OK;
}

char LICENSE[] SEC("license") = "GPL";
