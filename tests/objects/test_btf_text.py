"""What people are shown of a value, by its type: addresses as Python's ipaddress writes them."""

from __future__ import annotations

import ipaddress

from hypothesis import given
from hypothesis import strategies as st

from routebpf.objects.btf import Btf
from routebpf.objects.btf_text import value_text
from routebpf.objects.btf_values import decode
from routebpf.objects.loader import load_object

SOURCE = """
typedef __u16 __be16;
struct in6_addr { union { __u8 u6_addr8[16]; __u32 u6_addr32[4]; } in6_u; };
struct flow {
    __be32 source; __be16 port; __u16 count; struct in6_addr six; __u8 mac[6]; __u8 raw[3];
    struct { __u64 packets; __u64 bytes; } total; union { __be32 hop; __u32 word; };
};
struct { __uint(type, 1); __uint(max_entries, 1); __type(key, __be32); __type(value, struct flow); } m SEC(".maps");
SEC("lwt_xmit") int p(void *ctx) { __u32 k = 0; return bpf_map_lookup_elem(&m, &k) ? 1 : 0; }
"""


def _loaded(any_compiler: object) -> tuple[Btf, int, int]:
    loaded = load_object(any_compiler.compile(SOURCE))  # type: ignore[attr-defined]
    one = loaded.maps["m"]
    assert loaded.btf is not None
    return loaded.btf, one.btf_key_type_id, one.btf_value_type_id


def test_a_network_order_word_is_an_address(any_compiler: object) -> None:
    btf, key, _ = _loaded(any_compiler)

    @given(st.binary(min_size=4, max_size=4))
    def check(data: bytes) -> None:
        assert value_text(btf, key, decode(btf, key, data)) == str(ipaddress.IPv4Address(data))

    check()


def test_a_struct_is_shown_member_by_member(any_compiler: object) -> None:
    btf, _, value = _loaded(any_compiler)
    data = (
        ipaddress.IPv4Address("192.0.2.1").packed
        + (25).to_bytes(2, "big")
        + (7).to_bytes(2, "little")
        + ipaddress.IPv6Address("2001:db8::5").packed
        + bytes.fromhex("0200000000ff")
        + b"\x01\x02\x03"
    )
    data += bytes(-len(data) % 8) + (3).to_bytes(8, "little") + (4).to_bytes(8, "little")
    data += ipaddress.IPv4Address("198.51.100.9").packed + bytes(4)
    text = value_text(btf, value, decode(btf, value, data))
    assert text.startswith(
        "source 192.0.2.1, port 25, count 7, six 2001:db8::5, mac 02:00:00:00:00:ff, raw 010203,"
        " total (packets 3, bytes 4), hop 198.51.100.9, word "
    )


def test_a_mapped_address_is_shown_as_ipv4(any_compiler: object) -> None:
    btf, _, value = _loaded(any_compiler)
    size = btf.size_of(value)
    data = bytearray(size)
    data[8:24] = ipaddress.IPv6Address("::ffff:203.0.113.7").packed
    assert "six 203.0.113.7," in value_text(btf, value, decode(btf, value, bytes(data)))
