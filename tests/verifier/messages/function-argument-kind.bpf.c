#include <routebpf.h>

struct opaque;

__noinline int first_of(struct __sk_buff *skb, void *what)
{
    struct opaque *unknown = what;

    return unknown != 0 && skb->len > 100;
}

SEC("lwt_xmit")
int probe(struct __sk_buff *skb)
{
    return first_of(skb, &skb->cb[0]) ? BPF_DROP : BPF_OK;
}

char LICENSE[] SEC("license") = "GPL";
