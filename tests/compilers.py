"""The C compilers for BPF that are there: this machine's clang, and the one of pip."""

from __future__ import annotations

import functools
import hashlib
import importlib.util
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

PRELUDE = """
typedef unsigned char __u8; typedef unsigned short __u16; typedef unsigned int __u32; typedef unsigned long long __u64;
typedef signed char __s8; typedef short __s16; typedef int __s32; typedef long long __s64; typedef __u32 __be32;
#define SEC(name) __attribute__((section(name), used))
#define __uint(name, val) int (*name)[val]
#define __type(name, val) typeof(val) *name
#define __array(name, val) typeof(val) *name[]
#define __ksym __attribute__((section(".ksyms")))
#define __kconfig __attribute__((section(".kconfig")))
#define __weak __attribute__((weak))
#define __noinline __attribute__((noinline))
#define PAI __attribute__((preserve_access_index))
static void *(*bpf_map_lookup_elem)(void *map, const void *key) = (void *) 1;
static long (*bpf_map_update_elem)(void *map, const void *key, const void *value, __u64 flags) = (void *) 2;
static long (*bpf_tail_call)(void *ctx, void *map, __u32 index) = (void *) 12;
static long (*bpf_for_each_map_elem)(void *map, void *callback, void *ctx, __u64 flags) = (void *) 164;
static long (*bpf_loop)(__u32 nr, void *callback, void *ctx, __u64 flags) = (void *) 181;
char _license[] SEC("license") = "GPL";
"""


@dataclass(frozen=True)
class Compiler:
    """`compile` turns C into the path of a BPF object, once for each source and flags."""

    name: str
    command: tuple[str, ...]
    big_endian_target: str
    directory: Path
    prelude: str = PRELUDE

    def compile(self, source: str, *flags: str) -> Path:
        flags = flags or ("-O2", "-g")
        text = self.prelude + source
        key = hashlib.sha256(repr((self.command, flags, text)).encode()).hexdigest()[:16]
        path = self.directory / f"{key}.o"
        if not path.exists():
            c_file = path.with_suffix(".c")
            c_file.write_text(text)
            done = subprocess.run(
                [*self.command, *flags, "-Wno-everything", "-c", str(c_file), "-o", str(path)],
                capture_output=True,
                text=True,
            )
            if done.returncode:
                pytest.fail(f"{self.name} {' '.join(flags)}:\n{done.stderr}")
        return path


@functools.cache
def commands() -> dict[str, tuple[tuple[str, ...], str]]:
    found = {}
    if clang := shutil.which("clang"):
        found["clang"] = ((clang, "-target", "bpf"), "bpfeb")
    if importlib.util.find_spec("ziglang"):
        zig = (sys.executable, "-m", "ziglang", "cc")
        found["zig"] = ((*zig, "-target", "bpfel-freestanding"), "bpfeb-freestanding")
    return found
