// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
#include <linux/bpf.h>
#include <asm/byteorder.h>
#include <linux/ip.h>
#include <linux/icmp.h>
#include <stddef.h>
#define __section(X) __attribute__((section(X), used))
#ifndef __always_inline
#define __always_inline inline __attribute__((always_inline))
#endif
#define __maybe_unused __attribute__((__unused__))
#define likely(X) __builtin_expect(!!(X), 1)
#define unlikely(X) __builtin_expect(!!(X), 0)
#define build_bug_on(E) ((void)sizeof(char[1 - 2 * !!(E)]))
#define BPF_FUNC(NAME, ...) (*NAME)(__VA_ARGS__) __maybe_unused = (void *)BPF_FUNC_##NAME
static void *BPF_FUNC(map_lookup_elem, void *map, const void *key);
static int BPF_FUNC(map_update_elem, void *map, const void *key, const void *value, __u32 flags);
static int BPF_FUNC(skb_store_bytes, struct __sk_buff *skb, __u32 off, const void *from, __u32 len, __u32 flags);
static int BPF_FUNC(l3_csum_replace, struct __sk_buff *skb, __u32 off, __u32 from, __u32 to, __u32 flags);
static int BPF_FUNC(skb_pull_data, struct __sk_buff *skb, __u32 len);
struct ct_key { __be32 d, s; __u8 p; __u8 pad[3]; } __attribute__((packed));
struct ct_entry { __u64 packets, bytes, last; __u32 flags; __u32 pad; };
struct { __attribute__((unused)) int (*type)[BPF_MAP_TYPE_LRU_HASH]; struct ct_key *key; struct ct_entry *value; int (*max_entries)[4096]; int (*map_flags)[0]; } CT __section(".maps");
const volatile __u32 new_ttl = 7;
static __always_inline __maybe_unused void *ctx_data(const struct __sk_buff *c) { return (void *)(unsigned long)c->data; }
static __always_inline __maybe_unused void *ctx_data_end(const struct __sk_buff *c) { return (void *)(unsigned long)c->data_end; }
#define relax_verifier() asm volatile("" ::: "memory")
static __always_inline int revalidate(struct __sk_buff *c, struct iphdr **ip)
{
	void *d, *e;
	if (skb_pull_data(c, sizeof(**ip))) return -1;
	d = ctx_data(c); e = ctx_data_end(c);
	if (unlikely(d + sizeof(**ip) > e)) return -1;
	*ip = d;
	return 0;
}
static __attribute__((noinline)) int set_ttl(struct __sk_buff *c, __u8 ttl)
{
	struct iphdr *ip;
	__u16 was, now;
	if (revalidate(c, &ip)) return -1;
	was = *(__u16 *)&ip->ttl;
	now = (was & 0xff00) | ttl;
	if (l3_csum_replace(c, offsetof(struct iphdr, check), was, now, 2)) return -1;
	return skb_store_bytes(c, offsetof(struct iphdr, ttl), &ttl, 1, 0);
}
__section("lwt_xmit") int run(struct __sk_buff *ctx)
{
	struct iphdr *ip;
	struct ct_key key = {};
	struct ct_entry *e, fresh = {};
	build_bug_on(sizeof(struct ct_key) != 12);
	if (revalidate(ctx, &ip)) return BPF_OK;
	key.d = ip->daddr; key.s = ip->saddr; key.p = ip->protocol;
	e = map_lookup_elem(&CT, &key);
	if (likely(e)) { __sync_fetch_and_add(&e->packets, 1); __sync_fetch_and_add(&e->bytes, ctx->len); }
	else { fresh.packets = 1; fresh.bytes = ctx->len; map_update_elem(&CT, &key, &fresh, 0); }
	relax_verifier();
	return set_ttl(ctx, new_ttl) ? BPF_DROP : BPF_OK;
}
char __license[] __section("license") = "Dual BSD/GPL";
