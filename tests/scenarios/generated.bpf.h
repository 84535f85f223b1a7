/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* What every random program begins with. */
#include <routebpf.h>
char _license[] SEC("license") = "GPL";

/* What each call gave, in order, and of which program. */
struct record {
	__u64 program;
	__s64 value;
};
struct {
	__uint(type, BPF_MAP_TYPE_QUEUE);
	__uint(max_entries, 8192);
	__type(value, struct record);
} notes SEC(".maps");
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 64);
	__type(key, __u32);
	__type(value, __u64);
} counters SEC(".maps");
/* Maps of every kind whose keys are 4 bytes and values 8: few entries, but for LRU ones, where it depends on the number
 * of CPUs which one goes. */
#define SMALL(name, kind, entries, map_flags_) \
	struct { \
		__uint(type, kind); \
		__uint(max_entries, entries); \
		__uint(map_flags, map_flags_); \
		__type(key, __u32); \
		__type(value, __u64); \
	} name SEC(".maps")
SMALL(small_array, BPF_MAP_TYPE_ARRAY, 5, 0);
SMALL(small_array_percpu, BPF_MAP_TYPE_PERCPU_ARRAY, 5, 0);
SMALL(small_hash, BPF_MAP_TYPE_HASH, 5, 0);
SMALL(small_hash_late, BPF_MAP_TYPE_HASH, 5, BPF_F_NO_PREALLOC);
SMALL(small_hash_percpu, BPF_MAP_TYPE_PERCPU_HASH, 5, 0);
SMALL(small_lru, BPF_MAP_TYPE_LRU_HASH, 64, 0);
SMALL(small_lru_percpu, BPF_MAP_TYPE_LRU_PERCPU_HASH, 64, 0);
struct prefix {
	__u32 length;
	__u8 bytes[4];
};
struct {
	__uint(type, BPF_MAP_TYPE_LPM_TRIE);
	__uint(max_entries, 6);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, struct prefix);
	__type(value, __u64);
} trie SEC(".maps");
#define TAKEN(name, kind) \
	struct { \
		__uint(type, kind); \
		__uint(max_entries, 3); \
		__type(value, __u64); \
	} name SEC(".maps")
TAKEN(small_queue, BPF_MAP_TYPE_QUEUE);
TAKEN(small_stack, BPF_MAP_TYPE_STACK);
struct {
	__uint(type, BPF_MAP_TYPE_BLOOM_FILTER);
	__uint(max_entries, 4096);
	__type(value, __u32);
} bloom SEC(".maps");
struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 4096);
} ring SEC(".maps");
struct {
	__uint(type, BPF_MAP_TYPE_PERF_EVENT_ARRAY);
	__uint(key_size, 4);
	__uint(value_size, 4);
} samples SEC(".maps");
static const __u8 pattern[64] = {
	0x45, 0xb8, 0x21, 0x23, 0x40, 0x11, 0xff, 0x00, 0x0a, 0x21, 0x00, 0x09, 0x7f, 0x80, 0x33, 0x99, 0x45,
};
struct record noted;
__u32 word;
__u64 number;
struct prefix prefix;

static __always_inline void note(__s64 value)
{
	noted.value = value;
	bpf_map_push_elem(&notes, &noted, 0);
}
#define IS_SHORT (skb->len < 500)
#define SUM(bytes) bpf_csum_diff(0, 0, (__be32 *)(bytes), 64, 0)
#define READ(type, at) ({ \
	__u8 *p = (void *)(long)skb->data; \
	p + (at) + sizeof(type) <= (__u8 *)(long)skb->data_end ? *(type *)(p + (at)) : (type)-1; \
})
#define WRITE(type, at, value) ({ \
	type wanted = (value); \
	__u8 *p = (void *)(long)skb->data; \
	int fits = p + (at) + sizeof(type) <= (__u8 *)(long)skb->data_end; \
	if (fits) \
		*(type *)(p + (at)) = wanted; \
	fits; \
})

