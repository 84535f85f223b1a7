"""A program runs on a packet, and what it returned is carried out.

kernel: net/core/lwt_bpf.c, run_lwt_bpf(). The verdict is the low 32 bits of r0.
"""

from __future__ import annotations

from routebpf.datapath.verdicts import (
    PROGRAM_DROP,
    PROGRAM_FAULT,
    PROTOCOL_CHANGED,
    REDIRECT_FAILED,
    REDIRECTED,
    REROUTED,
    RETURN_CODE,
    SENT,
)
from routebpf.runtime.cpu import CPU_FAULT, CPU_REDIRECT_IFINDEX, CPU_SKB, CPU_TAIL_CALLS
from routebpf.runtime.memory import call2, load32, load64, low32, store32, store64
from routebpf.runtime.native import native
from routebpf.runtime.skb import SKB_CB, SKB_HEADROOM, SKB_PROTOCOL
from routebpf.runtime.skb_redirect import skb_do_redirect

BPF_OK = 0
BPF_DROP = 2
BPF_REDIRECT = 7
BPF_LWT_REROUTE = 128
ETHERNET_BYTES = 14


@native
def run_program(cpu: int, skb: int, entry: int) -> int:
    """Run a program on a packet: the low 32 bits of r0. Its cb starts as zeros."""
    store64(skb + SKB_CB, 0)
    store64(skb + SKB_CB + 8, 0)
    store32(skb + SKB_CB + 16, 0)
    store64(cpu + CPU_REDIRECT_IFINDEX, 0)
    store32(cpu + CPU_TAIL_CALLS, 0)
    store64(cpu + CPU_SKB, skb)
    return low32(call2(entry, cpu, skb))


@native
def lwt_xmit(cpu: int, skb: int, entry: int) -> int:
    """Run the program of xmit; see `xmit_verdict`."""
    protocol = load32(skb + SKB_PROTOCOL)
    code = run_program(cpu, skb, entry)
    return xmit_verdict(cpu, skb, code, protocol)


@native
def xmit_verdict(cpu: int, skb: int, code: int, protocol: int) -> int:
    """What the program of xmit returned, carried out: SENT: the packet goes on, REROUTED: it is to be rerouted, else
    the reason of its end. `protocol`: what the packet's was before. kernel: bpf_xmit()."""
    if load32(cpu + CPU_FAULT):
        return PROGRAM_FAULT
    if code == BPF_OK:
        if load32(skb + SKB_PROTOCOL) != protocol:
            return PROTOCOL_CHANGED
        missing = ETHERNET_BYTES - load64(skb + SKB_HEADROOM)
        if missing > 0:  # kernel: xmit_check_hhlen()
            store64(skb + SKB_HEADROOM, load64(skb + SKB_HEADROOM) + ((missing + 15) & -16))
        return SENT
    if code == BPF_DROP:
        return PROGRAM_DROP
    if code == BPF_REDIRECT:
        if skb_do_redirect(cpu, skb) < 0:
            return REDIRECT_FAILED
        return REDIRECTED
    if code == BPF_LWT_REROUTE:
        return REROUTED
    return RETURN_CODE


@native
def lwt_run(cpu: int, skb: int, entry: int) -> int:
    """Run a program of in or out, which has no redirect: as `lwt_xmit`. kernel: bpf_input(), bpf_output()."""
    code = run_program(cpu, skb, entry)
    if load32(cpu + CPU_FAULT):
        return PROGRAM_FAULT
    if code == BPF_OK or code == BPF_REDIRECT:  # noqa: SIM109 (native functions have no tuples)
        return SENT
    if code == BPF_DROP:
        return PROGRAM_DROP
    if code == BPF_LWT_REROUTE:
        return REROUTED
    return RETURN_CODE
