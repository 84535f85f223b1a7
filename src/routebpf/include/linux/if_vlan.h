/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* The VLAN tag behind an Ethernet header, as it lies in a frame. */
#ifndef _LINUX_IF_VLAN_H_
#define _LINUX_IF_VLAN_H_

#include <linux/types.h>

#define VLAN_HLEN 4
#define VLAN_VID_MASK 0x0fff
#define VLAN_PRIO_MASK 0xe000
#define VLAN_PRIO_SHIFT 13

struct vlan_hdr {
	__be16 h_vlan_TCI;
	__be16 h_vlan_encapsulated_proto;
};

#endif
