/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* What the compiler can do itself: sizes must be constants, for BPF has no C library to call. */
#ifndef ROUTEBPF_STRING_H
#define ROUTEBPF_STRING_H

#include <stddef.h>

#define memcpy(to, from, size) __builtin_memcpy((to), (from), (size))
#define memmove(to, from, size) __builtin_memmove((to), (from), (size))
#define memset(to, byte, size) __builtin_memset((to), (byte), (size))
#define memcmp(one, other, size) __builtin_memcmp((one), (other), (size))

#endif
