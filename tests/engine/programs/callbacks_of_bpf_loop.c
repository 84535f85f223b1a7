// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
#include "program.h"

struct state { __u64 sum, stop; };
static long step(__u32 i, struct state *s) { s->sum = s->sum * 3 + i; return i == s->stop; }
SEC("lwt_xmit") int run(struct __sk_buff *skb) {
    struct state s = {1, 1000};
    put(0, bpf_loop(20, step, &s, 0)); put(1, s.sum);
    s.stop = 4; put(2, bpf_loop(20, step, &s, 0)); put(3, s.sum);
    put(4, bpf_loop(0, step, &s, 0)); put(5, bpf_loop((1 << 23) + 1, step, &s, 0)); put(6, bpf_loop(1, step, &s, 1));
    return s.sum;
}
