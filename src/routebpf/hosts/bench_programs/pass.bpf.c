// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
#include <routebpf.h>

SEC("lwt_xmit")
int pass(struct __sk_buff *skb)
{
	return BPF_OK;
}