static __always_inline __u64 count(struct __sk_buff *skb, __u32 at)
{
	__u32 key = 0;
	__u64 one = 1, *value;

	bpf_skb_load_bytes(skb, at, &key, 4);
	value = bpf_map_lookup_elem(&counters, &key);
	if (value)
		return ++*value;
	return bpf_map_update_elem(&counters, &key, &one, BPF_NOEXIST);
}
static __always_inline int link_header(struct __sk_buff *skb)
{
	__u8 header[14] = { 2, 0, 0, 0xbb, 0, 1, 2, 0, 0, 0, 0, 3 };

	*(__u16 *)&header[12] = skb->protocol;
	return bpf_skb_change_head(skb, 14, 0) ?: bpf_skb_store_bytes(skb, 0, header, 14, 0);
}
static __always_inline void set_address6(struct in6_addr *to, __u16 second, __u16 fourth, __u16 last)
{
	to->s6_addr16[0] = bpf_htons(0xfd00);
	to->s6_addr16[1] = bpf_htons(second);
	to->s6_addr16[2] = bpf_htons(fourth);
	to->s6_addr16[7] = bpf_htons(last);
}
static __always_inline int destination(struct __sk_buff *skb, __u32 to4, __u16 second, __u16 fourth, __u16 last)
{
	struct in6_addr to6 = {};

	if (skb->protocol == bpf_htons(ETH_P_IP)) {
		to4 = bpf_htonl(to4);
		return bpf_skb_store_bytes(skb, 16, &to4, 4, 0);
	}
	set_address6(&to6, second, fourth, last);
	return bpf_skb_store_bytes(skb, 24, &to6, 16, 0);
}
static __always_inline void behind_outer(__u8 *to, struct __sk_buff *skb, __u8 next, int size)
{
	if (next == IPPROTO_GRE)
		*(__u16 *)(to + 2) = skb->protocol;
	if (next == IPPROTO_UDP) {
		*(__u16 *)to = bpf_htons(5555);
		*(__u16 *)(to + 2) = bpf_htons(6080);
		*(__u16 *)(to + 4) = bpf_htons(skb->len + size);
		to[9] = skb->protocol == bpf_htons(ETH_P_IP) ? IPPROTO_IPIP : IPPROTO_IPV6;
	}
}
static __always_inline int outer4(struct __sk_buff *skb, __u32 to, __u8 next, int size, int ihl, __u16 check,
				  __u16 fragment, __u8 ttl, int kind)
{
	struct {
		struct iphdr ip;
		__u8 more[44];
	} outer = { .ip = { .version = 4, .ihl = ihl, .ttl = ttl, .protocol = next, .check = check } };

	outer.ip.id = bpf_htons(7);
	outer.ip.frag_off = bpf_htons(fragment);
	outer.ip.tot_len = bpf_htons(skb->len + size);
	outer.ip.saddr = bpf_htonl(0x0a000001);
	outer.ip.daddr = bpf_htonl(to);
	behind_outer(outer.more, skb, next, size - 20);
	return bpf_lwt_push_encap(skb, kind, &outer, size);
}
static __always_inline int outer6(struct __sk_buff *skb, __u16 second, __u16 fourth, __u16 last, __u8 next, int size,
				  __u8 ttl, int kind)
{
	struct {
		struct ipv6hdr ip;
		__u8 more[24];
	} outer = { .ip = { .version = 6, .hop_limit = ttl, .nexthdr = next } };

	outer.ip.payload_len = bpf_htons(skb->len + size - 40);
	set_address6(&outer.ip.saddr, 0xa, 0, 1);
	set_address6(&outer.ip.daddr, second, fourth, last);
	behind_outer(outer.more, skb, next, size - 40);
	return bpf_lwt_push_encap(skb, kind, &outer, size);
}
static __always_inline int tunnel(struct __sk_buff *skb, int size, __u64 flags, __u32 label, __u16 ext)
{
	struct bpf_tunnel_key key;

	__builtin_memset(&key, 0, sizeof(key));
	key.tunnel_id = 0x12345;
	key.remote_ipv4 = 0x0a010009;
	key.tunnel_tos = 3;
	key.tunnel_ttl = 9;
	key.tunnel_ext = ext;
	key.tunnel_label = label;
	key.local_ipv4 = 0x0a010001;
	return bpf_skb_set_tunnel_key(skb, &key, size, flags);
}

