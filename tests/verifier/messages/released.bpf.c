#include <routebpf.h>

struct {
    __uint(type, BPF_MAP_TYPE_RINGBUF);
    __uint(max_entries, 4096);
} events SEC(".maps");

SEC("lwt_xmit")
int probe(struct __sk_buff *skb)
{
    __u32 *record = bpf_ringbuf_reserve(&events, sizeof(*record), 0);

    if (!record)
        return BPF_OK;
    *record = skb->len;
    bpf_ringbuf_submit(record, 0);
    bpf_ringbuf_discard(record, 0);
    return BPF_OK;
}

char LICENSE[] SEC("license") = "GPL";
