/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Written by `python -m routebpf.spec.header` from the tables in routebpf/spec. */
#ifndef ROUTEBPF_H
#define ROUTEBPF_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <linux/types.h>
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_endian.h>
#include <linux/errno.h>
#include <linux/if_arp.h>
#include <linux/if_ether.h>
#include <linux/if_packet.h>
#include <linux/in.h>
#include <linux/in6.h>
#include <linux/ip.h>
#include <linux/ipv6.h>
#include <linux/icmp.h>
#include <linux/icmpv6.h>
#include <linux/tcp.h>
#include <linux/udp.h>

struct __sk_buff;
struct bpf_dynptr;
struct bpf_iter_bits;
struct bpf_iter_css;
struct bpf_iter_css_task;
struct bpf_iter_dmabuf;
struct bpf_iter_kmem_cache;
struct bpf_iter_num;
struct bpf_iter_task;
struct bpf_iter_task_vma;
struct bpf_map;
struct bpf_res_spin_lock;
struct bpf_task_work;
struct bpf_wq;
struct cgroup;
struct cgroup_subsys_state;
struct dma_buf;
struct kmem_cache;
struct task_struct;
struct vm_area_struct;

typedef int (*bpf_task_work_callback_t)(struct bpf_map *map, void *key, void *value);

/* The kernel's own struct sk_buff behind the context. Linux 6.2. */
extern void *bpf_cast_to_kern_ctx(void *obj) __ksym;

/* Begin a section in which RCU-protected objects stay. Linux 6.2. */
extern void bpf_rcu_read_lock(void) __ksym;

/* End such a section. Linux 6.2. */
extern void bpf_rcu_read_unlock(void) __ksym;

/* An address as a read-only object of a BTF type. Linux 6.2. */
extern void *bpf_rdonly_cast(const void *obj__ign, __u32 btf_id__k) __ksym;

/* Make a dynptr of the packet. Linux 6.4. */
extern int bpf_dynptr_from_skb(struct __sk_buff *s, __u64 flags, struct bpf_dynptr *ptr__uninit) __ksym;

/* Address of a slice of a dynptr to read, copied to a buffer if need be. Linux 6.4. */
extern void *bpf_dynptr_slice(const struct bpf_dynptr *p, __u32 offset, void *buffer__opt, __u32 buffer__szk) __ksym;

/* Address of a slice of a dynptr to read and write, copied to a buffer if need be. Linux 6.4. */
extern void *bpf_dynptr_slice_rdwr(const struct bpf_dynptr *p, __u32 offset, void *buffer__opt, __u32 buffer__szk) __ksym;

/* End going through them. Linux 6.4. */
extern void bpf_iter_num_destroy(struct bpf_iter_num *it) __ksym;

/* Begin to go through the numbers of a range. Linux 6.4. */
extern int bpf_iter_num_new(struct bpf_iter_num *it, int start, int end) __ksym;

/* The next of them, or null at the end. Linux 6.4. */
extern int *bpf_iter_num_next(struct bpf_iter_num *it) __ksym;

/* Narrow a dynptr to a part of it. Linux 6.5. */
extern int bpf_dynptr_adjust(const struct bpf_dynptr *p, __u32 start, __u32 end) __ksym;

/* Make a second dynptr of what one holds. Linux 6.5. */
extern int bpf_dynptr_clone(const struct bpf_dynptr *p, struct bpf_dynptr *clone__uninit) __ksym;

/* Whether a dynptr holds nothing. Linux 6.5. */
extern bool bpf_dynptr_is_null(const struct bpf_dynptr *p) __ksym;

/* Whether a dynptr is read-only. Linux 6.5. */
extern bool bpf_dynptr_is_rdonly(const struct bpf_dynptr *p) __ksym;

/* Bytes that a dynptr holds. Linux 6.5. */
extern __u32 bpf_dynptr_size(const struct bpf_dynptr *p) __ksym;

/* How many elements a map holds, summed over the CPUs. Linux 6.6. */
extern __s64 bpf_map_sum_elem_count(const struct bpf_map *map) __ksym;

/* End going through them. Linux 6.7. */
extern void bpf_iter_css_destroy(struct bpf_iter_css *it) __ksym;