/* A key of the packet's bytes, of few values. */
#define KEY(at) (word = -1, bpf_skb_load_bytes(skb, at, &word, 4), word &= bpf_htonl(15), word = bpf_ntohl(word), &word)
#define NUMBER(value) (number = (value), &number)
#define FOUND(value) ({ __u64 *found = (value); found ? (__s64)*found : -1; })
#define ADDED(value) ({ __u64 *found = (value); found ? (__s64)__sync_fetch_and_add(found, skb->len) : -1; })
#define PREFIX(size, at) \
	(prefix.length = (size), bpf_skb_load_bytes(skb, at, prefix.bytes, 4), &prefix)

static long in_array(void *map, __u32 *key, __u64 *value, __u64 *sum)
{
	*sum += *value + *key;
	return *key == 3;
}
static long in_loop(__u32 at, __u64 *sum)
{
	*sum = *sum * 3 + at;
	return at == 1000;
}
static __always_inline __s64 each(__u64 flags)
{
	__u64 sum = 0;
	long done = bpf_for_each_map_elem(&small_array, in_array, &sum, flags);

	return done < 0 ? done : sum;
}
static __always_inline __s64 loop(__u32 times, __u64 flags)
{
	__u64 sum = 0;
	long done = bpf_loop(times, in_loop, &sum, flags);

	return done < 0 ? done : sum + done;
}
static __always_inline __s64 reserve(struct __sk_buff *skb, __u64 flags, int is_kept, __u64 wakeup)
{
	__u64 *record = bpf_ringbuf_reserve(&ring, 16, flags);

	if (!record)
		return -1;
	record[0] = skb->len;
	record[1] = skb->mark;
	if (is_kept)
		bpf_ringbuf_submit(record, wakeup);
	else
		bpf_ringbuf_discard(record, wakeup);
	return 0;
}

/* The packet as a dynptr: what is read of a part of it. */
static __always_inline void part(struct __sk_buff *skb, __u8 *bytes, __u64 flags, __u32 start, __u32 end, __u32 at)
{
	struct bpf_dynptr whole, packet;
	__u8 room[16] = {}, *slice;

	note(bpf_dynptr_from_skb(skb, flags, &whole));
	note(bpf_dynptr_clone(&whole, &packet));
	note(bpf_dynptr_adjust(&packet, start, end));
	note(bpf_dynptr_size(&packet));
	note(bpf_dynptr_is_rdonly(&packet));
	note(bpf_dynptr_read(bytes, 16, &packet, at, 0));
	note(SUM(bytes));
	slice = bpf_dynptr_slice(&packet, at, room, 16);
	note(slice ? slice[0] << 8 | slice[15] : -1);
}
static __always_inline void written(struct __sk_buff *skb, __u32 start, __u32 at, __u64 flags, __u64 store)
{
	struct bpf_dynptr packet;
	__u8 room[16] = {}, *slice;

	note(bpf_dynptr_from_skb(skb, flags, &packet));
	note(bpf_dynptr_adjust(&packet, start, bpf_dynptr_size(&packet)));
	note(bpf_dynptr_write(&packet, at, (void *)pattern, 16, store));
	slice = bpf_dynptr_slice_rdwr(&packet, at, room, 16);
	if (slice) {
		slice[3] ^= 0x55;
		if (slice == room)
			note(bpf_dynptr_write(&packet, at, room, 16, 0));
	}
}

