/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Reads of kernel objects whose fields lie where the running kernel has them (CO-RE). */
#ifndef __BPF_CORE_READ_H__
#define __BPF_CORE_READ_H__

#include <bpf/bpf_helpers.h>

/* What the compiler is asked to have the loader fill in; the numbers are clang's. */
enum bpf_field_info_kind {
	BPF_FIELD_BYTE_OFFSET = 0,
	BPF_FIELD_BYTE_SIZE = 1,
	BPF_FIELD_EXISTS = 2,
	BPF_FIELD_SIGNED = 3,
	BPF_FIELD_LSHIFT_U64 = 4,
	BPF_FIELD_RSHIFT_U64 = 5,
};
enum bpf_type_id_kind {
	BPF_TYPE_ID_LOCAL = 0,
	BPF_TYPE_ID_TARGET = 1,
};
enum bpf_type_info_kind {
	BPF_TYPE_EXISTS = 0,
	BPF_TYPE_SIZE = 1,
	BPF_TYPE_MATCHES = 2,
};
enum bpf_enum_value_kind {
	BPF_ENUMVAL_EXISTS = 0,
	BPF_ENUMVAL_VALUE = 1,
};

/* A field is given as an expression (p->f) or as a type and a member (struct s, f). */
#define ___bpf_field(...) ___bpf_concat(___bpf_field, ___bpf_narg(__VA_ARGS__))(__VA_ARGS__)
#define ___bpf_field1(field) (field)
#define ___bpf_field2(type, member) (((typeof(type) *)0)->member)
#define ___bpf_field_info(kind, ...) __builtin_preserve_field_info(___bpf_field(__VA_ARGS__), kind)

#define bpf_core_field_exists(...) ___bpf_field_info(BPF_FIELD_EXISTS, __VA_ARGS__)
#define bpf_core_field_size(...) ___bpf_field_info(BPF_FIELD_BYTE_SIZE, __VA_ARGS__)
#define bpf_core_field_offset(...) ___bpf_field_info(BPF_FIELD_BYTE_OFFSET, __VA_ARGS__)

#define bpf_core_type_id_local(type) __builtin_btf_type_id(*(typeof(type) *)0, BPF_TYPE_ID_LOCAL)
#define bpf_core_type_id_kernel(type) __builtin_btf_type_id(*(typeof(type) *)0, BPF_TYPE_ID_TARGET)
#define bpf_core_type_exists(type) __builtin_preserve_type_info(*(typeof(type) *)0, BPF_TYPE_EXISTS)
#define bpf_core_type_size(type) __builtin_preserve_type_info(*(typeof(type) *)0, BPF_TYPE_SIZE)
#define bpf_core_type_matches(type) __builtin_preserve_type_info(*(typeof(type) *)0, BPF_TYPE_MATCHES)

/* An enumerator is cast to a pointer to its enum, and clang takes it only without parentheses. */
#define ___bpf_enum_info(type, value, kind) __builtin_preserve_enum_value(*(typeof(type) *)value, kind)
#define bpf_core_enum_value_exists(type, value) ___bpf_enum_info(type, value, BPF_ENUMVAL_EXISTS)
#define bpf_core_enum_value(type, value) ___bpf_enum_info(type, value, BPF_ENUMVAL_VALUE)

#define ___bpf_kept(source) ((const void *)__builtin_preserve_access_index(source))
#define bpf_core_read(to, size, source) bpf_probe_read_kernel(to, size, ___bpf_kept(source))
#define bpf_core_read_user(to, size, source) bpf_probe_read_user(to, size, ___bpf_kept(source))
#define bpf_core_read_str(to, size, source) bpf_probe_read_kernel_str(to, size, ___bpf_kept(source))
#define bpf_core_read_user_str(to, size, source) bpf_probe_read_user_str(to, size, ___bpf_kept(source))

extern void *bpf_rdonly_cast(const void *obj__ign, __u32 btf_id__k) __ksym __weak;
#define bpf_core_cast(pointer, type) ((typeof(type) *)bpf_rdonly_cast((pointer), bpf_core_type_id_kernel(type)))