/* Begin to go through a cgroup and those under it. Linux 6.7. */
extern int bpf_iter_css_new(struct bpf_iter_css *it, struct cgroup_subsys_state *start, unsigned int flags) __ksym;

/* The next of them, or null at the end. Linux 6.7. */
extern struct cgroup_subsys_state *bpf_iter_css_next(struct bpf_iter_css *it) __ksym;

/* End going through them. Linux 6.7. */
extern void bpf_iter_css_task_destroy(struct bpf_iter_css_task *it) __ksym;

/* The next of them, or null at the end. Linux 6.7. */
extern struct task_struct *bpf_iter_css_task_next(struct bpf_iter_css_task *it) __ksym;

/* End going through them. Linux 6.7. */
extern void bpf_iter_task_destroy(struct bpf_iter_task *it) __ksym;

/* Begin to go through tasks. Linux 6.7. */
extern int bpf_iter_task_new(struct bpf_iter_task *it, struct task_struct *task__nullable, unsigned int flags) __ksym;

/* The next of them, or null at the end. Linux 6.7. */
extern struct task_struct *bpf_iter_task_next(struct bpf_iter_task *it) __ksym;

/* End going through them. Linux 6.7. */
extern void bpf_iter_task_vma_destroy(struct bpf_iter_task_vma *it) __ksym;

/* Begin to go through the memory areas of a task. Linux 6.7. */
extern int bpf_iter_task_vma_new(struct bpf_iter_task_vma *it, struct task_struct *task, __u64 addr) __ksym;

/* The next of them, or null at the end. Linux 6.7. */
extern struct vm_area_struct *bpf_iter_task_vma_next(struct bpf_iter_task_vma *it) __ksym;

/* Begin to go through the tasks of a cgroup. Only from a callback that may sleep. Linux 6.7. */
extern int bpf_iter_css_task_new(struct bpf_iter_css_task *it, struct cgroup_subsys_state *css, unsigned int flags) __ksym;

/* Allocate pages of an arena. Only from a callback that may sleep. Linux 6.9. */
extern void *bpf_arena_alloc_pages(void *p__map, void *addr__ign, __u32 page_cnt, int node_id, __u64 flags) __ksym;

/* Free pages of an arena. Only from a callback that may sleep. Linux 6.9. */
extern void bpf_arena_free_pages(void *p__map, void *ptr__ign, __u32 page_cnt) __ksym;

/* Fire a tracepoint that the kernel's own tests use. Linux 6.10. */
extern int bpf_modify_return_test_tp(int nonce) __ksym;

/* Begin a section in which the CPU is not given to another task. Linux 6.10. */
extern void bpf_preempt_disable(void) __ksym;

/* End such a section. Linux 6.10. */
extern void bpf_preempt_enable(void) __ksym;

/* Set up the work queue in a map value. Linux 6.10. */
extern int bpf_wq_init(struct bpf_wq *wq, void *p__map, unsigned int flags) __ksym;

/* Say which function a work queue calls. Linux 6.10. */
extern int bpf_wq_set_callback_impl(struct bpf_wq *wq, int (*callback_fn)(void *, int *, void *), unsigned int flags, void *aux__prog) __ksym;

/* Have a work queue call its function soon, where it may sleep. Linux 6.10. */
extern int bpf_wq_start(struct bpf_wq *wq, unsigned int flags) __ksym;

/* End going through them. Linux 6.11. */
extern void bpf_iter_bits_destroy(struct bpf_iter_bits *it) __ksym;

/* Begin to go through the set bits of memory. Linux 6.11. */
extern int bpf_iter_bits_new(struct bpf_iter_bits *it, const __u64 *unsafe_ptr__ign, __u32 nr_words) __ksym;

/* The next of them, or null at the end. Linux 6.11. */
extern int *bpf_iter_bits_next(struct bpf_iter_bits *it) __ksym;

/* Copy a string of the running process, waiting if it is paged out. Only from a callback that may sleep. Linux 6.12. */
extern int bpf_copy_from_user_str(void *dst, __u32 dst__sz, const void *unsafe_ptr__ign, __u64 flags) __ksym;

/* The slab cache that an address belongs to, or null. Linux 6.13. */
extern struct kmem_cache *bpf_get_kmem_cache(__u64 addr) __ksym;

