// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
#include "program.h"

static __noinline __u64 mix(__u64 a, __u64 b, __u64 c, __u64 d, __u64 e) {
    volatile __u64 own[6] = {a, b * 3, c ^ 5, d - 7, e << 3, 1}; __u64 sum = 0;
    for (int i = 0; i < 6; i++) sum = sum * 31 + own[i];
    return sum;
}
static __noinline __u64 deep(__u64 a, __u64 *p) {
    *p += a;
    __u64 x = mix(a, *p, 3, 4, 5);
    return x + mix(x, 1, a, *p, 2);
}
SEC("lwt_xmit") int run(struct __sk_buff *skb) {
    __u64 a = skb->len, b = a * 3, c = b ^ 77, d = c + 9, seen = 5;
    put(0, deep(a, &seen)); put(1, seen); put(2, a); put(3, b); put(4, c); put(5, d); put(6, deep(d, &seen));
    put(7, seen);
    return a + b + c + d;
}
