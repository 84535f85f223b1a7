#include <routebpf.h>

SEC("lwt_xmit")
int probe(struct __sk_buff *skb)
{
    char text[8];

    bpf_copy_from_user_str(text, sizeof(text), (void *)0x1000, 0);
    return text[0] ? BPF_DROP : BPF_OK;
}

char LICENSE[] SEC("license") = "GPL";
