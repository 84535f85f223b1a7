"""What a few helpers and kfuncs do to the verifier's state beyond their arguments and results, one row each.

A function that has no row here does nothing special. kernel: kernel/bpf/verifier.c, check_helper_call(),
check_kfunc_call() and the is_…_function() and special_kfunc_list that they ask.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum


class Callback(Enum):
    """What a function of the program that is passed is called with (kernel: set_…_callback_state())."""

    LOOP = "an index, the context passed"
    MAP_ELEMENT = "the map, a key, a value, the context passed"
    TIMER = "the map that the timer is in, a key, a value"
    VMA = "the task, a memory area, the context passed"
    USER_RECORD = "a dynptr that cannot be changed, the context passed"
    TASK_WORK = "the map that the task work is in, a key, a value"


class Special(Enum):
    """What is checked or computed for one function, or few, and no other."""

    TAIL_CALL = "nothing may be held; an index into the program array"
    FORMAT = "the format and the values must fit"
    BOUNDED_CALLBACK = "the callback runs as often as the first argument says"
    MAP_VALUE_ONLY = "the first argument must point into a map's value"
    DYNPTR_SLICE = "the result is a slice of the dynptr"
    DYNPTR_WRITE = "slices of the packet are void after it, if the dynptr is of the packet"
    PER_CPU = "the result is of the type of the argument"
    KPTR_XCHG = "the types of the field and the pointer must be equal; the result has that type"
    TAKE_LOCK = "takes the lock"
    GIVE_LOCK = "gives the lock back"
    CONTEXT_CAST = "the result is the kernel's object behind the context"
    READ_ONLY_CAST = "the result has the BTF type that is passed"
    READ_ONLY_SLICE = "the result is a slice of the dynptr, to read"
    WRITABLE_SLICE = "the result is a slice of the dynptr, to write"
    PACKET_DYNPTR = "the dynptr is of the packet"
    CLONE_DYNPTR = "the dynptr is what the other one is"
    TRAP = "must not be reached"
    SLEEPABLE_ITERATOR = "only where it may sleep"
    UNTRUSTED_RESULT = "the result may be stale"


class Bound(Enum):
    """What the result is known to be between."""

    SIZE = "an errno to the size of the memory passed"
    CPU = "0 to the number of CPUs - 1"


@dataclass(frozen=True, slots=True)
class Effects:
    """What a helper or kfunc does.

    `acquires`: its result must be released. `shares_reference`: its result goes when its argument is released.
    `callback`: it calls a function of the program; `is_asynchronous`: later, on its own; `callback_sleeps`.
    `writes_map`: it changes the map that it is given. `may_find`: with a constant key within an array, its result is
    never null. `bound` of the result.
    `rcu`, `preemption`: 1 begins such a section, -1 ends it. `interrupts`: "native" or "lock", who saves or restores
    the flag; `saves_interrupts` which of the two. `under_lock`: may be called while a lock is held.
    """

    special: Special | None = None
    acquires: bool = False
    shares_reference: bool = False
    callback: Callback | None = None
    is_asynchronous: bool = False
    callback_sleeps: bool = False
    writes_map: bool = False
    may_find: bool = False
    bound: Bound | None = None
    rcu: int = 0
    preemption: int = 0
    interrupts: str = ""
    saves_interrupts: bool = False
    under_lock: bool = False


NO_EFFECTS = Effects()

# fmt: off
_HELPERS: Mapping[str, Effects] = {
    "bpf_map_lookup_elem": Effects(may_find=True),
    "bpf_map_update_elem": Effects(writes_map=True),
    "bpf_map_delete_elem": Effects(writes_map=True),
    "bpf_map_push_elem": Effects(writes_map=True),
    "bpf_map_pop_elem": Effects(writes_map=True),
    "bpf_tail_call": Effects(Special.TAIL_CALL),
    "bpf_for_each_map_elem": Effects(callback=Callback.MAP_ELEMENT),
    "bpf_loop": Effects(Special.BOUNDED_CALLBACK, callback=Callback.LOOP),
    "bpf_timer_set_callback": Effects(callback=Callback.TIMER, is_asynchronous=True),
    "bpf_find_vma": Effects(callback=Callback.VMA),
    "bpf_user_ringbuf_drain": Effects(callback=Callback.USER_RECORD),
    "bpf_ringbuf_reserve": Effects(acquires=True),
    "bpf_kptr_xchg": Effects(Special.KPTR_XCHG, acquires=True),
    "bpf_skc_to_tcp_sock": Effects(shares_reference=True),
    "bpf_skc_to_tcp6_sock": Effects(shares_reference=True),
    "bpf_skc_to_udp6_sock": Effects(shares_reference=True),
    "bpf_skc_to_mptcp_sock": Effects(shares_reference=True),
    "bpf_skc_to_tcp_timewait_sock": Effects(shares_reference=True),
    "bpf_skc_to_tcp_request_sock": Effects(shares_reference=True),
    "bpf_snprintf": Effects(Special.FORMAT),
    "bpf_spin_lock": Effects(Special.TAKE_LOCK),
    "bpf_spin_unlock": Effects(Special.GIVE_LOCK, under_lock=True),
    "bpf_dynptr_from_mem": Effects(Special.MAP_VALUE_ONLY),
    "bpf_dynptr_data": Effects(Special.DYNPTR_SLICE),
    "bpf_dynptr_write": Effects(Special.DYNPTR_WRITE),
    "bpf_per_cpu_ptr": Effects(Special.PER_CPU),
    "bpf_this_cpu_ptr": Effects(Special.PER_CPU),
    "bpf_get_task_stack": Effects(bound=Bound.SIZE),
    "bpf_probe_read_kernel_str": Effects(bound=Bound.SIZE),
    "bpf_probe_read_user_str": Effects(bound=Bound.SIZE),
    "bpf_get_smp_processor_id": Effects(bound=Bound.CPU),
}
_KFUNCS: Mapping[str, Effects] = {
    "bpf_rcu_read_lock": Effects(rcu=1),
    "bpf_rcu_read_unlock": Effects(rcu=-1),
    "bpf_preempt_disable": Effects(preemption=1),
    "bpf_preempt_enable": Effects(preemption=-1),
    "bpf_local_irq_save": Effects(interrupts="native", saves_interrupts=True),
    "bpf_local_irq_restore": Effects(interrupts="native"),
    "bpf_res_spin_lock": Effects(Special.TAKE_LOCK, under_lock=True),
    "bpf_res_spin_unlock": Effects(Special.GIVE_LOCK, under_lock=True),
    "bpf_res_spin_lock_irqsave":
        Effects(Special.TAKE_LOCK, under_lock=True, interrupts="lock", saves_interrupts=True),
    "bpf_res_spin_unlock_irqrestore": Effects(Special.GIVE_LOCK, under_lock=True, interrupts="lock"),
    "bpf_iter_num_new": Effects(under_lock=True),
    "bpf_iter_num_next": Effects(under_lock=True),
    "bpf_iter_num_destroy": Effects(under_lock=True),
    "bpf_iter_css_task_new": Effects(Special.SLEEPABLE_ITERATOR),
    "bpf_wq_set_callback_impl":
        Effects(callback=Callback.TIMER, is_asynchronous=True, callback_sleeps=True),
    "bpf_task_work_schedule_signal_impl":
        Effects(callback=Callback.TASK_WORK, is_asynchronous=True, callback_sleeps=True),
    "bpf_task_work_schedule_resume_impl":
        Effects(callback=Callback.TASK_WORK, is_asynchronous=True, callback_sleeps=True),
    "bpf_cast_to_kern_ctx": Effects(Special.CONTEXT_CAST),
    "bpf_rdonly_cast": Effects(Special.READ_ONLY_CAST),
    "bpf_dynptr_slice": Effects(Special.READ_ONLY_SLICE),
    "bpf_dynptr_slice_rdwr": Effects(Special.WRITABLE_SLICE),
    "bpf_dynptr_from_skb": Effects(Special.PACKET_DYNPTR),
    "bpf_dynptr_clone": Effects(Special.CLONE_DYNPTR),
    "bpf_get_kmem_cache": Effects(Special.UNTRUSTED_RESULT),
    "__bpf_trap": Effects(Special.TRAP),
}
# fmt: on


def helper_effects(name: str) -> Effects:
    """The effects of the helper of this name."""
    return _HELPERS.get(name, NO_EFFECTS)


def kfunc_effects(name: str) -> Effects:
    """The effects of the kfunc of this name."""
    return _KFUNCS.get(name, NO_EFFECTS)