/* A map value, a record of a ring buffer, and the packet as dynptrs: bytes copied from one into the other. */
__u8 room[64];
static __always_inline void to_memory(struct __sk_buff *skb, __u32 size, __u64 flags, __u32 start, __u32 to, __u32 from,
				      __u32 count)
{
	struct bpf_dynptr memory, packet;
	__u8 *data;

	note(bpf_dynptr_from_skb(skb, 0, &packet));
	note(bpf_dynptr_adjust(&packet, start, bpf_dynptr_size(&packet)));
	note(bpf_dynptr_from_mem(room, size, flags, &memory));
	note(bpf_dynptr_is_null(&memory));
	note(bpf_dynptr_copy(&memory, to, &packet, from, count));
	note(bpf_dynptr_copy(&memory, to, &memory, from, count));
	note(bpf_dynptr_memset(&memory, from, to, 0x33));
	data = bpf_dynptr_data(&memory, from, 4);
	note(data ? data[3] : -1);
}
static __always_inline void to_packet(struct __sk_buff *skb, __u32 start, __u32 end, __u32 to, __u32 from, __u32 count,
				      __u8 value)
{
	struct bpf_dynptr memory, packet;

	note(bpf_dynptr_from_skb(skb, 0, &packet));
	note(bpf_dynptr_adjust(&packet, start, end));
	note(bpf_dynptr_from_mem(room, 64, 0, &memory));
	note(bpf_dynptr_copy(&packet, to, &memory, from, count));
	note(bpf_dynptr_copy(&packet, to, &packet, from, count));
	note(bpf_dynptr_memset(&packet, from, count, value));
}
static __always_inline void to_ring(struct __sk_buff *skb, __u32 size, __u64 flags, __u32 to, __u32 from, __u32 count,
				    int is_kept, __u64 wakeup)
{
	struct bpf_dynptr record, packet;

	note(bpf_dynptr_from_skb(skb, 0, &packet));
	note(bpf_ringbuf_reserve_dynptr(&ring, size, flags, &record));
	note(bpf_dynptr_memset(&record, 0, bpf_dynptr_size(&record), 0x11));
	note(bpf_dynptr_copy(&record, to, &packet, from, count));
	note(bpf_dynptr_write(&record, to, (void *)pattern, 8, wakeup));
	if (is_kept)
		bpf_ringbuf_submit_dynptr(&record, wakeup);
	else
		bpf_ringbuf_discard_dynptr(&record, wakeup);
}

/* Values under a lock. */
struct guarded {
	struct bpf_spin_lock lock;
	__u32 count;
	__u64 bytes;
};
#define GUARDED(name, kind) \
	struct { \
		__uint(type, kind); \
		__uint(max_entries, 5); \
		__type(key, __u32); \
		__type(value, struct guarded); \
	} name SEC(".maps")
GUARDED(guarded_array, BPF_MAP_TYPE_ARRAY);
GUARDED(guarded_hash, BPF_MAP_TYPE_HASH);
#define LOCKED(map, key, flags) ({ \
	struct guarded fresh = { .count = 3, .bytes = skb->len }, *one; \
	note(bpf_map_update_elem(&map, key, &fresh, flags)); \
	one = bpf_map_lookup_elem(&map, &word); \
	if (one) { \
		bpf_spin_lock(&one->lock); \
		one->count++; \
		one->bytes += one->count; \
		bpf_spin_unlock(&one->lock); \
		note(one->bytes); \
	} \
})

/* Keys and values that are read where they stand in the packet, which is `p`. */
struct wide {
	__u8 of[16];
};
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 5);
	__type(key, struct wide);
	__type(value, __u64);
} wide_hash SEC(".maps");
#define AT(at, size, call) ({ \
	void *p = (void *)(long)skb->data + (at); \
	p + (size) <= (void *)(long)skb->data_end ? (__s64)(call) : -1; \
})

