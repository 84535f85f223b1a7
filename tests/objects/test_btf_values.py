import ctypes
import ipaddress
import math
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from routebpf.errors import InputError
from routebpf.objects.btf import read_btf_file
from routebpf.objects.btf_declare import declare
from routebpf.objects.btf_types import Kind
from routebpf.objects.btf_values import decode, encode, is_big_endian, typedef_names

SOURCE = """
enum verdict { PASS, DROP = 2, REROUTE = 128 };
struct in6_addr { union { __u8 u6_addr8[16]; __be32 u6_addr32[4]; }; };
struct flow { __be32 saddr, daddr; __u16 sport, dport; __u8 proto; };
typedef struct flow flow_t;
struct stats {
    __u64 packets; __s32 delta; _Bool seen; char name[8]; __u8 mac[6]; enum verdict last; float rate; double mean;
    struct flow flow; struct { __u16 low; __u16 high; }; union { __u32 word; __u8 bytes[4]; } raw; void *pointer;
    __s16 series[3]; };
struct bits { __u32 version : 4; __u32 ihl : 4; int balance : 6; __u64 big : 50; enum verdict v : 8; };
struct empty {}; struct address { __u8 bytes[16]; };
const int (*table)[4]; int (*callback)(struct flow *, const char *name, ...); const char *const names[2]; flow_t *f;
struct stats s; struct bits b; struct in6_addr a; enum verdict v; struct empty e; volatile __u32 *volatile vp;
struct address d; __u32 counters[4];
"""


class Flow(ctypes.LittleEndianStructure):
    _fields_ = (
        ("saddr", ctypes.c_uint32),
        ("daddr", ctypes.c_uint32),
        ("sport", ctypes.c_uint16),
        ("dport", ctypes.c_uint16),
        ("proto", ctypes.c_uint8),
    )


class LowHigh(ctypes.LittleEndianStructure):
    _fields_ = (("low", ctypes.c_uint16), ("high", ctypes.c_uint16))


class Raw(ctypes.Union):
    _fields_ = (("word", ctypes.c_uint32), ("bytes", ctypes.c_uint8 * 4))


class Stats(ctypes.LittleEndianStructure):
    _anonymous_ = ("low_high",)
    _fields_ = (
        ("packets", ctypes.c_uint64),
        ("delta", ctypes.c_int32),
        ("seen", ctypes.c_bool),
        ("name", ctypes.c_char * 8),
        ("mac", ctypes.c_uint8 * 6),
        ("last", ctypes.c_uint32),
        ("rate", ctypes.c_float),
        ("mean", ctypes.c_double),
        ("flow", Flow),
        ("low_high", LowHigh),
        ("raw", Raw),
        ("pointer", ctypes.c_uint64),
        ("series", ctypes.c_int16 * 3),
    )


@pytest.fixture(scope="module")
def btf(compiler):
    return read_btf_file(compiler.compile(SOURCE))


def var(btf, name):
    return btf.type(btf.find(name, Kind.VAR)).type_id


def some_stats() -> Stats:
    stats = Stats(
        packets=2**63 + 5, delta=-7, seen=True, name=b"eth0", last=128, rate=0.5, mean=math.pi, pointer=0x1234
    )
    stats.mac[:] = bytes.fromhex("020000000001")
    stats.flow = Flow(int.from_bytes(bytes([10, 0, 0, 1]), "little"), 0, 1024, 25, 6)
    stats.low, stats.high = 1, 65535
    stats.raw.word = 0x04030201
    stats.series[:] = (-1, 0, 32767)
    return stats


EXPECTED = {
    "packets": 2**63 + 5,
    "delta": -7,
    "seen": True,
    "name": "eth0",
    "mac": [2, 0, 0, 0, 0, 1],
    "last": "REROUTE",
    "rate": 0.5,
    "mean": math.pi,
    "flow": {"saddr": 0x0100000A, "daddr": 0, "sport": 1024, "dport": 25, "proto": 6},
    "low": 1,
    "high": 65535,
    "raw": {"word": 0x04030201, "bytes": [1, 2, 3, 4]},
    "pointer": 0x1234,
    "series": [-1, 0, 32767],
}


def test_a_struct_becomes_a_dict_of_what_c_sees(btf):
    assert decode(btf, btf.find("stats", Kind.STRUCT), bytes(some_stats())) == EXPECTED


def test_a_dict_becomes_the_bytes_that_c_sees(btf):
    assert encode(btf, btf.find("stats", Kind.STRUCT), EXPECTED) == bytes(some_stats())


@given(
    st.integers(0, 15),
    st.integers(0, 15),
    st.integers(-32, 31),
    st.integers(0, 2**50 - 1),
    st.sampled_from([0, 2, 128]),
)
def test_bitfields_are_where_the_compiler_puts_them(btf, version, ihl, balance, big, verdict):
    # Little-endian C packs from the lowest bit on; each of these still fits its own type's unit.
    whole = version | ihl << 4 | (balance & 63) << 8 | big << 14 | verdict << 64
    memory = whole.to_bytes(16, "little")
    value = decode(btf, btf.find("bits", Kind.STRUCT), memory)
    name = {0: "PASS", 2: "DROP", 128: "REROUTE"}[verdict]
    assert value == {"version": version, "ihl": ihl, "balance": balance, "big": big, "v": name}
    assert encode(btf, btf.find("bits", Kind.STRUCT), value) == memory


@given(st.binary(min_size=ctypes.sizeof(Flow), max_size=ctypes.sizeof(Flow)))
def test_decoding_and_encoding_gives_the_same_fields(btf, memory):
    type_id = btf.find("flow", Kind.STRUCT)
    value = decode(btf, type_id, memory)
    assert value == {name: getattr(Flow.from_buffer_copy(memory), name) for name, _ in Flow._fields_}
    assert decode(btf, type_id, encode(btf, type_id, value)) == value


