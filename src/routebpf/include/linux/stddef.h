/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
#ifndef _LINUX_STDDEF_H
#define _LINUX_STDDEF_H

#include <stddef.h>

#ifndef __always_inline
#define __always_inline inline __attribute__((always_inline))
#endif

#endif
