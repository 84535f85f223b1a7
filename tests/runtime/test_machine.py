"""Machine code is loaded wherever there is room, and goes with the object that holds it."""

from __future__ import annotations

import ctypes
import gc
import resource
import subprocess
import sys

import pytest

from routebpf.runtime.checksum import checksum
from routebpf.runtime.machine import Code, compile_object

# Leaves one page free above 4 GiB that are taken, and nothing else near: then code and its constants find no room side
# by side, which is what maps of gigabytes come to.
FEW_HOLES = """
import ctypes
from routebpf.datapath.replay import replay_batch
from routebpf.runtime import cache, machine
cache.read(machine.object_name(replay_batch))
libc = ctypes.CDLL(None)
libc.mmap.restype = ctypes.c_void_p
libc.mmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t, *[ctypes.c_int] * 3, ctypes.c_long]
libc.munmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t]
TAKEN, NO_REPLACE = 0x4022, 0x100000
hole = libc.mmap(None, 1 << 16, 0, TAKEN, -1, 0)
libc.mmap(None, 4 << 30, 0, TAKEN, -1, 0)
spans = [[int(one, 16) for one in line.split()[0].split("-")] for line in open("/proc/self/maps")]
spans = [one for one in spans if 1 << 46 < one[0] < 1 << 47]
for (_, end), (start, _) in zip(spans, spans[1:]):
    if 0 < start - end < 1 << 32:
        libc.mmap(end, start - end, 0, TAKEN | NO_REPLACE, -1, 0)
libc.munmap(hole + 4096, 4096)
print(machine.function_address(replay_batch) != 0)
"""

# Eight threads call each of these functions first, at the same moment. What is printed is how many copies there are.
FIRST_CALLS = """
import threading
from routebpf.runtime import machine
from routebpf.runtime.build import native_functions
functions = [one for one in native_functions() if one.name in ("checksum", "bucket_of", "hash_of", "fold", "sum_add")]
barrier = threading.Barrier(8)
found = {one: set() for one in functions}
def load():
    for one in functions:
        barrier.wait()
        found[one].add(machine.function_address(one))
threads = [threading.Thread(target=load) for _ in range(8)]
for one in threads:
    one.start()
for one in threads:
    one.join()
print(*(len(one) for one in found.values()))
"""


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc/self/maps")
def test_code_is_loaded_where_only_small_holes_are_left_in_memory() -> None:
    done = subprocess.run([sys.executable, "-c", FEW_HOLES], capture_output=True, text=True)
    assert done.stdout.split() == ["True"], done.stderr


def test_code_that_nobody_holds_any_more_takes_no_memory() -> None:
    data = compile_object(checksum)
    header = ctypes.create_string_buffer(b"\x45\x00\x00\x14" * 5)

    def load(times: int) -> int:
        for _ in range(times):
            code = Code(data, [checksum.symbol])
            function = ctypes.CFUNCTYPE(ctypes.c_int64, ctypes.c_int64, ctypes.c_int64)(code.address(checksum.symbol))
            assert function(ctypes.addressof(header), 20) == checksum(ctypes.addressof(header), 20)
            cycle = [code]
            cycle.append(cycle)  # type: ignore[arg-type]
        gc.collect()
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss

    first = load(500)
    assert load(1500) - first < 4096  # KiB


def test_a_function_that_threads_call_first_at_once_is_loaded_once() -> None:
    """Each would run its own copy else, and all but one of these go at once."""
    done = subprocess.run([sys.executable, "-c", FIRST_CALLS], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert set(done.stdout.split()) == {"1"}
