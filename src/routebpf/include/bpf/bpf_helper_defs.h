/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Written by `python -m routebpf.spec.header` from the tables in routebpf/spec. */
#ifndef __BPF_HELPER_DEFS_H
#define __BPF_HELPER_DEFS_H

struct __sk_buff;
struct bpf_dynptr;
struct bpf_perf_event_value;
struct bpf_pidns_info;
struct bpf_spin_lock;
struct bpf_timer;
struct bpf_tunnel_key;
struct btf_ptr;
struct cgroup;
struct mptcp_sock;
struct task_struct;
struct tcp6_sock;
struct tcp_request_sock;
struct tcp_sock;
struct tcp_timewait_sock;
struct udp6_sock;
struct unix_sock;

/* Find the value of a key in a map; null if there is none. */
static void *(*const bpf_map_lookup_elem)(void *map, const void *key) = (void *) 1;

/* Add or replace the value of a key in a map. */
static long (*const bpf_map_update_elem)(void *map, const void *key, const void *value, __u64 flags) = (void *) 2;

/* Take a key out of a map. */
static long (*const bpf_map_delete_elem)(void *map, const void *key) = (void *) 3;

/* Nanoseconds since boot, without time suspended (CLOCK_MONOTONIC). */
static __u64 (*const bpf_ktime_get_ns)(void) = (void *) 5;

/* Write a formatted line to the trace pipe; up to three values. GPL. CAP_PERFMON. */
static long (*const bpf_trace_printk)(const char *fmt, __u32 fmt_size, ...) = (void *) 6;

/* A pseudo-random number. */
static __u32 (*const bpf_get_prandom_u32)(void) = (void *) 7;

/* The number of the CPU that runs the program. */
static __u32 (*const bpf_get_smp_processor_id)(void) = (void *) 8;

/* Write bytes into the packet at an offset, and optionally keep its checksum or drop its hash. LWT_XMIT only. */
static long (*const bpf_skb_store_bytes)(struct __sk_buff *skb, __u32 offset, const void *from, __u32 len, __u64 flags) = (void *) 9;

/* Mend the IP header checksum after a field of it changed. LWT_XMIT only. */
static long (*const bpf_l3_csum_replace)(struct __sk_buff *skb, __u32 offset, __u64 from, __u64 to, __u64 size) = (void *) 10;

/* Mend a TCP, UDP or ICMP checksum after a field under it changed. LWT_XMIT only. */
static long (*const bpf_l4_csum_replace)(struct __sk_buff *skb, __u32 offset, __u64 from, __u64 to, __u64 flags) = (void *) 11;

/* Go on in another program of a program array; comes back only if it cannot. */
static long (*const bpf_tail_call)(void *ctx, void *prog_array_map, __u32 index) = (void *) 12;

/* Send a copy of the packet to a device, and go on with the packet itself. LWT_XMIT only. */
static long (*const bpf_clone_redirect)(struct __sk_buff *skb, __u32 ifindex, __u64 flags) = (void *) 13;

/* Thread and process id of the task that happens to run. */
static __u64 (*const bpf_get_current_pid_tgid)(void) = (void *) 14;

/* User and group id of the task that happens to run. */
static __u64 (*const bpf_get_current_uid_gid)(void) = (void *) 15;

/* Name of the task that happens to run. CAP_PERFMON. */
static long (*const bpf_get_current_comm)(void *buf, __u32 size_of_buf) = (void *) 16;

/* The net_cls class of the sending task's cgroup. */
static __u32 (*const bpf_get_cgroup_classid)(struct __sk_buff *skb) = (void *) 17;

/* Read the tunnel metadata that came with the packet. LWT_XMIT only. */
static long (*const bpf_skb_get_tunnel_key)(struct __sk_buff *skb, struct bpf_tunnel_key *key, __u32 size, __u64 flags) = (void *) 20;

/* Attach tunnel metadata for a collect_md tunnel device to use. LWT_XMIT only. */
static long (*const bpf_skb_set_tunnel_key)(struct __sk_buff *skb, struct bpf_tunnel_key *key, __u32 size, __u64 flags) = (void *) 21;

