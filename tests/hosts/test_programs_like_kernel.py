"""Programs on routes: the same object on both hosts, the same packet, the same errno and frames byte for byte."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from hosts.two_hosts import KernelTwin, embedded_twin, frames_of, ipv4, ipv6, neighbour_lines, sent_by
from routebpf.hosts.embedded import EmbeddedHost
from routebpf.objects.compiler import compile_source

DEVICES = {"va": 2, "vb": 3}
VB = 3

PRELUDE = """
#include <routebpf.h>
char _license[] SEC("license") = "GPL";
#define XMIT SEC("lwt_xmit") int
#define PUSH_TO_VB \\
	__u8 header[14] = { 2, 0, 0, 0xbb, 0, 1, 2, 0, 0, 0, 0, 3, 8, 0 }; \\
	if (skb->protocol != bpf_htons(ETH_P_IP)) { header[12] = 0x86; header[13] = 0xdd; } \\
	if (bpf_skb_change_head(skb, 14, 0)) return 99; \\
	if (bpf_skb_store_bytes(skb, 0, header, 14, 0)) return 98;
#define DADDR(a, b, c, d) \\
	__u32 to = bpf_htonl((a) << 24 | (b) << 16 | (c) << 8 | (d)); \\
	if (bpf_skb_store_bytes(skb, 16, &to, 4, 0)) return 97;
"""
# What the context says, written over the payload: frames that are equal saw the same.
DUMP = """
static int dump(struct __sk_buff *skb, int offset)
{
	__u32 seen[] = { skb->len, skb->pkt_type, skb->mark, skb->queue_mapping, skb->protocol, skb->vlan_present,
		skb->vlan_tci, skb->vlan_proto, skb->priority, skb->ingress_ifindex, skb->ifindex, skb->tc_index, skb->cb[0],
		skb->cb[4], skb->hash, skb->napi_id, skb->gso_segs, skb->gso_size, skb->data_end - skb->data,
		bpf_get_route_realm(skb) };
	return bpf_skb_store_bytes(skb, offset, seen, sizeof(seen), 0);
}
"""
OUTER4 = """
	struct iphdr outer = { .version = 4, .ihl = 5, .ttl = 64, .protocol = 4, .saddr = bpf_htonl(0x0a010001),
		.daddr = bpf_htonl(%s) };
	outer.tot_len = bpf_htons(skb->len + 20);
	if (bpf_lwt_push_encap(skb, BPF_LWT_ENCAP_IP, &outer, sizeof(outer))) return 96;
