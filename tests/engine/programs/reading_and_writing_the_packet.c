// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
#include "program.h"

SEC("lwt_xmit") int run(struct __sk_buff *skb) {
    __u8 *data = (void *)(long)skb->data, *end = (void *)(long)skb->data_end;
    if (data + 40 > end) return 5;
    __u64 sum = 0;
    for (int i = 0; i < 20; i++) sum = sum * 131 + data[i];
    put(0, sum); put(1, *(__u16 *)(data + 3)); put(2, *(__u32 *)(data + 5)); put(3, *(__u64 *)(data + 9));
    put(4, *(volatile __s8 *)(data + 7)); put(5, *(volatile __s16 *)(data + 21));
    put(6, *(volatile __s32 *)(data + 23));
    data[8]--; *(__u16 *)(data + 11) = 0xbeef; *(__u32 *)(data + 30) = __builtin_bswap32(sum);
    *(__u64 *)(data + 22) ^= sum;
    return data[8];
}