static long in_any(void *map, __u32 *key, __u64 *value, __u64 *sum)
{
	*sum += *value + *key;
	return 0;
}
#define EVERY(map, flags) ({ \
	__u64 sum = 0; \
	note(bpf_for_each_map_elem(&map, in_any, &sum, flags)); \
	note(sum); \
})
static __always_inline void numbers(int from, int to)
{
	struct bpf_iter_num it;
	__u64 sum = 0, count = 0;
	int *one;

	note(bpf_iter_num_new(&it, from, to));
	while ((one = bpf_iter_num_next(&it))) {
		sum += *one;
		if (++count == 100)
			break;
	}
	bpf_iter_num_destroy(&it);
	note(sum);
}
__u64 words[4];
static __always_inline void bits(struct __sk_buff *skb, __u32 at, __u32 count)
{
	struct bpf_iter_bits it;
	__u64 sum = 0;
	int *one;

	note(bpf_skb_load_bytes(skb, at, words, 32));
	note(bpf_iter_bits_new(&it, words, count));
	while ((one = bpf_iter_bits_next(&it)))
		sum = sum * 3 + *one;
	bpf_iter_bits_destroy(&it);
	note(sum);
}
__u64 cell;
__u32 half_cell;
#define ATOMIC(place, operand) ({ \
	note(__sync_fetch_and_add(&place, operand)); \
	note(__sync_fetch_and_or(&place, operand)); \
	note(__sync_fetch_and_xor(&place, skb->len)); \
	note(__sync_fetch_and_and(&place, ~(operand) | 0xff)); \
	note(__sync_lock_test_and_set(&place, place + 1)); \
	note(__sync_val_compare_and_swap(&place, (operand) & 0xff, skb->len)); \
})
#define CALCULATED(type, a, b) ({ \
	type x = (type)(a), y = (type)(b); \
	note(x + y); note(x * y); note(x - y); \
	note(y ? (__u64)x / (__u64)y : 7); note(y ? (__u64)x % (__u64)y : 7); \
	note(y ? (__u32)x / (__u32)y : 7); note(y ? (__u32)x % (__u32)y : 7); \
	note(x >> (y & (sizeof(type) * 8 - 1))); \
	note(x < y ? x ^ y : x & y); \
})

/* Maps in maps, and a ring that nobody fills. */
struct inner {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 3);
	__type(key, __u32);
	__type(value, __u64);
} inner_first SEC(".maps"), inner_second SEC(".maps");
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY_OF_MAPS);
	__uint(max_entries, 4);
	__type(key, __u32);
	__array(values, struct inner);
} slots SEC(".maps") = { .values = { [0] = &inner_first, [2] = &inner_second, [3] = &inner_first } };
struct {
	__uint(type, BPF_MAP_TYPE_HASH_OF_MAPS);
	__uint(max_entries, 4);
	__type(key, __u32);
	__array(values, struct inner);
} keyed SEC(".maps") = { .values = { [1] = &inner_second, [5] = &inner_first } };
struct {
	__uint(type, BPF_MAP_TYPE_USER_RINGBUF);
	__uint(max_entries, 4096);
} commands SEC(".maps");
#define INNER(outer, key, at, flags) ({ \
	void *inner = bpf_map_lookup_elem(&outer, key); \
	__u32 second = READ(__u8, at) & 3; \
	note(inner ? bpf_map_update_elem(inner, &second, NUMBER(skb->len), flags) : -1); \
	note(inner ? FOUND(bpf_map_lookup_elem(inner, &second)) : -1); \
})
static long in_command(struct bpf_dynptr *record, void *context)
{
	return 0;
}

/* Fields of the IP header, with its checksum made right. */
static __always_inline void half_changed(struct __sk_buff *skb, __u32 at, __u16 value, __u16 mask)
{
	__u16 old = 0, changed;

	bpf_skb_load_bytes(skb, at, &old, 2);
	changed = bpf_htons((bpf_ntohs(old) & ~mask) | (value & mask));
	note(bpf_skb_store_bytes(skb, at, &changed, 2, 0));
	if (skb->protocol == bpf_htons(ETH_P_IP))
		note(bpf_l3_csum_replace(skb, 10, old, changed, 2));
}
static __always_inline void set_ttl(struct __sk_buff *skb, __u8 value)
{
	if (skb->protocol == bpf_htons(ETH_P_IP))
		half_changed(skb, 8, value << 8, 0xff00);
	else
		half_changed(skb, 6, value, 0xff);
}
static __always_inline void set_tos(struct __sk_buff *skb, __u8 value)
{
	if (skb->protocol == bpf_htons(ETH_P_IP))
		half_changed(skb, 0, value, 0xff);
	else
		half_changed(skb, 0, value << 4, 0xff0);
}

