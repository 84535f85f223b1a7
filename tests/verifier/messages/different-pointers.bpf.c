#include <routebpf.h>

struct head {
    __u32 length;
};

SEC("lwt_xmit")
int probe(struct __sk_buff *skb)
{
    struct head local = {7};
    struct head *from;

    if (skb->mark > 100)
        from = &local;
    else
        from = (void *)skb;
    asm volatile("" : "+r"(from) : "r"(&local) : "memory");
    return from->length == 7 ? BPF_DROP : BPF_OK;
}

char LICENSE[] SEC("license") = "GPL";
