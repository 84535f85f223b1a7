/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Address families, as __sk_buff and sockets name them. */
#ifndef _LINUX_SOCKET_H
#define _LINUX_SOCKET_H

#ifndef AF_UNIX
#define AF_UNIX 1
#endif
#ifndef AF_INET
#define AF_INET 2
#endif
#ifndef AF_INET6
#define AF_INET6 10
#endif

#endif