/* Read a hardware counter of a perf event array. GPL. CAP_PERFMON. */
static __u64 (*const bpf_perf_event_read)(void *map, __u64 flags) = (void *) 22;

/* Name the device that the packet goes to if the program returns BPF_REDIRECT. LWT_XMIT only. */
static long (*const bpf_redirect)(__u32 ifindex, __u64 flags) = (void *) 23;

/* The realm of the packet's route (tclassid). */
static __u32 (*const bpf_get_route_realm)(struct __sk_buff *skb) = (void *) 24;

/* Write data, and optionally part of the packet, to a perf ring buffer. GPL. */
static long (*const bpf_perf_event_output)(void *ctx, void *map, __u64 flags, void *data, __u64 size) = (void *) 25;

/* Copy bytes of the packet, linear or not, into memory. */
static long (*const bpf_skb_load_bytes)(const void *skb, __u32 offset, void *to, __u32 len) = (void *) 26;

/* The checksum difference between two buffers, to feed the checksum helpers. */
static __s64 (*const bpf_csum_diff)(__be32 *from, __u32 from_size, __be32 *to, __u32 to_size, __wsum seed) = (void *) 28;

/* Read the tunnel options that came with the packet. LWT_XMIT only. */
static long (*const bpf_skb_get_tunnel_opt)(struct __sk_buff *skb, void *opt, __u32 size) = (void *) 29;

/* Attach tunnel options for a collect_md tunnel device to use. LWT_XMIT only. */
static long (*const bpf_skb_set_tunnel_opt)(struct __sk_buff *skb, void *opt, __u32 size) = (void *) 30;

/* Whether the packet's socket is in a cgroup of the map. */
static long (*const bpf_skb_under_cgroup)(struct __sk_buff *skb, void *map, __u32 index) = (void *) 33;

/* The flow hash of the packet, computed if it has none. */
static __u32 (*const bpf_get_hash_recalc)(struct __sk_buff *skb) = (void *) 34;

/* Address of the task that happens to run. GPL. CAP_PERFMON. */
static __u64 (*const bpf_get_current_task)(void) = (void *) 35;

/* Whether the task that happens to run is in a cgroup of the map. */
static long (*const bpf_current_task_under_cgroup)(void *map, __u32 index) = (void *) 37;

/* Make the packet longer or shorter at its end. LWT_XMIT only. */
static long (*const bpf_skb_change_tail)(struct __sk_buff *skb, __u32 len, __u64 flags) = (void *) 38;

/* Make the first bytes of the packet readable and writable through data. */
static long (*const bpf_skb_pull_data)(struct __sk_buff *skb, __u32 len) = (void *) 39;

/* Add to the packet's complete checksum (CHECKSUM_COMPLETE). LWT_XMIT only. */
static __s64 (*const bpf_csum_update)(struct __sk_buff *skb, __wsum csum) = (void *) 40;

/* Forget the flow hash, so that it is computed anew when next asked for. LWT_XMIT only. */
static void (*const bpf_set_hash_invalid)(struct __sk_buff *skb) = (void *) 41;

/* The NUMA node of the CPU that runs the program. */
static long (*const bpf_get_numa_node_id)(void) = (void *) 42;

/* Make room for a link header before the IP header, zeroed. LWT_XMIT only. */
static long (*const bpf_skb_change_head)(struct __sk_buff *skb, __u32 len, __u64 flags) = (void *) 43;

/* Read a hardware counter with the times it was enabled and running. GPL. CAP_PERFMON. */
static long (*const bpf_perf_event_read_value)(void *map, __u64 flags, struct bpf_perf_event_value *buf, __u32 buf_size) = (void *) 55;

/* Put an IP header (with what follows it) before the packet. LWT_IN, LWT_XMIT only. */
static long (*const bpf_lwt_push_encap)(struct __sk_buff *skb, __u32 type, void *hdr, __u32 len) = (void *) 73;

/* Cgroup id of the task that happens to run. */
static __u64 (*const bpf_get_current_cgroup_id)(void) = (void *) 80;

