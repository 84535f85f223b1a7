"""Reading memory that may not be there, as the kernel does for pointers that it cannot trust. kernel: mm/maccess.c."""

from __future__ import annotations

from routebpf.runtime.memory import libc_close, libc_pipe, libc_read, libc_write, load32, stack
from routebpf.runtime.native import native

_PIECE = 4096  # bytes: no page is smaller, and a pipe holds as many


@native
def probe(destination: int, source: int, size: int) -> int:
    """Copy up to `size` bytes: how many there were before the first that cannot be read.

    The bytes go through a pipe: a system call that is given a wrong address fails, where a load would end the process.
    """
    ends = stack(8)
    if libc_pipe(ends) != 0:
        return 0
    done = 0
    while done < size:
        piece = min(size - done, _PIECE - ((source + done) & (_PIECE - 1)))
        if libc_write(load32(ends + 4), source + done, piece) != piece:
            break
        libc_read(load32(ends), destination + done, piece)
        done += piece
    libc_close(load32(ends))
    libc_close(load32(ends + 4))
    return done
