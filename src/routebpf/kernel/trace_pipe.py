"""What programs print with bpf_printk, from the kernel's trace pipe. kernel: kernel/trace/bpf_trace.c."""

from __future__ import annotations

import errno
import os
import re

from routebpf.errors import MissingError
from routebpf.runtime.trace_line import TraceLine

_PLACES = ("/sys/kernel/tracing", "/sys/kernel/debug/tracing")
_READ_BYTES = 1 << 16
# COMMAND-PID [CPU] FLAGS TIME: bpf_trace_printk: TEXT
_LINE = re.compile(r".*?\[(\d+)\] \S+ +(\d+)\.(\d{6}): bpf_trace_printk: (.*)")


class TracePipe:
    """The pipe, open: what is printed from now on, by any program of the machine. Others who read it take lines away.

    Raises MissingError where there is none to be read, and where tracing is off, so that nothing would come.
    """

    def __init__(self) -> None:
        self._fd = -1
        for place in _PLACES:
            try:
                _check_on(f"{place}/tracing_on")
                self._fd = os.open(f"{place}/trace_pipe", os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
                break
            except (FileNotFoundError, PermissionError):
                continue
            except OSError as error:
                what = "somebody reads it, and it has one reader" if error.errno == errno.EBUSY else error.strerror
                raise MissingError(f"what programs print in the kernel: {error.filename}: {what}") from error
        if self._fd < 0:
            raise MissingError(
                "what programs print in the kernel comes out of /sys/kernel/tracing/trace_pipe, which cannot be read:"
                " mount -t tracefs tracefs /sys/kernel/tracing, as root"
            )
        self.lines()

    def lines(self) -> list[TraceLine]:
        """What was printed since the last call."""
        text = ""  # a read gives whole lines
        while True:
            try:
                data = os.read(self._fd, _READ_BYTES)
            except BlockingIOError:
                break
            if not data:
                break
            text += data.decode(errors="replace")
        found = (_LINE.fullmatch(line) for line in text.splitlines())
        return [TraceLine(int(one[1]), int(one[2]) * 10**9 + int(one[3]) * 1000, one[4]) for one in found if one]

    def close(self) -> None:
        fd, self._fd = self._fd, -1
        if fd >= 0:
            os.close(fd)


def _check_on(switch: str) -> None:
    with open(switch, encoding="ascii") as file:
        if file.read().strip() == "0":
            raise MissingError(
                "what programs print in the kernel is lost while its tracing is off, as after an oops:"
                f" echo 1 > {switch}, as root"
            )
