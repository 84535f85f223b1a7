#include <routebpf.h>

struct {
    __uint(type, BPF_MAP_TYPE_RINGBUF);
    __uint(max_entries, 4096);
} events SEC(".maps");

SEC("lwt_xmit")
int probe(struct __sk_buff *skb)
{
    char buffer[64] = {};
    __s64 size = (__s32)skb->mark;

    if (size > (int)sizeof(buffer))
        return BPF_OK;
    bpf_ringbuf_output(&events, buffer, size, 0);
    return BPF_OK;
}

char LICENSE[] SEC("license") = "GPL";
