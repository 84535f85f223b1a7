// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
#include "program.h"

static void *(*bpf_ringbuf_reserve)(void *ringbuf, __u64 size, __u64 flags) = (void *)131;
static void (*bpf_ringbuf_submit)(void *data, __u64 flags) = (void *)132;
static void (*bpf_ringbuf_discard)(void *data, __u64 flags) = (void *)133;
static __u64 (*bpf_ringbuf_query)(void *ringbuf, __u64 flags) = (void *)134;
struct { __uint(type, 27); __uint(max_entries, 4096); } ring SEC(".maps");

SEC("lwt_xmit") int run(struct __sk_buff *skb) {
    __u64 *first = bpf_ringbuf_reserve(&ring, 16, 0);
    if (!first) return 1;
    first[0] = skb->len;
    first[1] = 7;
    __u64 *second = bpf_ringbuf_reserve(&ring, 24, 0);
    if (!second) {
        bpf_ringbuf_discard(first, 0);
        return 2;
    }
    second[2] = first[0] + first[1];
    put(0, second[2]);
    bpf_ringbuf_submit(first, 0);
    bpf_ringbuf_discard(second, 0);
    put(1, bpf_ringbuf_query(&ring, 1));
    put(2, bpf_ringbuf_query(&ring, 3));
    return 0;
}