/* Add a value to a queue, stack or bloom filter. */
static long (*const bpf_map_push_elem)(void *map, const void *value, __u64 flags) = (void *) 87;

/* Take a value out of a queue or stack. */
static long (*const bpf_map_pop_elem)(void *map, void *value) = (void *) 88;

/* Look at the next value of a queue or stack, or ask a bloom filter for one. */
static long (*const bpf_map_peek_elem)(void *map, void *value) = (void *) 89;

/* Take the spin lock in a map value. */
static long (*const bpf_spin_lock)(struct bpf_spin_lock *lock) = (void *) 93;

/* Give back the spin lock in a map value. */
static long (*const bpf_spin_unlock)(struct bpf_spin_lock *lock) = (void *) 94;

/* Parse a signed number from text. */
static long (*const bpf_strtol)(const char *buf, unsigned long buf_len, __u64 flags, long *res) = (void *) 105;

/* Parse an unsigned number from text. */
static long (*const bpf_strtoul)(const char *buf, unsigned long buf_len, __u64 flags, unsigned long *res) = (void *) 106;

/* Send a signal to the process that happens to run. CAP_PERFMON. */
static long (*const bpf_send_signal)(__u32 sig) = (void *) 109;

/* Copy memory of user space, wherever it is; zeroes on a fault. GPL. CAP_PERFMON. */
static long (*const bpf_probe_read_user)(void *dst, __u32 size, const void *unsafe_ptr) = (void *) 112;

/* Copy memory of the kernel, wherever it is; zeroes on a fault. GPL. CAP_PERFMON. */
static long (*const bpf_probe_read_kernel)(void *dst, __u32 size, const void *unsafe_ptr) = (void *) 113;

/* Copy a string of user space. GPL. CAP_PERFMON. */
static long (*const bpf_probe_read_user_str)(void *dst, __u32 size, const void *unsafe_ptr) = (void *) 114;

/* Copy a string of the kernel. GPL. CAP_PERFMON. */
static long (*const bpf_probe_read_kernel_str)(void *dst, __u32 size, const void *unsafe_ptr) = (void *) 115;

/* Send a signal to the thread that happens to run. CAP_PERFMON. */
static long (*const bpf_send_signal_thread)(__u32 sig) = (void *) 117;

/* The kernel's tick counter. */
static __u64 (*const bpf_jiffies64)(void) = (void *) 118;

/* Thread and process id of the task that happens to run, as a pid namespace numbers them. */
static long (*const bpf_get_ns_current_pid_tgid)(__u64 dev, __u64 ino, struct bpf_pidns_info *nsdata, __u32 size) = (void *) 120;

/* Cgroup id of an ancestor, at a depth, of the running task's cgroup. */
static __u64 (*const bpf_get_current_ancestor_cgroup_id)(int ancestor_level) = (void *) 123;

/* Nanoseconds since boot, with time suspended (CLOCK_BOOTTIME). */
static __u64 (*const bpf_ktime_get_boot_ns)(void) = (void *) 125;

/* Copy data into a ring buffer. */
static long (*const bpf_ringbuf_output)(void *ringbuf, void *data, __u64 size, __u64 flags) = (void *) 130;

/* Reserve a record of a ring buffer; null if it is full. */
static void *(*const bpf_ringbuf_reserve)(void *ringbuf, __u64 size, __u64 flags) = (void *) 131;

/* Hand a reserved record to the reader. */
static void (*const bpf_ringbuf_submit)(void *data, __u64 flags) = (void *) 132;

/* Throw a reserved record away. */
static void (*const bpf_ringbuf_discard)(void *data, __u64 flags) = (void *) 133;

/* Bytes unread, size, or a position of a ring buffer. */
static __u64 (*const bpf_ringbuf_query)(void *ringbuf, __u64 flags) = (void *) 134;

/* Ask or change how many checksums the device has verified. LWT_XMIT only. */
static long (*const bpf_csum_level)(struct __sk_buff *skb, __u64 level) = (void *) 135;

/* A socket as a TCP socket over IPv6, or null. CAP_PERFMON. */
static struct tcp6_sock *(*const bpf_skc_to_tcp6_sock)(void *sk) = (void *) 136;

