// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
#include "program.h"

struct bpf_dynptr { __u64 opaque[2]; };
extern int bpf_dynptr_from_skb(struct __sk_buff *skb, __u64 flags, struct bpf_dynptr *ptr) __ksym;
extern _Bool bpf_dynptr_is_rdonly(const struct bpf_dynptr *ptr) __ksym;
static long (*bpf_dynptr_write)(const struct bpf_dynptr *dst, __u32 offset, void *src, __u32 len, __u64 flags) =
    (void *)202;

SEC("lwt_in") int run(struct __sk_buff *skb) {
    struct bpf_dynptr ptr;
    __u32 value = 5;
    if (bpf_dynptr_from_skb(skb, 0, &ptr)) return 1;
    put(0, bpf_dynptr_is_rdonly(&ptr));
    put(1, bpf_dynptr_write(&ptr, 0, &value, 4, 0));
    return 0;
}