/* p, a, b, c stands for p->a->b->c. */
#define ___bpf_arrow(...) ___bpf_concat(___bpf_arrow, ___bpf_narg(__VA_ARGS__))(__VA_ARGS__)
#define ___bpf_arrow2(p, a) (p)->a
#define ___bpf_arrow3(p, a, b) (p)->a->b
#define ___bpf_arrow4(p, a, b, c) (p)->a->b->c
#define ___bpf_arrow5(p, a, b, c, d) (p)->a->b->c->d
#define ___bpf_arrow6(p, a, b, c, d, e) (p)->a->b->c->d->e
#define ___bpf_arrow7(p, a, b, c, d, e, f) (p)->a->b->c->d->e->f
#define ___bpf_arrow8(p, a, b, c, d, e, f, g) (p)->a->b->c->d->e->f->g
#define ___bpf_arrow9(p, a, b, c, d, e, f, g, h) (p)->a->b->c->d->e->f->g->h
#define ___bpf_arrow10(p, a, b, c, d, e, f, g, h, i) (p)->a->b->c->d->e->f->g->h->i

/* Each step reads one pointer with `link` into a variable of its own; the last reads the field with `last`. */
#define ___bpf_walk(link, last, to, size, ...) \
	___bpf_concat(___bpf_walk, ___bpf_narg(__VA_ARGS__))(link, last, to, size, __VA_ARGS__)
#define ___bpf_walk2(link, last, to, size, p, a) last(to, size, &(p)->a)
#define ___bpf_walk3(link, last, to, size, p, a, ...) \
	({ \
		typeof((p)->a) ___bpf_at3; \
		link(&___bpf_at3, sizeof(___bpf_at3), &(p)->a); \
		___bpf_walk2(link, last, to, size, ___bpf_at3, __VA_ARGS__); \
	})
#define ___bpf_walk4(link, last, to, size, p, a, ...) \
	({ \
		typeof((p)->a) ___bpf_at4; \
		link(&___bpf_at4, sizeof(___bpf_at4), &(p)->a); \
		___bpf_walk3(link, last, to, size, ___bpf_at4, __VA_ARGS__); \
	})
#define ___bpf_walk5(link, last, to, size, p, a, ...) \
	({ \
		typeof((p)->a) ___bpf_at5; \
		link(&___bpf_at5, sizeof(___bpf_at5), &(p)->a); \
		___bpf_walk4(link, last, to, size, ___bpf_at5, __VA_ARGS__); \
	})
#define ___bpf_walk6(link, last, to, size, p, a, ...) \
	({ \
		typeof((p)->a) ___bpf_at6; \
		link(&___bpf_at6, sizeof(___bpf_at6), &(p)->a); \
		___bpf_walk5(link, last, to, size, ___bpf_at6, __VA_ARGS__); \
	})
#define ___bpf_walk7(link, last, to, size, p, a, ...) \
	({ \
		typeof((p)->a) ___bpf_at7; \
		link(&___bpf_at7, sizeof(___bpf_at7), &(p)->a); \
		___bpf_walk6(link, last, to, size, ___bpf_at7, __VA_ARGS__); \
	})
#define ___bpf_walk8(link, last, to, size, p, a, ...) \
	({ \
		typeof((p)->a) ___bpf_at8; \
		link(&___bpf_at8, sizeof(___bpf_at8), &(p)->a); \
		___bpf_walk7(link, last, to, size, ___bpf_at8, __VA_ARGS__); \
	})
#define ___bpf_walk9(link, last, to, size, p, a, ...) \
	({ \
		typeof((p)->a) ___bpf_at9; \
		link(&___bpf_at9, sizeof(___bpf_at9), &(p)->a); \
		___bpf_walk8(link, last, to, size, ___bpf_at9, __VA_ARGS__); \
	})
#define ___bpf_walk10(link, last, to, size, p, a, ...) \
	({ \
		typeof((p)->a) ___bpf_at10; \
		link(&___bpf_at10, sizeof(___bpf_at10), &(p)->a); \
		___bpf_walk9(link, last, to, size, ___bpf_at10, __VA_ARGS__); \
	})

#define ___bpf_plain_read(to, size, source) bpf_probe_read_kernel(to, size, source)
#define ___bpf_plain_read_str(to, size, source) bpf_probe_read_kernel_str(to, size, source)
#define ___bpf_plain_read_user(to, size, source) bpf_probe_read_user(to, size, source)
#define ___bpf_plain_read_user_str(to, size, source) bpf_probe_read_user_str(to, size, source)

/* Into a variable: BPF_CORE_READ_INTO(&value, p, a, b). PROBE is the same without relocation, USER for user space. */
#define BPF_CORE_READ_INTO(to, ...) ___bpf_walk(bpf_core_read, bpf_core_read, to, sizeof(*(to)), __VA_ARGS__)
#define BPF_CORE_READ_USER_INTO(to, ...) \
	___bpf_walk(bpf_core_read_user, bpf_core_read_user, to, sizeof(*(to)), __VA_ARGS__)
