/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* What BPF programs are written with, under the names that libbpf gave: sections, maps, helpers, printing, loops. */
#ifndef __BPF_HELPERS__
#define __BPF_HELPERS__

#include <bpf/bpf_helper_defs.h>

/* Sections: a program's name says its type, as in SEC("lwt_xmit"). */
#define SEC(name) __attribute__((section(name), used))

/* Maps: struct { __uint(type, BPF_MAP_TYPE_HASH); __type(key, __u32); ... } name SEC(".maps"); */
#define __uint(name, number) int (*name)[number]
#define __type(name, c_type) typeof(c_type) *name
#define __array(name, c_type) typeof(c_type) *name[]
#define __ulong(name, number) enum { ___bpf_concat(___number_, __COUNTER__) = (number) } name

enum libbpf_pin_type {
	LIBBPF_PIN_NONE,
	LIBBPF_PIN_BY_NAME,
};

/* What the kernel fills in: its functions and variables, and its configuration. */
#define __ksym __attribute__((section(".ksyms")))
#define __kconfig __attribute__((section(".kconfig")))
#define bpf_ksym_exists(symbol) (!!(symbol))

enum libbpf_tristate {
	TRI_NO = 0,
	TRI_YES = 1,
	TRI_MODULE = 2,
};

/* Kernel pointers in map values. */
#define __kptr __attribute__((btf_type_tag("kptr")))
#define __kptr_untrusted __attribute__((btf_type_tag("kptr_untrusted")))
#define __percpu_kptr __attribute__((btf_type_tag("percpu_kptr")))
#define __uptr __attribute__((btf_type_tag("uptr")))

/* Arguments of global functions. */
#define __arg_ctx __attribute__((btf_decl_tag("arg:ctx")))
#define __arg_nonnull __attribute__((btf_decl_tag("arg:nonnull")))
#define __arg_nullable __attribute__((btf_decl_tag("arg:nullable")))
#define __arg_trusted __attribute__((btf_decl_tag("arg:trusted")))
#define __arg_untrusted __attribute__((btf_decl_tag("arg:untrusted")))
#define __arg_arena __attribute__((btf_decl_tag("arg:arena")))

#undef __always_inline
#define __always_inline inline __attribute__((always_inline))
#ifndef __noinline
#define __noinline __attribute__((noinline))
#endif
#ifndef __weak
#define __weak __attribute__((weak))
#endif
#define __hidden __attribute__((visibility("hidden")))

#ifndef NULL
#define NULL ((void *)0)
#endif
#ifndef likely
#define likely(x) __builtin_expect(!!(x), 1)
#endif
#ifndef unlikely
#define unlikely(x) __builtin_expect(!!(x), 0)
#endif
#ifndef offsetof
#define offsetof(type, member) __builtin_offsetof(type, member)
#endif
#ifndef container_of
#define container_of(pointer, type, member) ((type *)((char *)(pointer) - offsetof(type, member)))
#endif
#ifndef barrier
#define barrier() asm volatile("" ::: "memory")
#endif
#ifndef barrier_var
#define barrier_var(variable) asm volatile("" : "+r"(variable))
#endif
#define __bpf_unreachable() __builtin_trap()

#define KERNEL_VERSION(major, minor, patch) (((major) << 16) + ((minor) << 8) + ((patch) > 255 ? 255 : (patch)))

/* How many arguments, up to 12, and names made of two parts. */
#define ___bpf_concat(a, b) ___bpf_concat_(a, b)
#define ___bpf_concat_(a, b) a##b
#define ___bpf_nth(_, _1, _2, _3, _4, _5, _6, _7, _8, _9, _10, _11, _12, n, ...) n
#define ___bpf_narg(...) ___bpf_nth(_, ##__VA_ARGS__, 12, 11, 10, 9, 8, 7, 6, 5, 4, 3, 2, 1, 0)

/* The arguments as an array of 64-bit values; a pointer stays its address. */
#define ___bpf_fill(...) ___bpf_concat(___bpf_fill, ___bpf_narg(__VA_ARGS__))(__VA_ARGS__)
#define ___bpf_fill0()
#define ___bpf_fill1(a) (unsigned long long)(a)
#define ___bpf_fill2(a, ...) (unsigned long long)(a), ___bpf_fill1(__VA_ARGS__)
#define ___bpf_fill3(a, ...) (unsigned long long)(a), ___bpf_fill2(__VA_ARGS__)
#define ___bpf_fill4(a, ...) (unsigned long long)(a), ___bpf_fill3(__VA_ARGS__)
#define ___bpf_fill5(a, ...) (unsigned long long)(a), ___bpf_fill4(__VA_ARGS__)
#define ___bpf_fill6(a, ...) (unsigned long long)(a), ___bpf_fill5(__VA_ARGS__)
#define ___bpf_fill7(a, ...) (unsigned long long)(a), ___bpf_fill6(__VA_ARGS__)
#define ___bpf_fill8(a, ...) (unsigned long long)(a), ___bpf_fill7(__VA_ARGS__)
#define ___bpf_fill9(a, ...) (unsigned long long)(a), ___bpf_fill8(__VA_ARGS__)
#define ___bpf_fill10(a, ...) (unsigned long long)(a), ___bpf_fill9(__VA_ARGS__)
#define ___bpf_fill11(a, ...) (unsigned long long)(a), ___bpf_fill10(__VA_ARGS__)
#define ___bpf_fill12(a, ...) (unsigned long long)(a), ___bpf_fill11(__VA_ARGS__)

