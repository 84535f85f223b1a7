// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
#include "program.h"

struct bpf_dynptr { __u64 opaque[2]; };
extern int bpf_dynptr_from_skb(struct __sk_buff *skb, __u64 flags, struct bpf_dynptr *ptr) __ksym;
extern void *bpf_dynptr_slice(const struct bpf_dynptr *ptr, __u32 offset, void *buffer, __u32 size) __ksym;
extern void *bpf_dynptr_slice_rdwr(const struct bpf_dynptr *ptr, __u32 offset, void *buffer, __u32 size) __ksym;
extern __u32 bpf_dynptr_size(const struct bpf_dynptr *ptr) __ksym;

SEC("lwt_xmit") int run(struct __sk_buff *skb) {
    struct bpf_dynptr ptr;
    __u8 buffer[20];
    if (bpf_dynptr_from_skb(skb, 0, &ptr)) return 1;
    put(0, bpf_dynptr_size(&ptr));
    __u8 *header = bpf_dynptr_slice(&ptr, 0, buffer, 20);
    if (!header) return 2;
    put(1, *(__u32 *)(header + 16));
    __u8 *more = bpf_dynptr_slice_rdwr(&ptr, 20, buffer, 20);
    if (!more) return 3;
    more[0] = 0xab;
    more[19] ^= 0xff;
    return header[9];
}