"""

# By name: an XMIT program, which is on a route through a gateway (192.168.N.0/24) and on one without (10.N.0.0/16).
XMIT = {
    "returns 0": "return 0;",
    "returns 1": "return 1;",
    "returns 2": "return 2;",
    "returns 3": "return 3;",
    "returns 7 without bpf_redirect": "return 7;",
    "returns 127": "return 127;",
    "returns 129": "return 129;",
    "returns -1": "return -1;",
    "says what its context says": "return dump(skb, 28) ? 99 : 0;",
    "writes mark, priority and cb": "skb->mark = 0x12345678; skb->priority = 9; skb->cb[0] = 7; skb->cb[4] = 8; "
    "return dump(skb, 28) ? 99 : 0;",
    "writes the packet": "__u8 *p = (void *)(long)skb->data; if (p + 20 > (__u8 *)(long)skb->data_end) return 2; "
    "p[8] = 33; p[1] = 0xb8; return 0;",
    "rewrites the destination": "DADDR(10, 0, 0, 77) return 0;",
    "rewrites the destination and reroutes": "DADDR(10, 1, 0, 9) return 128;",
    "reroutes to nowhere": "DADDR(203, 0, 113, 1) return 128;",
    "reroutes to a blackhole": "DADDR(10, 200, 0, 1) return 128;",
    "reroutes to an unreachable route": "DADDR(10, 201, 0, 1) return 128;",
    "reroutes to a prohibited route": "DADDR(10, 202, 0, 1) return 128;",
    "reroutes to the host itself": "DADDR(10, 0, 0, 1) return 128;",
    "reroutes to a small MTU": "DADDR(10, 203, 0, 1) return 128;",
    "reroutes to a multicast group": "DADDR(224, 5, 0, 7) return 128;",
    "reroutes to the broadcast address": "DADDR(10, 1, 0, 255) return 128;",
    "reroutes to a program that drops": "DADDR(10, 204, 0, 1) return 128;",
    "reroutes to a program that reroutes to nowhere": "DADDR(10, 205, 0, 1) return 128;",
    "reroutes to a program that redirects": "DADDR(10, 206, 0, 1) return 128;",
    "reroutes for ever": "return 128;",
    "reroutes by its mark": "skb->mark = 0x77; return 128;",
    "pushes a link header and redirects": "PUSH_TO_VB return bpf_redirect(3, 0);",
    "redirects without a link header": "return bpf_redirect(3, 0);",
    "redirects to no device": "PUSH_TO_VB return bpf_redirect(999, 0);",
    "redirects inwards": "PUSH_TO_VB return bpf_redirect(3, 1);",
    "redirects with wrong flags": "return bpf_redirect(3, 2);",
    "calls bpf_redirect and returns 0": "bpf_redirect(3, 0); return 0;",
    "pushes a link header and returns 7": "PUSH_TO_VB return 7;",
    "pushes a link header and returns 0": "PUSH_TO_VB return 0;",
    "clones without a link header": "bpf_clone_redirect(skb, 3, 0); return 0;",
    "clones with a link header": "PUSH_TO_VB bpf_clone_redirect(skb, 3, 0); return 0;",
    "clones and drops": "PUSH_TO_VB bpf_clone_redirect(skb, 3, 0); return 2;",
    "clones and redirects": "PUSH_TO_VB bpf_clone_redirect(skb, 2, 0); return bpf_redirect(3, 0);",
    "grows the tail": "return bpf_skb_change_tail(skb, skb->len + 12, 0) ? 99 : 0;",
    "grows the tail beyond the MTU": "return bpf_skb_change_tail(skb, 1600, 0) ? 99 : 0;",
    "shrinks the tail": "return bpf_skb_change_tail(skb, 60, 0) ? 99 : 0;",
    "shrinks the tail too far": "return bpf_skb_change_tail(skb, 19, 0) ? 99 : 0;",
    "encapsulates and reroutes": OUTER4 % "0x0a010009" + "return 128;",
    "encapsulates and returns 0": OUTER4 % "0x0a000009" + "return 0;",
    "encapsulates to nowhere": OUTER4 % "0xcb007101" + "return 128;",
    "encapsulates twice": OUTER4 % "0x0a010009" + "{" + OUTER4 % "0x0a010009" + "} return 128;",
    "encapsulates in IPv6 and reroutes": """
	struct ipv6hdr outer = { .version = 6, .nexthdr = 4, .hop_limit = 64, .payload_len = bpf_htons(skb->len) };
	outer.saddr.in6_u.u6_addr8[0] = outer.daddr.in6_u.u6_addr8[0] = 0xfd;
	outer.saddr.in6_u.u6_addr8[3] = outer.daddr.in6_u.u6_addr8[3] = 0x0b;
	outer.saddr.in6_u.u6_addr8[15] = 1; outer.daddr.in6_u.u6_addr8[15] = 2;
	if (bpf_lwt_push_encap(skb, BPF_LWT_ENCAP_IP, &outer, sizeof(outer))) return 96;
	return skb->cb[0] + 128;""",
    "encapsulates in IPv6 and returns 0": """
	struct ipv6hdr outer = { .version = 6, .nexthdr = 4, .hop_limit = 64, .payload_len = bpf_htons(skb->len) };
	outer.saddr.in6_u.u6_addr8[0] = outer.daddr.in6_u.u6_addr8[0] = 0xfd;
	if (bpf_lwt_push_encap(skb, BPF_LWT_ENCAP_IP, &outer, sizeof(outer))) return 96;
	return 0;""",
}  # fmt: skip
NUMBERS = {name: 20 + index for index, name in enumerate(XMIT)}

PACKETS = {
    "a small packet": {},
    "a packet with a TOS": {"tos": 0x10},
    "a packet of the MTU": {"payload": 1480},
}

LINES = """
addr add 10.0.0.1/24 dev va
addr add 10.1.0.1/24 dev vb
addr add fd00:a::1/64 dev va
addr add fd00:b::1/64 dev vb
route add blackhole 10.200.0.0/16
route add unreachable 10.201.0.0/16
route add prohibit 10.202.0.0/16
route add 10.203.0.0/16 via 10.1.0.2 mtu 500
route add default via 10.1.0.2 table 77
rule add fwmark 0x77 table 77 prio 100
"""


def _encap(name: str) -> str:
    return f"encap bpf xmit obj xmit{NUMBERS[name]}.o section lwt_xmit"


def _lines() -> str:
    lines, neighbours = LINES, ["10.0.0.2", "10.0.0.9", "10.0.0.77", "fd00:a::2"]
    for name, number in NUMBERS.items():
        lines += f"route add 192.168.{number}.0/24 {_encap(name)} via 10.0.0.2 dev va realm {number}\n"
        lines += f"route add 10.{number}.0.0/16 {_encap(name)} dev va\n"
        neighbours.append(f"10.{number}.0.5")
    for number, name in ((204, "returns 2"), (205, "reroutes to nowhere"), (206, "redirects without a link header")):
        lines += f"route add 10.{number}.0.0/16 {_encap(name)} via 10.0.0.2 dev va\n"
    lines += f"route add 192.168.250.0/24 {_encap('returns 0')} headroom 100 via 10.0.0.2 dev va\n"
    lines += f"route add fd00:20::/64 {_encap('returns 2')} via fd00:a::2 dev va\n"
    lines += f"route add fd00:21::/64 {_encap('pushes a link header and redirects')} via fd00:a::2 dev va\n"
    lines += f"route add fd00:22::/64 {_encap('says what its context says')} via fd00:a::2 dev va\n"
    lines += f"route add 224.7.0.0/16 {_encap('returns 2')} dev va\n"
    lines += "route add 192.168.251.0/24 encap bpf out obj out.o section lwt_out"
    lines += f" xmit obj xmit{NUMBERS['says what its context says']}.o section lwt_xmit via 10.0.0.2 dev va\n"
    lines += "route add 192.168.252.0/24 encap bpf out obj out128.o section lwt_out via 10.0.0.2 dev va\n"
    lines += "route add 192.168.253.0/24 encap bpf out obj out7.o section lwt_out via 10.0.0.2 dev va\n"
    lines += "route add 192.168.254.0/24 encap bpf in obj in.o section lwt_in"
    lines += f" xmit obj xmit{NUMBERS['says what its context says']}.o section lwt_xmit via 10.0.0.2 dev va\n"
    vb = ["10.1.0.2", "10.1.0.9", "10.1.0.5", "fd00:b::2"]
    return lines + neighbour_lines("va", neighbours) + neighbour_lines("vb", vb)


OTHERS = {
    "out": 'SEC("lwt_out") int p(struct __sk_buff *skb) { skb->mark = skb->ifindex << 24 | skb->ingress_ifindex << 16 '
    "| skb->len; skb->cb[0] = 5; return 0; }",
    "out128": 'SEC("lwt_out") int p(struct __sk_buff *skb) { return 128; }',
    "out7": 'SEC("lwt_out") int p(struct __sk_buff *skb) { return 7; }',
    "in": 'SEC("lwt_in") int p(struct __sk_buff *skb) { skb->mark = skb->ifindex << 24 | skb->ingress_ifindex << 16 '
    "| skb->priority << 12 | skb->len; return 0; }",
}

pytestmark = pytest.mark.kernel


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("programs")
    sources = {
        f"xmit{NUMBERS[name]}": f"{DUMP}XMIT p(struct __sk_buff *skb) {{ {body} }}" for name, body in XMIT.items()
    }
    for name, text in {**sources, **OTHERS}.items():
        source = folder / f"{name}.c"
        source.write_text(PRELUDE + text)
        (folder / f"{name}.o").write_bytes(compile_source(str(source)))
    return folder


@pytest.fixture(scope="module")
def kernel(folder: Path) -> Iterator[KernelTwin]:
    twin = KernelTwin(_lines(), DEVICES, folder=folder)
    yield twin
    twin.close()


@pytest.fixture(scope="module")
def embedded(folder: Path) -> EmbeddedHost:
    return embedded_twin(_lines(), DEVICES, folder=folder)


def _same(kernel: KernelTwin, embedded: EmbeddedHost, packet: bytes) -> None:
    ours = sent_by(embedded, packet)
    assert ours == kernel.send(packet, len(ours.frames))


@pytest.mark.parametrize("name", XMIT)
@pytest.mark.parametrize("packet", PACKETS)
def test_a_program_on_a_route_with_a_gateway(
    kernel: KernelTwin, embedded: EmbeddedHost, name: str, packet: str
) -> None:
    _same(kernel, embedded, ipv4(f"192.168.{NUMBERS[name]}.5", **PACKETS[packet]))  # type: ignore[arg-type]


@pytest.mark.parametrize("name", XMIT)
def test_a_program_on_a_route_without_a_gateway(kernel: KernelTwin, embedded: EmbeddedHost, name: str) -> None:
    _same(kernel, embedded, ipv4(f"10.{NUMBERS[name]}.0.5"))
    _same(kernel, embedded, ipv4(f"10.{NUMBERS[name]}.0.5"))


@pytest.mark.parametrize("name", XMIT)
@pytest.mark.parametrize("to", ["192.168.{}.5", "10.{}.0.5"])
def test_a_program_on_a_packet_that_is_forwarded(
    kernel: KernelTwin, embedded: EmbeddedHost, name: str, to: str
) -> None:
    packet = ipv4(to.format(NUMBERS[name]), src="10.1.0.5", tos=0x08)
    ours = embedded.receive(packet, "vb")
    frames = frames_of(ours)
    assert frames == kernel.receive(packet, "vb", len(frames)), ours.reason


OTHER_PACKETS = {
    "the headroom lowers the MTU": ipv4("192.168.250.5", 1400),
    "a packet of the MTU less the headroom": ipv4("192.168.250.5", 1380),
    "IPv6 dropped": ipv6("fd00:20::5"),
    "IPv6 redirected": ipv6("fd00:21::5"),
    "IPv6 context": ipv6("fd00:22::5", 200),
    "a program on a multicast route": ipv4("224.7.0.1"),
    "what out sees": ipv4("192.168.251.5", tos=0x10),
    "what out sees of a packet that is cut": ipv4("192.168.251.5", 1400),
    "out returns BPF_LWT_REROUTE": ipv4("192.168.252.5"),
    "out returns BPF_REDIRECT": ipv4("192.168.253.5"),
    "in does not run on what is sent": ipv4("192.168.254.5"),
}


@pytest.mark.parametrize("what", OTHER_PACKETS)
def test_other_ways_of_a_program(kernel: KernelTwin, embedded: EmbeddedHost, what: str) -> None:
    _same(kernel, embedded, OTHER_PACKETS[what])


@pytest.mark.parametrize("number", [251, 252, 253, 254])
def test_in_and_out_on_a_packet_that_is_forwarded(kernel: KernelTwin, embedded: EmbeddedHost, number: int) -> None:
    packet = ipv4(f"192.168.{number}.5", src="10.1.0.5", tos=0x10)
    ours = embedded.receive(packet, "vb")
    frames = frames_of(ours)
    assert frames == kernel.receive(packet, "vb", len(frames)), ours.reason


def test_a_redirect_is_forgotten_when_the_program_ends(kernel: KernelTwin, embedded: EmbeddedHost) -> None:
    for name in ("calls bpf_redirect and returns 0", "pushes a link header and returns 7"):
        _same(kernel, embedded, ipv4(f"192.168.{NUMBERS[name]}.5"))
