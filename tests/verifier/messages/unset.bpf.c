#include <routebpf.h>

SEC("lwt_xmit")
int probe(struct __sk_buff *skb)
{
    __u64 kept;

    asm volatile("%0 = r9" : "=r"(kept));
    return kept == 5 ? BPF_DROP : BPF_OK;
}

char LICENSE[] SEC("license") = "GPL";
