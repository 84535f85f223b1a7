#include <routebpf.h>

struct {
    __uint(type, BPF_MAP_TYPE_RINGBUF);
    __uint(max_entries, 4096);
} events SEC(".maps");

SEC("lwt_xmit")
int probe(struct __sk_buff *skb)
{
    struct bpf_dynptr record;

    bpf_ringbuf_reserve_dynptr(&events, 8, 0, &record);
    bpf_ringbuf_reserve_dynptr(&events, 8, 0, &record);
    bpf_ringbuf_discard_dynptr(&record, 0);
    return BPF_OK;
}

char LICENSE[] SEC("license") = "GPL";