/* A line to the trace pipe: up to three values by bpf_trace_printk, more by bpf_trace_vprintk. */
#ifdef BPF_NO_GLOBAL_DATA
#define BPF_PRINTK_FMT_MOD
#else
#define BPF_PRINTK_FMT_MOD static const
#endif
#define __bpf_printk(fmt, ...) \
	({ \
		BPF_PRINTK_FMT_MOD char ___fmt[] = fmt; \
		bpf_trace_printk(___fmt, sizeof(___fmt), ##__VA_ARGS__); \
	})
#define __bpf_vprintk(fmt, ...) \
	({ \
		static const char ___fmt[] = fmt; \
		unsigned long long ___values[] = { ___bpf_fill(__VA_ARGS__) }; \
		bpf_trace_vprintk(___fmt, sizeof(___fmt), ___values, sizeof(___values)); \
	})
#define ___bpf_pick_printk(...) \
	___bpf_nth(_, ##__VA_ARGS__, __bpf_vprintk, __bpf_vprintk, __bpf_vprintk, __bpf_vprintk, __bpf_vprintk, \
		   __bpf_vprintk, __bpf_vprintk, __bpf_vprintk, __bpf_vprintk, __bpf_printk, __bpf_printk, \
		   __bpf_printk, __bpf_printk)
#define bpf_printk(fmt, ...) ___bpf_pick_printk(__VA_ARGS__)(fmt, ##__VA_ARGS__)

#define BPF_SNPRINTF(out, out_size, fmt, ...) \
	({ \
		static const char ___fmt[] = fmt; \
		unsigned long long ___values[] = { ___bpf_fill(__VA_ARGS__) }; \
		bpf_snprintf(out, out_size, ___fmt, ___values, sizeof(___values)); \
	})

/* A line to the program's own output stream; Linux 6.18. */
extern int bpf_stream_vprintk_impl(int stream_id, const char *fmt__str, const void *args, __u32 len__sz,
				   void *aux__prog) __ksym;
#define bpf_stream_printk(stream_id, fmt, ...) \
	({ \
		static const char ___fmt[] = fmt; \
		unsigned long long ___values[] = { ___bpf_fill(__VA_ARGS__) }; \
		bpf_stream_vprintk_impl(stream_id, ___fmt, ___values, sizeof(___values), (void *)0); \
	})

/* A tail call to a slot that is a constant, which the kernel turns into a jump. */
#define bpf_tail_call_static(ctx, map, slot) \
	({ \
		_Static_assert(__builtin_constant_p(slot), "bpf_tail_call_static takes a constant slot"); \
		asm volatile("r1 = %[r1]\n\tr2 = %[r2]\n\tr3 = %[r3]\n\tcall 12" \
			     : \
			     : [r1] "r"(ctx), [r2] "r"(map), [r3] "i"(slot) \
			     : "r0", "r1", "r2", "r3", "r4", "r5", "memory"); \
	})

/* Loops by the kernel's iterators; Linux 6.4. Clang describes a function in BTF if it is named, not if cleanup calls it. */
struct bpf_iter_num;
extern int bpf_iter_num_new(struct bpf_iter_num *it, int start, int end) __ksym;
extern int *bpf_iter_num_next(struct bpf_iter_num *it) __ksym;
extern void bpf_iter_num_destroy(struct bpf_iter_num *it) __ksym;

#define bpf_for_each(kind, current, ...) \
	for (struct bpf_iter_##kind ___iterator __attribute__((aligned(8), cleanup(bpf_iter_##kind##_destroy))), \
	     *___once __attribute__((unused)) = (bpf_iter_##kind##_new(&___iterator, ##__VA_ARGS__), \
						       (void)bpf_iter_##kind##_destroy, (void *)0); \
	     ((current) = bpf_iter_##kind##_next(&___iterator));)

/* `i` takes each number from `start` up to, but without, `end`. */
#define bpf_for(i, start, end) \
	for (struct bpf_iter_num ___iterator __attribute__((aligned(8), cleanup(bpf_iter_num_destroy))), \
	     *___once __attribute__((unused)) = (bpf_iter_num_new(&___iterator, (start), (end)), \
						       (void)bpf_iter_num_destroy, (void *)0); \
	     ({ \
		     int *___number = bpf_iter_num_next(&___iterator); \
		     int ___upper = (end); \
		     (i) = ___number ? *___number : ___upper; \
		     ___number && (i) >= (start) && (i) < ___upper; \
	     });)

#define bpf_repeat(count) \
	for (struct bpf_iter_num ___iterator __attribute__((aligned(8), cleanup(bpf_iter_num_destroy))), \
	     *___once __attribute__((unused)) = (bpf_iter_num_new(&___iterator, 0, (count)), \
						       (void)bpf_iter_num_destroy, (void *)0); \
	     bpf_iter_num_next(&___iterator);)

/* The kernel passes itself what the last argument is. */
#define bpf_wq_set_callback(wq, callback, flags) bpf_wq_set_callback_impl(wq, callback, flags, (void *)0)

#endif
