#include <routebpf.h>

SEC("lwt_xmit")
int probe(struct __sk_buff *skb)
{
    bpf_printk("packet of %d bytes", skb->len);
    return BPF_OK;
}

char LICENSE[] SEC("license") = "Proprietary";