/* End going through them. Only from a callback that may sleep. Linux 6.13. */
extern void bpf_iter_kmem_cache_destroy(struct bpf_iter_kmem_cache *it) __ksym;

/* Begin to go through slab caches. Only from a callback that may sleep. Linux 6.13. */
extern int bpf_iter_kmem_cache_new(struct bpf_iter_kmem_cache *it) __ksym;

/* The next of them, or null at the end. Only from a callback that may sleep. Linux 6.13. */
extern struct kmem_cache *bpf_iter_kmem_cache_next(struct bpf_iter_kmem_cache *it) __ksym;

/* End such a section. Linux 6.14. */
extern void bpf_local_irq_restore(unsigned long *flags__irq_flag) __ksym;

/* Begin a section without interrupts on this CPU. Linux 6.14. */
extern void bpf_local_irq_save(unsigned long *flags__irq_flag) __ksym;

/* Take the resilient spin lock in a map value; fails rather than deadlocks. Linux 6.15. */
extern int bpf_res_spin_lock(struct bpf_res_spin_lock *lock) __ksym;

/* Take a resilient spin lock, without interrupts. Linux 6.15. */
extern int bpf_res_spin_lock_irqsave(struct bpf_res_spin_lock *lock, unsigned long *flags__irq_flag) __ksym;

/* Give back a resilient spin lock. Linux 6.15. */
extern void bpf_res_spin_unlock(struct bpf_res_spin_lock *lock) __ksym;

/* Give back a resilient spin lock, and let interrupts in. Linux 6.15. */
extern void bpf_res_spin_unlock_irqrestore(struct bpf_res_spin_lock *lock, unsigned long *flags__irq_flag) __ksym;

/* Copy a string of a process, waiting if it is paged out. Only from a callback that may sleep. Linux 6.15. */
extern int bpf_copy_from_user_task_str(void *dst, __u32 dst__sz, const void *unsafe_ptr__ign, struct task_struct *tsk, __u64 flags) __ksym;

/* Copy bytes from one dynptr to another. Linux 6.16. */
extern int bpf_dynptr_copy(struct bpf_dynptr *dst_ptr, __u32 dst_off, struct bpf_dynptr *src_ptr, __u32 src_off, __u32 size) __ksym;

/* Copy memory of the kernel into a dynptr. Linux 6.16. */
extern int bpf_probe_read_kernel_dynptr(struct bpf_dynptr *dptr, __u32 off, __u32 size, const void *unsafe_ptr__ign) __ksym;

/* Copy a string of the kernel into a dynptr. Linux 6.16. */
extern int bpf_probe_read_kernel_str_dynptr(struct bpf_dynptr *dptr, __u32 off, __u32 size, const void *unsafe_ptr__ign) __ksym;

/* Copy memory of user space into a dynptr. Linux 6.16. */
extern int bpf_probe_read_user_dynptr(struct bpf_dynptr *dptr, __u32 off, __u32 size, const void *unsafe_ptr__ign) __ksym;

/* Copy a string of user space into a dynptr. Linux 6.16. */
extern int bpf_probe_read_user_str_dynptr(struct bpf_dynptr *dptr, __u32 off, __u32 size, const void *unsafe_ptr__ign) __ksym;

/* Copy memory of the running process into a dynptr, waiting if it is paged out. Only from a callback that may sleep. Linux 6.16. */
extern int bpf_copy_from_user_dynptr(struct bpf_dynptr *dptr, __u32 off, __u32 size, const void *unsafe_ptr__ign) __ksym;

/* Copy a string of the running process into a dynptr, waiting if it is paged out. Only from a callback that may sleep. Linux 6.16. */
extern int bpf_copy_from_user_str_dynptr(struct bpf_dynptr *dptr, __u32 off, __u32 size, const void *unsafe_ptr__ign) __ksym;

/* Copy memory of a process into a dynptr, waiting if it is paged out. Only from a callback that may sleep. Linux 6.16. */
extern int bpf_copy_from_user_task_dynptr(struct bpf_dynptr *dptr, __u32 off, __u32 size, const void *unsafe_ptr__ign, struct task_struct *tsk) __ksym;

