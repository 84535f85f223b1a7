/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* The part of the C library's header that BPF programs use. */
#ifndef ROUTEBPF_NETINET_IN_H
#define ROUTEBPF_NETINET_IN_H

#include <linux/in.h>
#include <linux/in6.h>
#include <asm/byteorder.h>

typedef __u16 in_port_t;
typedef __u32 in_addr_t;

#define htons(x) __cpu_to_be16(x)
#define htonl(x) __cpu_to_be32(x)
#define ntohs(x) __be16_to_cpu(x)
#define ntohl(x) __be32_to_cpu(x)

#endif