def test_an_unknown_enumerator_stays_a_number(btf):
    assert decode(btf, var(btf, "v"), struct.pack("<I", 3)) == 3


def test_text_with_rubbish_after_its_end_stays_bytes(btf):
    stats = bytearray(bytes(some_stats()))
    at = Stats.name.offset
    stats[at : at + 8] = b"a\0b\0\0\0\0\0"
    value = decode(btf, btf.find("stats", Kind.STRUCT), bytes(stats))
    assert value["name"] == b"a\0b\0\0\0\0\0"
    assert encode(btf, btf.find("stats", Kind.STRUCT), value) == bytes(stats)


def test_members_left_out_are_zero(btf):
    type_id = btf.find("flow", Kind.STRUCT)
    assert encode(btf, type_id, {"dport": 25}) == bytes(Flow(dport=25))


def test_addresses_may_be_written_as_addresses(btf):
    flow = encode(btf, btf.find("flow", Kind.STRUCT), {"daddr": "192.0.2.7"})
    assert flow[4:8] == ipaddress.IPv4Address("192.0.2.7").packed
    address = encode(btf, btf.find("in6_addr", Kind.STRUCT), "2001:db8::1")
    assert address == ipaddress.IPv6Address("2001:db8::1").packed
    mac = encode(btf, btf.find("stats", Kind.STRUCT), {"mac": "02:00:00:00:00:01"})
    assert mac == encode(btf, btf.find("stats", Kind.STRUCT), {"mac": [2, 0, 0, 0, 0, 1]})


@pytest.mark.parametrize("name", ["in6_addr", "address"])
@pytest.mark.parametrize("text", ["2001:db8::1", "::", "192.0.2.7", "::ffff:192.0.2.7"])
def test_sixteen_bytes_may_be_written_as_an_address(btf, name, text):
    expected = ipaddress.IPv6Address(text if ":" in text else f"::ffff:{text}").packed
    assert encode(btf, btf.find(name, Kind.STRUCT), text) == expected


def test_sixteen_bytes_may_be_written_in_hex(btf):
    type_id = btf.find("address", Kind.STRUCT)
    assert encode(btf, type_id, "20010db8") == ipaddress.IPv6Address("2001:db8::").packed
    assert encode(btf, type_id, ":".join(["2a"] * 16)) == b"\x2a" * 16
    with pytest.raises(InputError, match=r"struct address\.bytes: 'nonsense' is not hex"):
        encode(btf, type_id, "nonsense")


def test_typedef_names_tell_an_address_from_a_number(btf):
    members = {m.name: m.type_id for m in btf.type(btf.find("flow", Kind.STRUCT)).members}
    assert typedef_names(btf, members["daddr"]) == ("__be32", "__u32")
    assert is_big_endian(btf, members["daddr"])
    assert not is_big_endian(btf, members["dport"])
    assert typedef_names(btf, btf.find("flow_t", Kind.TYPEDEF)) == ("flow_t",)


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("stats", {"packets": -(2**63) - 1}, r"struct stats\.packets: -9223372036854775809 does not fit 8 bytes"),
        ("stats", {"delta": 2**31}, r"struct stats\.delta: 2147483648 does not fit 4 bytes, signed"),
        ("stats", {"seen": 2}, r"struct stats\.seen: 2 is not true or false"),
        ("stats", {"name": "much too long"}, r"struct stats\.name: 13 bytes given, it takes 8"),
        ("stats", {"last": "REJECT"}, r"struct stats\.last: no enumerator REJECT; there are PASS, DROP, REROUTE"),
        ("stats", {"series": [1, 2]}, r"struct stats\.series: 2 elements given, it has 3"),
        ("stats", {"series": [1, 2, 99999]}, r"struct stats\.series\[2\]: 99999 does not fit 2 bytes, signed"),
        ("stats", {"flow": {"sprt": 1}}, r"struct stats\.flow: no member sprt; struct flow has saddr, daddr, sport"),
        ("stats", {"flow": 7}, r"struct stats\.flow: cannot be made from int 7"),
        ("stats", {"flow": {"daddr": "1.2.3.444"}}, r"struct stats\.flow\.daddr: 1\.2\.3\.444 is not an IPv4 address"),
        ("stats", {"packets": "many"}, r"struct stats\.packets: str 'many' is not an integer"),
        ("stats", b"short", r"struct stats: 5 bytes given, it takes \d+"),
        ("bits", {"version": 16}, r"struct bits\.version: 16 does not fit 4 bits"),
    ],
)
def test_a_value_that_does_not_fit_is_named_with_its_place(btf, name, value, message):
    with pytest.raises(InputError, match=message):
        encode(btf, btf.find(name, Kind.STRUCT), value)


def test_memory_of_the_wrong_length_is_refused(btf):
    with pytest.raises(InputError, match="struct flow: 3 bytes given, it takes 16"):
        decode(btf, btf.find("flow", Kind.STRUCT), b"abc")


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("table", "const int (*table)[4]"),
        ("callback", "int (*callback)(struct flow *, const char *, ...)"),
        ("names", "const char *const names[2]"),
        ("f", "flow_t *f"),
        ("vp", "volatile __u32 *volatile vp"),
        ("counters", "__u32 counters[4]"),
        ("v", "enum verdict v"),
    ],
)
def test_a_declaration_is_the_c_that_made_it(btf, name, text):
    assert declare(btf, var(btf, name), name) == text