/* Copy a string of a process into a dynptr, waiting if it is paged out. Only from a callback that may sleep. Linux 6.16. */
extern int bpf_copy_from_user_task_str_dynptr(struct bpf_dynptr *dptr, __u32 off, __u32 size, const void *unsafe_ptr__ign, struct task_struct *tsk) __ksym;

/* End going through them. Only from a callback that may sleep. Linux 6.16. */
extern void bpf_iter_dmabuf_destroy(struct bpf_iter_dmabuf *it) __ksym;

/* Begin to go through DMA buffers. Only from a callback that may sleep. Linux 6.16. */
extern int bpf_iter_dmabuf_new(struct bpf_iter_dmabuf *it) __ksym;

/* The next of them, or null at the end. Only from a callback that may sleep. Linux 6.16. */
extern struct dma_buf *bpf_iter_dmabuf_next(struct bpf_iter_dmabuf *it) __ksym;

/* Where the compiler puts what it believes cannot be reached; never accepted. Linux 6.17. */
extern void __bpf_trap(void) __ksym;

/* Read an extended attribute of a cgroup into a dynptr. Linux 6.17. */
extern int bpf_cgroup_read_xattr(struct cgroup *cgroup, const char *name__str, struct bpf_dynptr *value_p) __ksym;

/* Fill a part of a dynptr with one byte. Linux 6.17. */
extern int bpf_dynptr_memset(struct bpf_dynptr *p, __u32 offset, __u32 size, __u8 val) __ksym;

/* Position of the first such character in a string. Linux 6.17. */
extern int bpf_strchr(const char *s__ign, char c) __ksym;

/* The same, or of its end. Linux 6.17. */
extern int bpf_strchrnul(const char *s__ign, char c) __ksym;

/* Compare two strings. Linux 6.17. */
extern int bpf_strcmp(const char *s1__ign, const char *s2__ign) __ksym;

/* Length of the start of a string that has none of given characters. Linux 6.17. */
extern int bpf_strcspn(const char *s__ign, const char *reject__ign) __ksym;

/* Length of a string. Linux 6.17. */
extern int bpf_strlen(const char *s__ign) __ksym;

/* Position of the first such character in the first bytes of a string. Linux 6.17. */
extern int bpf_strnchr(const char *s__ign, size_t count, char c) __ksym;

/* Length of a string, up to a limit. Linux 6.17. */
extern int bpf_strnlen(const char *s__ign, size_t count) __ksym;

/* Position of a string in the first bytes of another. Linux 6.17. */
extern int bpf_strnstr(const char *s1__ign, const char *s2__ign, size_t len) __ksym;

/* Position of the last such character in a string. Linux 6.17. */
extern int bpf_strrchr(const char *s__ign, int c) __ksym;

/* Length of the start of a string made of given characters only. Linux 6.17. */
extern int bpf_strspn(const char *s__ign, const char *accept__ign) __ksym;

/* Position of a string in another. Linux 6.17. */
extern int bpf_strstr(const char *s1__ign, const char *s2__ign) __ksym;

/* Reserve a range of an arena, never to be allocated. Only from a callback that may sleep. Linux 6.17. */
extern int bpf_arena_reserve_pages(void *p__map, void *ptr__ign, __u32 page_cnt) __ksym;

/* Compare two strings, upper and lower case alike. Linux 6.18. */
extern int bpf_strcasecmp(const char *s1__ign, const char *s2__ign) __ksym;

/* Write a formatted line to the program's output stream. Linux 6.18. */
extern int bpf_stream_vprintk_impl(int stream_id, const char *fmt__str, const void *args, __u32 len__sz, void *aux__prog) __ksym;

/* Have a task run a function when it goes back to user space. Linux 6.18. */
extern int bpf_task_work_schedule_resume_impl(struct task_struct *task, struct bpf_task_work *tw, void *map__map, bpf_task_work_callback_t callback, void *aux__prog) __ksym;

/* Have a task run a function, by signal. Linux 6.18. */
extern int bpf_task_work_schedule_signal_impl(struct task_struct *task, struct bpf_task_work *tw, void *map__map, bpf_task_work_callback_t callback, void *aux__prog) __ksym;

#endif
