"""Which programs leave packet and context alone: the answer yes must never be wrong."""

from __future__ import annotations

from pathlib import Path

import pytest

import routebpf
from routebpf.objects.compiler import compile_source

PRELUDE = """
#include <routebpf.h>
char _license[] SEC("license") = "GPL";
struct { __uint(type, BPF_MAP_TYPE_ARRAY); __uint(max_entries, 4); __type(key, __u32); __type(value, __u64); }
counts SEC(".maps");
struct { __uint(type, BPF_MAP_TYPE_PROG_ARRAY); __uint(max_entries, 4); __type(key, __u32); __type(value, __u32); }
programs SEC(".maps");
static __noinline int set(__u8 *at, int value) { if (at) *at = value; return 0; }
static __noinline void *start(struct __sk_buff *skb) { return (void *)(long)skb->data; }
static long add(__u32 index, void *context) { (*(__u64 *)context)++; return 0; }
#define BYTES(size) __u8 *p = (void *)(long)skb->data; if (p + (size) > (__u8 *)(long)skb->data_end) return 2;
#define COUNT __u32 zero = 0; __u64 *count = bpf_map_lookup_elem(&counts, &zero); if (!count) return 2;
"""

PLAIN = {
    "returns": "return 0;",
    "reads the packet": "BYTES(20) return p[9] == 6 ? 2 : 0;",
    "reads the context": "return skb->mark + skb->len > 100 ? 2 : 0;",
    "counts what it reads in the packet": "BYTES(20) COUNT *count += p[9]; return 0;",
    "counts with an atomic": "BYTES(20) COUNT __sync_fetch_and_add(count, p[2]); return 0;",
    "keeps packet bytes on its stack": "BYTES(20) COUNT __u64 k[2] = { p[0], p[4] }; *count = k[p[1] & 1]; return 0;",
    "loads bytes": "__u8 b[4]; bpf_skb_load_bytes(skb, 0, b, 4); return b[0];",
    "loops": "__u64 n = 0; bpf_loop(10, add, &n, 0); return n > 20;",
}
CHANGING = {
    "writes the packet": "BYTES(20) p[8] = 1; return 0;",
    "writes the packet at a variable offset": "BYTES(40) p += p[0] & 15; "
    "if (p + 1 > (__u8 *)(long)skb->data_end) return 2; *p = 1; return 0;",
    "adds to the packet": "BYTES(20) *(__u32 *)(p + 12) += 1; return 0;",
    "writes through a pointer from its stack": "BYTES(20) __u8 *volatile kept = p; *kept = 1; return 0;",
    "writes in a function": "BYTES(20) return set(p + 1, 4);",
    "writes through what a function returns": "__u8 *p = start(skb); "
    "if (p + 4 > (__u8 *)(long)skb->data_end) return 2; p[1] = 3; return 0;",
    "writes the mark": "skb->mark = 1; return 0;",
    "writes cb": "skb->cb[2] = 1; return 0;",
    "stores bytes": "__u8 b = 1; bpf_skb_store_bytes(skb, 8, &b, 1, 0); return 0;",
    "pulls data": "bpf_skb_pull_data(skb, 0); return 0;",
    "redirects": "return bpf_redirect(1, 0);",
    "clones": "bpf_clone_redirect(skb, 1, 0); return 0;",
    "asks for the hash": "return bpf_get_hash_recalc(skb) & 2;",
    "looks at the socket": "return skb->sk ? 0 : 2;",
    "calls another program": "bpf_tail_call(skb, &programs, 0); return 0;",
}


def is_plain(folder: Path, body: str) -> bool:
    source = folder / "program.c"
    source.write_text(f'{PRELUDE}SEC("lwt_xmit") int p(struct __sk_buff *skb) {{ {body} }}')
    return routebpf.load(compile_source(str(source))).program().is_plain


@pytest.mark.parametrize("what", PLAIN)
def test_a_program_that_changes_nothing_is_plain(tmp_path: Path, what: str) -> None:
    assert is_plain(tmp_path, PLAIN[what])


@pytest.mark.parametrize("what", CHANGING)
def test_a_program_that_may_change_something_is_not(tmp_path: Path, what: str) -> None:
    assert not is_plain(tmp_path, CHANGING[what])
