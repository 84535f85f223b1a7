// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/* Programs that do anything to a packet, at random. */
#include <routebpf.h>

char _license[] SEC("license") = "GPL";

struct {
	__uint(type, BPF_MAP_TYPE_PERF_EVENT_ARRAY);
	__uint(key_size, 4);
	__uint(value_size, 4);
	__uint(max_entries, 8);
} samples SEC(".maps");

static void change(struct __sk_buff *skb, unsigned char *bytes)
{
	__u32 what = bpf_get_prandom_u32(), any = bpf_get_prandom_u32(), size = any >> (what >> 27);

	switch (what % 14) {
	case 0: bpf_skb_change_head(skb, size & 0xffff, 0); break;
	case 1: bpf_skb_change_head(skb, 14, 0); break;
	case 2: bpf_skb_change_tail(skb, size, 0); break;
	case 3: bpf_skb_change_tail(skb, size & 0x3ff, 0); break;
	case 4: bpf_skb_load_bytes(skb, size, bytes, 1 + (any & 31)); break;
	case 5: bpf_skb_store_bytes(skb, size & 0x7f, bytes, 1 + (any & 31), what >> 30); break;
	case 6: bpf_l3_csum_replace(skb, size, 0, any, what & 4); break;
	case 7: bpf_l4_csum_replace(skb, size & 0xff, 0, any, what & 0x74); break;
	case 8: bpf_get_hash_recalc(skb); break;
	case 9: bpf_clone_redirect(skb, any & 7, what & 1); break;
	case 10:
		bytes[0] = 0x45 + (any & 3);
		bytes[9] = what >> 24;
		bpf_lwt_push_encap(skb, BPF_LWT_ENCAP_IP, bytes, 20 + (any & 44));
		break;
	case 11:
		bytes[0] = 0x60;
		bytes[6] = what >> 24;
		bpf_lwt_push_encap(skb, BPF_LWT_ENCAP_IP, bytes, 40 + (any & 24));
		break;
	case 12:
		bpf_perf_event_output(skb, &samples, BPF_F_CURRENT_CPU | (__u64)(size & 0xfffff) << 32, bytes, 16);
		break;
	case 13: bpf_set_hash_invalid(skb); break;
	}
}

SEC("lwt_xmit/anything") int anything(struct __sk_buff *skb)
{
	unsigned char bytes[64] = {};
	__u32 end;

	for (int step = 0; step < 5; step++)
		change(skb, bytes);
	end = bpf_get_prandom_u32();
	switch (end & 7) {
	case 0: case 1: return BPF_OK;
	case 2: bpf_skb_change_head(skb, 14, 0); return bpf_redirect(end >> 8 & 7, end >> 20 & 1);
	case 3: return bpf_redirect(end >> 8 & 7, 0);
	case 4: case 5: return BPF_LWT_REROUTE;
	default: return end >> 4 & 0xff;
	}
}

SEC("lwt_out/leave") int leave(struct __sk_buff *skb)
{
	unsigned char bytes[32];
	__u32 any = bpf_get_prandom_u32();

	bpf_skb_load_bytes(skb, any & 0xff, bytes, sizeof(bytes));
	bpf_get_hash_recalc(skb);
	return any % 16 == 1 ? BPF_LWT_REROUTE : any % 16 == 2 ? BPF_DROP : BPF_OK;
}

SEC("lwt_in/enter") int enter(struct __sk_buff *skb)
{
	unsigned char bytes[64] = { 0x45 };
	__u32 any = bpf_get_prandom_u32();

	bpf_get_hash_recalc(skb);
	if (any % 8 == 1) {
		bytes[9] = any >> 24;
		bpf_lwt_push_encap(skb, BPF_LWT_ENCAP_IP, bytes, 20 + (any >> 8 & 44));
	}
	return any % 4 == 1 ? BPF_LWT_REROUTE : any % 16 == 2 ? BPF_DROP : BPF_OK;
}
