"""The kfuncs that LWT programs may call, by the kernel that brought them: one row each, as `kfunc()` takes them.

kernel: kernel/bpf/helpers.c, common_btf_ids and generic_btf_ids; net/core/filter.c, bpf_kfunc_check_set_skb.
"""

from __future__ import annotations

from routebpf.spec.kfunc_row import Kfunc, KfuncFlag, kfunc

ARENA_ARG2 = KfuncFlag.ARENA_ARG2
ARENA_RET = KfuncFlag.ARENA_RET
FASTCALL = KfuncFlag.FASTCALL
ITER_DESTROY = KfuncFlag.ITER_DESTROY
ITER_NEW = KfuncFlag.ITER_NEW
ITER_NEXT = KfuncFlag.ITER_NEXT
RCU = KfuncFlag.RCU
RCU_PROTECTED = KfuncFlag.RCU_PROTECTED
RET_NULL = KfuncFlag.RET_NULL
SLEEPABLE = KfuncFlag.SLEEPABLE
TRUSTED_ARGS = KfuncFlag.TRUSTED_ARGS

# fmt: off
ROWS: tuple[Kfunc, ...] = (
    kfunc((6, 2), "void *bpf_cast_to_kern_ctx(void *obj)",
          "The kernel's own struct sk_buff behind the context.", FASTCALL),
    kfunc((6, 2), "void bpf_rcu_read_lock(void)",
          "Begin a section in which RCU-protected objects stay."),
    kfunc((6, 2), "void bpf_rcu_read_unlock(void)",
          "End such a section."),
    kfunc((6, 2), "void *bpf_rdonly_cast(const void *obj__ign, u32 btf_id__k)",
          "An address as a read-only object of a BTF type.", FASTCALL),
    kfunc((6, 4), "int bpf_dynptr_from_skb(struct __sk_buff *s, u64 flags, struct bpf_dynptr *ptr__uninit)",
          "Make a dynptr of the packet.", TRUSTED_ARGS),
    kfunc((6, 4), "void *bpf_dynptr_slice(const struct bpf_dynptr *p, u32 offset, void *buffer__opt, "
          "u32 buffer__szk)",
          "Address of a slice of a dynptr to read, copied to a buffer if need be.", RET_NULL),
    kfunc((6, 4), "void *bpf_dynptr_slice_rdwr(const struct bpf_dynptr *p, u32 offset, void *buffer__opt, "
          "u32 buffer__szk)",
          "Address of a slice of a dynptr to read and write, copied to a buffer if need be.", RET_NULL),
    kfunc((6, 4), "void bpf_iter_num_destroy(struct bpf_iter_num *it)",
          "End going through them.", ITER_DESTROY),
    kfunc((6, 4), "int bpf_iter_num_new(struct bpf_iter_num *it, int start, int end)",
          "Begin to go through the numbers of a range.", ITER_NEW),
    kfunc((6, 4), "int *bpf_iter_num_next(struct bpf_iter_num *it)",
          "The next of them, or null at the end.", RET_NULL | ITER_NEXT),
    kfunc((6, 5), "int bpf_dynptr_adjust(const struct bpf_dynptr *p, u32 start, u32 end)",
          "Narrow a dynptr to a part of it."),
    kfunc((6, 5), "int bpf_dynptr_clone(const struct bpf_dynptr *p, struct bpf_dynptr *clone__uninit)",
          "Make a second dynptr of what one holds."),
    kfunc((6, 5), "bool bpf_dynptr_is_null(const struct bpf_dynptr *p)",
          "Whether a dynptr holds nothing."),
    kfunc((6, 5), "bool bpf_dynptr_is_rdonly(const struct bpf_dynptr *p)",
          "Whether a dynptr is read-only."),
    kfunc((6, 5), "__u32 bpf_dynptr_size(const struct bpf_dynptr *p)",
          "Bytes that a dynptr holds."),
    kfunc((6, 6), "s64 bpf_map_sum_elem_count(const struct bpf_map *map)",
          "How many elements a map holds, summed over the CPUs.", TRUSTED_ARGS),
    kfunc((6, 7), "void bpf_iter_css_destroy(struct bpf_iter_css *it)",
          "End going through them.", ITER_DESTROY),
    kfunc((6, 7), "int bpf_iter_css_new(struct bpf_iter_css *it, struct cgroup_subsys_state *start, "
          "unsigned int flags)",
          "Begin to go through a cgroup and those under it.", TRUSTED_ARGS | ITER_NEW | RCU_PROTECTED),
    kfunc((6, 7), "struct cgroup_subsys_state *bpf_iter_css_next(struct bpf_iter_css *it)",
          "The next of them, or null at the end.", RET_NULL | ITER_NEXT),
    kfunc((6, 7), "void bpf_iter_css_task_destroy(struct bpf_iter_css_task *it)",
          "End going through them.", ITER_DESTROY),
    kfunc((6, 7), "struct task_struct *bpf_iter_css_task_next(struct bpf_iter_css_task *it)",
          "The next of them, or null at the end.", RET_NULL | ITER_NEXT),
    kfunc((6, 7), "void bpf_iter_task_destroy(struct bpf_iter_task *it)",
          "End going through them.", ITER_DESTROY),
    kfunc((6, 7), "int bpf_iter_task_new(struct bpf_iter_task *it, struct task_struct *task__nullable, "
          "unsigned int flags)",
          "Begin to go through tasks.", TRUSTED_ARGS | ITER_NEW | RCU_PROTECTED),
    kfunc((6, 7), "struct task_struct *bpf_iter_task_next(struct bpf_iter_task *it)",
          "The next of them, or null at the end.", RET_NULL | ITER_NEXT),
    kfunc((6, 7), "void bpf_iter_task_vma_destroy(struct bpf_iter_task_vma *it)",
          "End going through them.", ITER_DESTROY),
    kfunc((6, 7), "int bpf_iter_task_vma_new(struct bpf_iter_task_vma *it, struct task_struct *task, u64 addr)",
          "Begin to go through the memory areas of a task.", RCU | ITER_NEW),
    kfunc((6, 7), "struct vm_area_struct *bpf_iter_task_vma_next(struct bpf_iter_task_vma *it)",
          "The next of them, or null at the end.", RET_NULL | ITER_NEXT),
    kfunc((6, 7), "int bpf_iter_css_task_new(struct bpf_iter_css_task *it, struct cgroup_subsys_state *css, "
          "unsigned int flags)",
          "Begin to go through the tasks of a cgroup.", TRUSTED_ARGS | ITER_NEW, only_in_sleepable=True),
    kfunc((6, 9), "void *bpf_arena_alloc_pages(void *p__map, void *addr__ign, u32 page_cnt, int node_id, u64 flags)",
          "Allocate pages of an arena.", TRUSTED_ARGS | SLEEPABLE | ARENA_RET | ARENA_ARG2),
    kfunc((6, 9), "void bpf_arena_free_pages(void *p__map, void *ptr__ign, u32 page_cnt)",
          "Free pages of an arena.", TRUSTED_ARGS | SLEEPABLE | ARENA_ARG2),
    kfunc((6, 10), "int bpf_modify_return_test_tp(int nonce)",
          "Fire a tracepoint that the kernel's own tests use."),
    kfunc((6, 10), "void bpf_preempt_disable(void)",
          "Begin a section in which the CPU is not given to another task."),
    kfunc((6, 10), "void bpf_preempt_enable(void)",
          "End such a section."),
    kfunc((6, 10), "int bpf_wq_init(struct bpf_wq *wq, void *p__map, unsigned int flags)",
          "Set up the work queue in a map value."),
    kfunc((6, 10), "int bpf_wq_set_callback_impl(struct bpf_wq *wq, int (*callback_fn)(void *, int *, void *), "
          "unsigned int flags, void *aux__prog)",
          "Say which function a work queue calls."),
    kfunc((6, 10), "int bpf_wq_start(struct bpf_wq *wq, unsigned int flags)",
          "Have a work queue call its function soon, where it may sleep."),
    kfunc((6, 11), "void bpf_iter_bits_destroy(struct bpf_iter_bits *it)",
          "End going through them.", ITER_DESTROY),
    kfunc((6, 11), "int bpf_iter_bits_new(struct bpf_iter_bits *it, const u64 *unsafe_ptr__ign, u32 nr_words)",
          "Begin to go through the set bits of memory.", ITER_NEW),
    kfunc((6, 11), "int *bpf_iter_bits_next(struct bpf_iter_bits *it)",
          "The next of them, or null at the end.", RET_NULL | ITER_NEXT),
    kfunc((6, 12), "int bpf_copy_from_user_str(void *dst, u32 dst__sz, const void *unsafe_ptr__ign, u64 flags)",
          "Copy a string of the running process, waiting if it is paged out.", SLEEPABLE),
    kfunc((6, 13), "struct kmem_cache *bpf_get_kmem_cache(u64 addr)",
          "The slab cache that an address belongs to, or null."),
    kfunc((6, 13), "void bpf_iter_kmem_cache_destroy(struct bpf_iter_kmem_cache *it)",
          "End going through them.", SLEEPABLE | ITER_DESTROY),
    kfunc((6, 13), "int bpf_iter_kmem_cache_new(struct bpf_iter_kmem_cache *it)",
          "Begin to go through slab caches.", SLEEPABLE | ITER_NEW),
    kfunc((6, 13), "struct kmem_cache *bpf_iter_kmem_cache_next(struct bpf_iter_kmem_cache *it)",
          "The next of them, or null at the end.", RET_NULL | SLEEPABLE | ITER_NEXT),
    kfunc((6, 14), "void bpf_local_irq_restore(unsigned long *flags__irq_flag)",
          "End such a section."),
    kfunc((6, 14), "void bpf_local_irq_save(unsigned long *flags__irq_flag)",
          "Begin a section without interrupts on this CPU."),
    kfunc((6, 15), "int bpf_res_spin_lock(struct bpf_res_spin_lock *lock)",
          "Take the resilient spin lock in a map value; fails rather than deadlocks.", RET_NULL),
    kfunc((6, 15), "int bpf_res_spin_lock_irqsave(struct bpf_res_spin_lock *lock, unsigned long *flags__irq_flag)",
          "Take a resilient spin lock, without interrupts.", RET_NULL),
    kfunc((6, 15), "void bpf_res_spin_unlock(struct bpf_res_spin_lock *lock)",
          "Give back a resilient spin lock."),
    kfunc((6, 15), "void bpf_res_spin_unlock_irqrestore(struct bpf_res_spin_lock *lock, "
          "unsigned long *flags__irq_flag)",
          "Give back a resilient spin lock, and let interrupts in."),
    kfunc((6, 15), "int bpf_copy_from_user_task_str(void *dst, u32 dst__sz, const void *unsafe_ptr__ign, "
          "struct task_struct *tsk, u64 flags)",
          "Copy a string of a process, waiting if it is paged out.", SLEEPABLE),
    kfunc((6, 16), "int bpf_dynptr_copy(struct bpf_dynptr *dst_ptr, u32 dst_off, struct bpf_dynptr *src_ptr, "
          "u32 src_off, u32 size)",
          "Copy bytes from one dynptr to another."),
    kfunc((6, 16), "int bpf_probe_read_kernel_dynptr(struct bpf_dynptr *dptr, u32 off, u32 size, "
          "const void *unsafe_ptr__ign)",
          "Copy memory of the kernel into a dynptr."),
    kfunc((6, 16), "int bpf_probe_read_kernel_str_dynptr(struct bpf_dynptr *dptr, u32 off, u32 size, "
          "const void *unsafe_ptr__ign)",
          "Copy a string of the kernel into a dynptr."),
    kfunc((6, 16), "int bpf_probe_read_user_dynptr(struct bpf_dynptr *dptr, u32 off, u32 size, "
          "const void *unsafe_ptr__ign)",
          "Copy memory of user space into a dynptr."),
    kfunc((6, 16), "int bpf_probe_read_user_str_dynptr(struct bpf_dynptr *dptr, u32 off, u32 size, "
          "const void *unsafe_ptr__ign)",
          "Copy a string of user space into a dynptr."),
    kfunc((6, 16), "int bpf_copy_from_user_dynptr(struct bpf_dynptr *dptr, u32 off, u32 size, "
          "const void *unsafe_ptr__ign)",
          "Copy memory of the running process into a dynptr, waiting if it is paged out.", SLEEPABLE),
    kfunc((6, 16), "int bpf_copy_from_user_str_dynptr(struct bpf_dynptr *dptr, u32 off, u32 size, "
          "const void *unsafe_ptr__ign)",
          "Copy a string of the running process into a dynptr, waiting if it is paged out.", SLEEPABLE),
    kfunc((6, 16), "int bpf_copy_from_user_task_dynptr(struct bpf_dynptr *dptr, u32 off, u32 size, "
          "const void *unsafe_ptr__ign, struct task_struct *tsk)",
          "Copy memory of a process into a dynptr, waiting if it is paged out.", TRUSTED_ARGS | SLEEPABLE),
    kfunc((6, 16), "int bpf_copy_from_user_task_str_dynptr(struct bpf_dynptr *dptr, u32 off, u32 size, "
          "const void *unsafe_ptr__ign, struct task_struct *tsk)",
          "Copy a string of a process into a dynptr, waiting if it is paged out.", TRUSTED_ARGS | SLEEPABLE),
    kfunc((6, 16), "void bpf_iter_dmabuf_destroy(struct bpf_iter_dmabuf *it)",
          "End going through them.", SLEEPABLE | ITER_DESTROY),
    kfunc((6, 16), "int bpf_iter_dmabuf_new(struct bpf_iter_dmabuf *it)",
          "Begin to go through DMA buffers.", SLEEPABLE | ITER_NEW),
    kfunc((6, 16), "struct dma_buf *bpf_iter_dmabuf_next(struct bpf_iter_dmabuf *it)",
          "The next of them, or null at the end.", RET_NULL | SLEEPABLE | ITER_NEXT),
    kfunc((6, 17), "void __bpf_trap(void)",
          "Where the compiler puts what it believes cannot be reached; never accepted."),
    kfunc((6, 17), "int bpf_cgroup_read_xattr(struct cgroup *cgroup, const char *name__str, "
          "struct bpf_dynptr *value_p)",
          "Read an extended attribute of a cgroup into a dynptr.", RCU),
    kfunc((6, 17), "int bpf_dynptr_memset(struct bpf_dynptr *p, u32 offset, u32 size, u8 val)",
          "Fill a part of a dynptr with one byte."),
    kfunc((6, 17), "int bpf_strchr(const char *s__ign, char c)",
          "Position of the first such character in a string."),
    kfunc((6, 17), "int bpf_strchrnul(const char *s__ign, char c)",
          "The same, or of its end."),
    kfunc((6, 17), "int bpf_strcmp(const char *s1__ign, const char *s2__ign)",
          "Compare two strings."),
    kfunc((6, 17), "int bpf_strcspn(const char *s__ign, const char *reject__ign)",
          "Length of the start of a string that has none of given characters."),
    kfunc((6, 17), "int bpf_strlen(const char *s__ign)",
          "Length of a string."),
    kfunc((6, 17), "int bpf_strnchr(const char *s__ign, size_t count, char c)",
          "Position of the first such character in the first bytes of a string."),
    kfunc((6, 17), "int bpf_strnlen(const char *s__ign, size_t count)",
          "Length of a string, up to a limit."),
    kfunc((6, 17), "int bpf_strnstr(const char *s1__ign, const char *s2__ign, size_t len)",
          "Position of a string in the first bytes of another."),
    kfunc((6, 17), "int bpf_strrchr(const char *s__ign, int c)",
          "Position of the last such character in a string."),
    kfunc((6, 17), "int bpf_strspn(const char *s__ign, const char *accept__ign)",
          "Length of the start of a string made of given characters only."),
    kfunc((6, 17), "int bpf_strstr(const char *s1__ign, const char *s2__ign)",
          "Position of a string in another."),
    kfunc((6, 17), "int bpf_arena_reserve_pages(void *p__map, void *ptr__ign, u32 page_cnt)",
          "Reserve a range of an arena, never to be allocated.", TRUSTED_ARGS | SLEEPABLE | ARENA_ARG2),
    kfunc((6, 18), "int bpf_strcasecmp(const char *s1__ign, const char *s2__ign)",
          "Compare two strings, upper and lower case alike."),
    kfunc((6, 18), "int bpf_stream_vprintk_impl(int stream_id, const char *fmt__str, const void *args, u32 len__sz, "
          "void *aux__prog)",
          "Write a formatted line to the program's output stream.", TRUSTED_ARGS),
    kfunc((6, 18), "int bpf_task_work_schedule_resume_impl(struct task_struct *task, struct bpf_task_work *tw, "
          "void *map__map, bpf_task_work_callback_t callback, void *aux__prog)",
          "Have a task run a function when it goes back to user space.", TRUSTED_ARGS),
    kfunc((6, 18), "int bpf_task_work_schedule_signal_impl(struct task_struct *task, struct bpf_task_work *tw, "
          "void *map__map, bpf_task_work_callback_t callback, void *aux__prog)",
          "Have a task run a function, by signal.", TRUSTED_ARGS),
)