/* A socket as a TCP socket, or null. CAP_PERFMON. */
static struct tcp_sock *(*const bpf_skc_to_tcp_sock)(void *sk) = (void *) 137;

/* A socket as a TCP timewait socket, or null. CAP_PERFMON. */
static struct tcp_timewait_sock *(*const bpf_skc_to_tcp_timewait_sock)(void *sk) = (void *) 138;

/* A socket as a TCP request socket, or null. CAP_PERFMON. */
static struct tcp_request_sock *(*const bpf_skc_to_tcp_request_sock)(void *sk) = (void *) 139;

/* A socket as a UDP socket over IPv6, or null. CAP_PERFMON. */
static struct udp6_sock *(*const bpf_skc_to_udp6_sock)(void *sk) = (void *) 140;

/* The stack of a task. CAP_PERFMON. */
static long (*const bpf_get_task_stack)(struct task_struct *task, void *buf, __u32 size, __u64 flags) = (void *) 141;

/* Copy memory of the running process, waiting for it if it is paged out. */
static long (*const bpf_copy_from_user)(void *dst, __u32 size, const void *user_ptr) = (void *) 148;

/* Text of a kernel object, by its BTF type. CAP_PERFMON. */
static long (*const bpf_snprintf_btf)(char *str, __u32 str_size, struct btf_ptr *ptr, __u32 btf_ptr_size, __u64 flags) = (void *) 149;

/* Address of a per-CPU kernel variable on a CPU, or null. */
static void *(*const bpf_per_cpu_ptr)(const void *percpu_ptr, __u32 cpu) = (void *) 153;

/* Address of a per-CPU kernel variable on this CPU. */
static void *(*const bpf_this_cpu_ptr)(const void *percpu_ptr) = (void *) 154;

/* The value that a map keeps for a task, made if asked. */
static void *(*const bpf_task_storage_get)(void *map, struct task_struct *task, void *value, __u64 flags) = (void *) 156;

/* Take away the value that a map keeps for a task. */
static long (*const bpf_task_storage_delete)(void *map, struct task_struct *task) = (void *) 157;

/* The task that happens to run, typed. GPL. CAP_PERFMON. */
static struct task_struct *(*const bpf_get_current_task_btf)(void) = (void *) 158;

/* Nanoseconds since boot as of the last tick (CLOCK_MONOTONIC_COARSE). */
static __u64 (*const bpf_ktime_get_coarse_ns)(void) = (void *) 160;

/* Call a function for every element of a map. */
static long (*const bpf_for_each_map_elem)(void *map, void *callback_fn, void *callback_ctx, __u64 flags) = (void *) 164;

/* Format values into a buffer. GPL. CAP_PERFMON. */
static long (*const bpf_snprintf)(char *str, __u32 str_size, const char *fmt, __u64 *data, __u32 data_len) = (void *) 165;

/* Set up the timer in a map value. GPL. */
static long (*const bpf_timer_init)(struct bpf_timer *timer, void *map, __u64 flags) = (void *) 169;

/* Say which function a timer calls. GPL. */
static long (*const bpf_timer_set_callback)(struct bpf_timer *timer, void *callback_fn) = (void *) 170;

/* Start a timer. GPL. */
static long (*const bpf_timer_start)(struct bpf_timer *timer, __u64 nsecs, __u64 flags) = (void *) 171;

/* Stop a timer, and wait for its callback to end. GPL. */
static long (*const bpf_timer_cancel)(struct bpf_timer *timer) = (void *) 172;

/* The saved user registers of a task. GPL. CAP_PERFMON. */
static long (*const bpf_task_pt_regs)(struct task_struct *task) = (void *) 175;

/* The processor's last branch records. GPL. CAP_PERFMON. */
static long (*const bpf_get_branch_snapshot)(void *entries, __u32 size, __u64 flags) = (void *) 176;

/* Write a formatted line to the trace pipe; any number of values. GPL. CAP_PERFMON. */
static long (*const bpf_trace_vprintk)(const char *fmt, __u32 fmt_size, const void *data, __u32 data_len) = (void *) 177;

