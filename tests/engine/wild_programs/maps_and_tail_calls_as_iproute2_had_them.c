// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
#include <stdint.h>
#include <asm/types.h>
#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <linux/in.h>
#include <linux/ip.h>
#ifndef __section
# define __section(NAME) __attribute__((section(NAME), used))
#endif
#define __stringify(X) #X
#define ___stringify(X) __stringify(X)
#define __section_tail(ID, KEY) __section(___stringify(ID) "/" ___stringify(KEY))
#define __section_maps __section("maps")
#define __section_license __section("license")
#define BPF_LICENSE(NAME) char ____license[] __section_license = NAME
struct bpf_elf_map { __u32 type, size_key, size_value, max_elem, flags, id, pinning, inner_id, inner_idx; };
static void *(*map_lookup_elem)(void *map, const void *key) = (void *)BPF_FUNC_map_lookup_elem;
static int (*map_update_elem)(void *map, const void *key, const void *value, uint32_t flags) = (void *)BPF_FUNC_map_update_elem;
static void (*tail_call)(struct __sk_buff *skb, void *map, uint32_t index) = (void *)BPF_FUNC_tail_call;
static int (*skb_load_bytes)(struct __sk_buff *skb, uint32_t off, void *to, uint32_t len) = (void *)BPF_FUNC_skb_load_bytes;
#define JMP_MAP 0xabccba
struct bpf_elf_map __section_maps jmp = { .type = BPF_MAP_TYPE_PROG_ARRAY, .id = JMP_MAP, .size_key = 4, .size_value = 4, .max_elem = 3 };
struct bpf_elf_map __section_maps hits = { .type = BPF_MAP_TYPE_ARRAY, .size_key = 4, .size_value = 8, .max_elem = 4 };
static inline void hit(uint32_t n) { uint64_t *v = map_lookup_elem(&hits, &n); if (v) __sync_fetch_and_add(v, 1); }
__section_tail(JMP_MAP, 0) int odd(struct __sk_buff *skb) { hit(1); return BPF_OK; }
__section_tail(JMP_MAP, 1) int even(struct __sk_buff *skb) { hit(2); tail_call(skb, &jmp, 2); return BPF_OK; }
__section_tail(JMP_MAP, 2) int last(struct __sk_buff *skb) { hit(3); return BPF_DROP; }
__section("lwt_xmit") int run(struct __sk_buff *skb)
{
	struct iphdr ip;
	hit(0);
	if (skb_load_bytes(skb, 0, &ip, sizeof(ip)) < 0) return BPF_DROP;
	if (ip.protocol & 1) tail_call(skb, &jmp, 0);
	if (ip.protocol & 2) tail_call(skb, &jmp, 1);
	return BPF_OK;
}
BPF_LICENSE("GPL");
