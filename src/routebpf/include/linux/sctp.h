/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* The common header of SCTP, RFC 9260. */
#ifndef __LINUX_SCTP_H__
#define __LINUX_SCTP_H__

#include <linux/types.h>

struct sctphdr {
	__be16 source;
	__be16 dest;
	__be32 vtag;
	__le32 checksum;
};

#endif
