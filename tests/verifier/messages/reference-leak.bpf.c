#include <routebpf.h>

struct event {
    __u32 length;
};

struct {
    __uint(type, BPF_MAP_TYPE_RINGBUF);
    __uint(max_entries, 4096);
} events SEC(".maps");

SEC("lwt_xmit")
int probe(struct __sk_buff *skb)
{
    struct event *event = bpf_ringbuf_reserve(&events, sizeof(*event), 0);

    if (!event)
        return BPF_OK;
    event->length = skb->len;
    if (skb->mark == 7)
        return BPF_DROP;
    bpf_ringbuf_submit(event, 0);
    return BPF_OK;
}

char LICENSE[] SEC("license") = "GPL";