/* A socket as a Unix socket, or null. CAP_PERFMON. */
static struct unix_sock *(*const bpf_skc_to_unix_sock)(void *sk) = (void *) 178;

/* Call a function with the memory area of a task that holds an address. CAP_PERFMON. */
static long (*const bpf_find_vma)(struct task_struct *task, __u64 addr, void *callback_fn, void *callback_ctx, __u64 flags) = (void *) 180;

/* Call a function a number of times, or until it returns 1. */
static long (*const bpf_loop)(__u32 nr_loops, void *callback_fn, void *callback_ctx, __u64 flags) = (void *) 181;

/* Compare text with a constant string. */
static long (*const bpf_strncmp)(const char *s1, __u32 s1_sz, const char *s2) = (void *) 182;

/* Copy memory of a process, waiting for it if it is paged out. GPL. */
static long (*const bpf_copy_from_user_task)(void *dst, __u32 size, const void *user_ptr, struct task_struct *tsk, __u64 flags) = (void *) 191;

/* Swap the kernel pointer in a map value for another. */
static void *(*const bpf_kptr_xchg)(void *map_value, void *ptr) = (void *) 194;

/* Find the value of a key in a per-CPU map for one CPU; null if there is none. */
static void *(*const bpf_map_lookup_percpu_elem)(void *map, const void *key, __u32 cpu) = (void *) 195;

/* A socket as an MPTCP socket, or null. CAP_PERFMON. */
static struct mptcp_sock *(*const bpf_skc_to_mptcp_sock)(void *sk) = (void *) 196;

/* Make a dynptr of a map value's memory. */
static long (*const bpf_dynptr_from_mem)(void *data, __u32 size, __u64 flags, struct bpf_dynptr *ptr) = (void *) 197;

/* Reserve a record of a ring buffer, of a size not known beforehand. */
static long (*const bpf_ringbuf_reserve_dynptr)(void *ringbuf, __u32 size, __u64 flags, struct bpf_dynptr *ptr) = (void *) 198;

/* Hand a record that a dynptr holds to the reader. */
static void (*const bpf_ringbuf_submit_dynptr)(struct bpf_dynptr *ptr, __u64 flags) = (void *) 199;

/* Throw away a record that a dynptr holds. */
static void (*const bpf_ringbuf_discard_dynptr)(struct bpf_dynptr *ptr, __u64 flags) = (void *) 200;

/* Copy bytes out of a dynptr. */
static long (*const bpf_dynptr_read)(void *dst, __u32 len, const struct bpf_dynptr *src, __u32 offset, __u64 flags) = (void *) 201;

/* Copy bytes into a dynptr. */
static long (*const bpf_dynptr_write)(const struct bpf_dynptr *dst, __u32 offset, void *src, __u32 len, __u64 flags) = (void *) 202;

/* Address of a slice of a dynptr; null if it is out of range or not writable. */
static void *(*const bpf_dynptr_data)(const struct bpf_dynptr *ptr, __u32 offset, __u32 len) = (void *) 203;

/* Nanoseconds of international atomic time (CLOCK_TAI). */
static __u64 (*const bpf_ktime_get_tai_ns)(void) = (void *) 208;

/* Call a function for every record that user space has put into a ring buffer. */
static long (*const bpf_user_ringbuf_drain)(void *map, void *callback_fn, void *ctx, __u64 flags) = (void *) 209;

/* The value that a map keeps for a cgroup, made if asked. */
static void *(*const bpf_cgrp_storage_get)(void *map, struct cgroup *cgroup, void *value, __u64 flags) = (void *) 210;

/* Take away the value that a map keeps for a cgroup. */
static long (*const bpf_cgrp_storage_delete)(void *map, struct cgroup *cgroup) = (void *) 211;

/* What no LWT program has. */
#define ROUTEBPF_NO_HELPER(name) \
	long name() __attribute__((unavailable("LWT programs do not have this helper")));