#define BPF_PROBE_READ_INTO(to, ...) ___bpf_walk(___bpf_plain_read, ___bpf_plain_read, to, sizeof(*(to)), __VA_ARGS__)
#define BPF_PROBE_READ_USER_INTO(to, ...) \
	___bpf_walk(___bpf_plain_read_user, ___bpf_plain_read_user, to, sizeof(*(to)), __VA_ARGS__)
#define BPF_CORE_READ_STR_INTO(to, ...) ___bpf_walk(bpf_core_read, bpf_core_read_str, to, sizeof(*(to)), __VA_ARGS__)
#define BPF_CORE_READ_USER_STR_INTO(to, ...) \
	___bpf_walk(bpf_core_read_user, bpf_core_read_user_str, to, sizeof(*(to)), __VA_ARGS__)
#define BPF_PROBE_READ_STR_INTO(to, ...) \
	___bpf_walk(___bpf_plain_read, ___bpf_plain_read_str, to, sizeof(*(to)), __VA_ARGS__)
#define BPF_PROBE_READ_USER_STR_INTO(to, ...) \
	___bpf_walk(___bpf_plain_read_user, ___bpf_plain_read_user_str, to, sizeof(*(to)), __VA_ARGS__)

/* As a value: BPF_CORE_READ(p, a, b). */
#define ___bpf_read_value(into, ...) \
	({ \
		typeof(___bpf_arrow(__VA_ARGS__)) ___bpf_value; \
		into(&___bpf_value, __VA_ARGS__); \
		___bpf_value; \
	})
#define BPF_CORE_READ(...) ___bpf_read_value(BPF_CORE_READ_INTO, __VA_ARGS__)
#define BPF_CORE_READ_USER(...) ___bpf_read_value(BPF_CORE_READ_USER_INTO, __VA_ARGS__)
#define BPF_PROBE_READ(...) ___bpf_read_value(BPF_PROBE_READ_INTO, __VA_ARGS__)
#define BPF_PROBE_READ_USER(...) ___bpf_read_value(BPF_PROBE_READ_USER_INTO, __VA_ARGS__)

/* A bitfield: its bytes, then shifts up and down that cut it out. PROBED reads by a helper, the other directly. */
#define ___bpf_cut(p, field, value) \
	({ \
		unsigned long long ___bpf_bits = (value) << __builtin_preserve_field_info((p)->field, BPF_FIELD_LSHIFT_U64); \
		unsigned int ___bpf_down = __builtin_preserve_field_info((p)->field, BPF_FIELD_RSHIFT_U64); \
		if (__builtin_preserve_field_info((p)->field, BPF_FIELD_SIGNED)) \
			___bpf_bits = (unsigned long long)((long long)___bpf_bits >> ___bpf_down); \
		else \
			___bpf_bits >>= ___bpf_down; \
		___bpf_bits; \
	})
#define BPF_CORE_READ_BITFIELD_PROBED(p, field) \
	({ \
		unsigned long long ___bpf_bytes = 0; \
		bpf_probe_read_kernel(&___bpf_bytes, __builtin_preserve_field_info((p)->field, BPF_FIELD_BYTE_SIZE), \
				      (const char *)(p) + \
					      __builtin_preserve_field_info((p)->field, BPF_FIELD_BYTE_OFFSET)); \
		___bpf_cut(p, field, ___bpf_bytes); \
	})
#define BPF_CORE_READ_BITFIELD(p, field) \
	({ \
		const char *___bpf_place = \
			(const char *)(p) + __builtin_preserve_field_info((p)->field, BPF_FIELD_BYTE_OFFSET); \
		unsigned long long ___bpf_bytes = 0; \
		asm volatile("" : "+r"(___bpf_place)); \
		switch (__builtin_preserve_field_info((p)->field, BPF_FIELD_BYTE_SIZE)) { \
		case 1: \
			___bpf_bytes = *(const unsigned char *)___bpf_place; \
			break; \
		case 2: \
			___bpf_bytes = *(const unsigned short *)___bpf_place; \
			break; \
		case 4: \
			___bpf_bytes = *(const unsigned int *)___bpf_place; \
			break; \
		case 8: \
			___bpf_bytes = *(const unsigned long long *)___bpf_place; \
			break; \
		} \
		___bpf_cut(p, field, ___bpf_bytes); \
	})

#endif
