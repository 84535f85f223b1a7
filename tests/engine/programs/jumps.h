// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/* A program array of three programs: `run` begins; slot 0 is `again`, slot 2 is `other`, the others are empty. */
#pragma once
#include "program.h"

int run(struct __sk_buff *skb); int again(struct __sk_buff *skb); int other(struct __sk_buff *skb);
struct { __uint(type, 3); __uint(max_entries, 4); __uint(key_size, 4); __array(values, int (void *)); }
    jumps SEC(".maps") = { .values = { [0] = (void *)&again, [2] = (void *)&other } };
static __u64 *count(__u32 at) { return bpf_map_lookup_elem(&out, &at); }