ROUTEBPF_NO_HELPER(bpf_probe_read)
ROUTEBPF_NO_HELPER(bpf_skb_vlan_push)
ROUTEBPF_NO_HELPER(bpf_skb_vlan_pop)
ROUTEBPF_NO_HELPER(bpf_get_stackid)
ROUTEBPF_NO_HELPER(bpf_skb_change_proto)
ROUTEBPF_NO_HELPER(bpf_skb_change_type)
ROUTEBPF_NO_HELPER(bpf_probe_write_user)
ROUTEBPF_NO_HELPER(bpf_xdp_adjust_head)
ROUTEBPF_NO_HELPER(bpf_probe_read_str)
ROUTEBPF_NO_HELPER(bpf_get_socket_cookie)
ROUTEBPF_NO_HELPER(bpf_get_socket_uid)
ROUTEBPF_NO_HELPER(bpf_set_hash)
ROUTEBPF_NO_HELPER(bpf_setsockopt)
ROUTEBPF_NO_HELPER(bpf_skb_adjust_room)
ROUTEBPF_NO_HELPER(bpf_redirect_map)
ROUTEBPF_NO_HELPER(bpf_sk_redirect_map)
ROUTEBPF_NO_HELPER(bpf_sock_map_update)
ROUTEBPF_NO_HELPER(bpf_xdp_adjust_meta)
ROUTEBPF_NO_HELPER(bpf_perf_prog_read_value)
ROUTEBPF_NO_HELPER(bpf_getsockopt)
ROUTEBPF_NO_HELPER(bpf_override_return)
ROUTEBPF_NO_HELPER(bpf_sock_ops_cb_flags_set)
ROUTEBPF_NO_HELPER(bpf_msg_redirect_map)
ROUTEBPF_NO_HELPER(bpf_msg_apply_bytes)
ROUTEBPF_NO_HELPER(bpf_msg_cork_bytes)
ROUTEBPF_NO_HELPER(bpf_msg_pull_data)
ROUTEBPF_NO_HELPER(bpf_bind)
ROUTEBPF_NO_HELPER(bpf_xdp_adjust_tail)
ROUTEBPF_NO_HELPER(bpf_skb_get_xfrm_state)
ROUTEBPF_NO_HELPER(bpf_get_stack)
ROUTEBPF_NO_HELPER(bpf_skb_load_bytes_relative)
ROUTEBPF_NO_HELPER(bpf_fib_lookup)
ROUTEBPF_NO_HELPER(bpf_sock_hash_update)
ROUTEBPF_NO_HELPER(bpf_msg_redirect_hash)
ROUTEBPF_NO_HELPER(bpf_sk_redirect_hash)
ROUTEBPF_NO_HELPER(bpf_lwt_seg6_store_bytes)
ROUTEBPF_NO_HELPER(bpf_lwt_seg6_adjust_srh)
ROUTEBPF_NO_HELPER(bpf_lwt_seg6_action)
ROUTEBPF_NO_HELPER(bpf_rc_repeat)
ROUTEBPF_NO_HELPER(bpf_rc_keydown)
ROUTEBPF_NO_HELPER(bpf_skb_cgroup_id)
ROUTEBPF_NO_HELPER(bpf_get_local_storage)
ROUTEBPF_NO_HELPER(bpf_sk_select_reuseport)
ROUTEBPF_NO_HELPER(bpf_skb_ancestor_cgroup_id)
ROUTEBPF_NO_HELPER(bpf_sk_lookup_tcp)
ROUTEBPF_NO_HELPER(bpf_sk_lookup_udp)
ROUTEBPF_NO_HELPER(bpf_sk_release)
ROUTEBPF_NO_HELPER(bpf_msg_push_data)
ROUTEBPF_NO_HELPER(bpf_msg_pop_data)
ROUTEBPF_NO_HELPER(bpf_rc_pointer_rel)
ROUTEBPF_NO_HELPER(bpf_sk_fullsock)
ROUTEBPF_NO_HELPER(bpf_tcp_sock)
ROUTEBPF_NO_HELPER(bpf_skb_ecn_set_ce)
ROUTEBPF_NO_HELPER(bpf_get_listener_sock)
ROUTEBPF_NO_HELPER(bpf_skc_lookup_tcp)
ROUTEBPF_NO_HELPER(bpf_tcp_check_syncookie)
ROUTEBPF_NO_HELPER(bpf_sysctl_get_name)
ROUTEBPF_NO_HELPER(bpf_sysctl_get_current_value)
ROUTEBPF_NO_HELPER(bpf_sysctl_get_new_value)
ROUTEBPF_NO_HELPER(bpf_sysctl_set_new_value)
ROUTEBPF_NO_HELPER(bpf_sk_storage_get)
ROUTEBPF_NO_HELPER(bpf_sk_storage_delete)
ROUTEBPF_NO_HELPER(bpf_tcp_gen_syncookie)
ROUTEBPF_NO_HELPER(bpf_skb_output)
ROUTEBPF_NO_HELPER(bpf_tcp_send_ack)
ROUTEBPF_NO_HELPER(bpf_read_branch_records)
ROUTEBPF_NO_HELPER(bpf_xdp_output)
ROUTEBPF_NO_HELPER(bpf_get_netns_cookie)
ROUTEBPF_NO_HELPER(bpf_sk_assign)
ROUTEBPF_NO_HELPER(bpf_seq_printf)
ROUTEBPF_NO_HELPER(bpf_seq_write)
ROUTEBPF_NO_HELPER(bpf_sk_cgroup_id)
ROUTEBPF_NO_HELPER(bpf_sk_ancestor_cgroup_id)
ROUTEBPF_NO_HELPER(bpf_load_hdr_opt)
ROUTEBPF_NO_HELPER(bpf_store_hdr_opt)
ROUTEBPF_NO_HELPER(bpf_reserve_hdr_opt)
ROUTEBPF_NO_HELPER(bpf_inode_storage_get)
ROUTEBPF_NO_HELPER(bpf_inode_storage_delete)
ROUTEBPF_NO_HELPER(bpf_d_path)
ROUTEBPF_NO_HELPER(bpf_seq_printf_btf)
ROUTEBPF_NO_HELPER(bpf_skb_cgroup_classid)
ROUTEBPF_NO_HELPER(bpf_redirect_neigh)
ROUTEBPF_NO_HELPER(bpf_redirect_peer)
ROUTEBPF_NO_HELPER(bpf_bprm_opts_set)
ROUTEBPF_NO_HELPER(bpf_ima_inode_hash)
ROUTEBPF_NO_HELPER(bpf_sock_from_file)
ROUTEBPF_NO_HELPER(bpf_check_mtu)
ROUTEBPF_NO_HELPER(bpf_sys_bpf)
ROUTEBPF_NO_HELPER(bpf_btf_find_by_name_kind)
ROUTEBPF_NO_HELPER(bpf_sys_close)
ROUTEBPF_NO_HELPER(bpf_get_func_ip)
ROUTEBPF_NO_HELPER(bpf_get_attach_cookie)
ROUTEBPF_NO_HELPER(bpf_kallsyms_lookup_name)
ROUTEBPF_NO_HELPER(bpf_get_func_arg)
ROUTEBPF_NO_HELPER(bpf_get_func_ret)
ROUTEBPF_NO_HELPER(bpf_get_func_arg_cnt)
ROUTEBPF_NO_HELPER(bpf_get_retval)
ROUTEBPF_NO_HELPER(bpf_set_retval)
ROUTEBPF_NO_HELPER(bpf_xdp_get_buff_len)
ROUTEBPF_NO_HELPER(bpf_xdp_load_bytes)
ROUTEBPF_NO_HELPER(bpf_xdp_store_bytes)
ROUTEBPF_NO_HELPER(bpf_skb_set_tstamp)
ROUTEBPF_NO_HELPER(bpf_ima_file_hash)
ROUTEBPF_NO_HELPER(bpf_tcp_raw_gen_syncookie_ipv4)
ROUTEBPF_NO_HELPER(bpf_tcp_raw_gen_syncookie_ipv6)
ROUTEBPF_NO_HELPER(bpf_tcp_raw_check_syncookie_ipv4)
ROUTEBPF_NO_HELPER(bpf_tcp_raw_check_syncookie_ipv6)
#undef ROUTEBPF_NO_HELPER

#endif
