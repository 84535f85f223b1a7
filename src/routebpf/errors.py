"""Every error of routebpf, one family:

Error                 anything routebpf can tell you; `exit_code` is the command's
├── InputError        a file, flag or argument is wrong (2)
├── MissingError      the machine lacks something, and the message says what would mend it (3)
├── RejectedError     the answer is no: a program is not allowed to run, a check failed (1)
├── MapError          a map operation failed, with the kernel's errno (1)
└── RuntimeFault      a running program did what it must not (1)
"""

import errno as _errno
import os

# What bpf(2) gives back although no C library knows it.
_OF_THE_KERNEL = {524: ("ENOTSUPP", "Not supported")}


class Error(Exception):
    """The root of the family. The message says what was being done, to what, what is wrong, where, and what to do."""

    exit_code = 1


class InputError(Error):
    """A file, flag or argument is wrong."""

    exit_code = 2


class MissingError(Error):
    """The machine lacks something that the command needs."""

    exit_code = 3


class RejectedError(Error):
    """The answer is no: the program may not run, or a check failed. `log`: all that the kernel said of it."""

    def __init__(self, message: str, log: str = "") -> None:
        self.log = log
        super().__init__(message)


class MapError(Error):
    """A map operation failed. `errno` is the kernel's (positive) for the same operation, `advice` what to do."""

    def __init__(self, errno: int, doing: str, advice: str = "") -> None:
        self.errno = errno
        name, text = _OF_THE_KERNEL.get(errno) or (_errno.errorcode.get(errno, str(errno)), os.strerror(errno))
        what = f"{doing}: {name} ({text})"
        super().__init__(f"{what}; {advice}" if advice else what)


class RuntimeFault(Error):  # noqa: N818 - what happened, not who is told
    """A running program did what it must not: where, with which registers, and what the access missed."""