/* Text made of the packet's bytes. */
static const char digits[32] = "00112345678999abcdefABFFx-+ \t.";
static const char format_numbers[] = "%d %u %5d|%-6x|%08llx";
static const char format_signs[] = "% d|%+d|%-3i|%03X|%lu";
static const char format_wide[] = "%lli%% %-9x %c";
static const char format_addresses[] = "%pI4 %pi4 %pI6 %s";
static const char some_text[] = "text";
static __always_inline void parsed(struct __sk_buff *skb, __u8 *bytes, __u32 at, __u32 size, __u64 base)
{
	long found = 7;
	unsigned long natural = 7;

	note(bpf_skb_load_bytes(skb, at, bytes, 16));
	for (int i = 0; i < 16; i++)
		bytes[i] = digits[bytes[i] & 31];
	note(bpf_strtol((void *)bytes, size, base, &found));
	note(found);
	note(bpf_strtoul((void *)bytes, size, base, &natural));
	note(natural);
	note(bpf_strncmp((void *)bytes, 4, some_text));
}
#define PRINTED(size, format, ...) ({ \
	__u64 values[] = { __VA_ARGS__ }; \
	note(bpf_snprintf((void *)bytes, size, format, values, sizeof(values))); \
	note(SUM(bytes)); \
})

/* Where programs of xmit may go on. */
int tail_drop(struct __sk_buff *skb);
int tail_next(struct __sk_buff *skb);
int tail_push(struct __sk_buff *skb);
struct {
	__uint(type, BPF_MAP_TYPE_PROG_ARRAY);
	__uint(max_entries, 6);
	__uint(key_size, 4);
	__array(values, int(void *));
} tails SEC(".maps") = {
	.values = { [1] = (void *)&tail_drop, [2] = (void *)&tail_next, [3] = (void *)&tail_push },
};
SEC("lwt_xmit") int tail_drop(struct __sk_buff *skb)
{
	note(skb->cb[0]);
	return BPF_DROP;
}
SEC("lwt_xmit") int tail_next(struct __sk_buff *skb)
{
	note(skb->cb[1]);
	skb->cb[1]++;
	bpf_tail_call(skb, &tails, skb->cb[1] + 1);
	return skb->mark & 1 ? BPF_DROP : BPF_OK;
}
SEC("lwt_xmit") int tail_push(struct __sk_buff *skb)
{
	note(skb->cb[2]);
	note(link_header(skb));
	return bpf_redirect(skb->len & 1 ? 3 : 2, 0);
}

/* Where programs of in and of out may go on. */
#define TAILS(hook) \
	int hook##_drop(struct __sk_buff *skb); \
	int hook##_next(struct __sk_buff *skb); \
	struct { \
		__uint(type, BPF_MAP_TYPE_PROG_ARRAY); \
		__uint(max_entries, 4); \
		__uint(key_size, 4); \
		__array(values, int(void *)); \
	} tails_##hook SEC(".maps") = { .values = { [1] = (void *)&hook##_drop, [2] = (void *)&hook##_next } }; \
	SEC("lwt_" #hook) int hook##_drop(struct __sk_buff *skb) \
	{ \
		note(skb->cb[0]); \
		return BPF_DROP; \
	} \
	SEC("lwt_" #hook) int hook##_next(struct __sk_buff *skb) \
	{ \
		note(skb->cb[1]); \
		skb->cb[1]++; \
		bpf_tail_call(skb, &tails_##hook, skb->cb[1] + 1 + (skb->len & 1)); \
		return skb->len & 2 ? BPF_DROP : BPF_OK; \
	}
TAILS(in)
TAILS(out)
