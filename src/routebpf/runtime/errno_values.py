"""Linux's error numbers, on any system (include/uapi/asm-generic/errno.h, include/linux/errno.h)."""

EPERM = 1
ENOENT = 2
E2BIG = 7
EAGAIN = 11
ENOMEM = 12
EACCES = 13
EFAULT = 14
EBUSY = 16
EEXIST = 17
EINVAL = 22
ENOSPC = 28
ERANGE = 34
EDEADLK = 35
ENODATA = 61
EPROTO = 71
EBADMSG = 74
EMSGSIZE = 90
EPROTONOSUPPORT = 93
EOPNOTSUPP = 95
EAFNOSUPPORT = 97
ENETDOWN = 100
ENETUNREACH = 101
ENOBUFS = 105
ETIMEDOUT = 110
EHOSTUNREACH = 113
ENOTSUPP = 524  # kernel-internal, and seen by programs and users of bpf(2) all the same
