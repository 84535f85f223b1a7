"""C becomes an object that the running kernel loads, by each compiler that is here."""

from __future__ import annotations

import logging
import os
import shutil
import stat
import subprocess
from pathlib import Path

import pytest

from routebpf.errors import InputError, MissingError
from routebpf.objects import compiler as compiler_module
from routebpf.objects.btf import read_btf_file
from routebpf.objects.compiler import compile_source
from routebpf.objects.loader import load_object
from routebpf.objects.source import load_program_file

ZIG = compiler_module._find_zig()
CLANG = shutil.which("clang")
LICENCE = 'char _license[] SEC("license") = "GPL";\n'
SMALL = '#include <routebpf.h>\nSEC("lwt_xmit") int p(struct __sk_buff *skb) { return BPF_OK; }\n' + LICENCE
COUNT = (
    """
#include <routebpf.h>
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 64);
	__type(key, __u32);
	__type(value, __u64);
} bytes_to SEC(".maps");
static const volatile __u32 step = 1;
static __noinline void count(__u32 destination, __u64 length)
{
	__u64 first = length, *sum = bpf_map_lookup_elem(&bytes_to, &destination);
	if (sum)
		__sync_fetch_and_add(sum, length);
	else
		bpf_map_update_elem(&bytes_to, &destination, &first, BPF_ANY);
}
static long add(__u32 i, void *sum)
{
	*(__u64 *)sum += i;
	return 0;
}
SEC("lwt_xmit")
int by_destination(struct __sk_buff *skb)
{
	void *data = (void *)(long)skb->data, *end = (void *)(long)skb->data_end;
	struct iphdr *ip = data;
	struct in6_addr zero = {};
	__u64 sum = 0;
	int i, turns = 0;
	if (skb->protocol != bpf_htons(ETH_P_IP) || data + sizeof(*ip) > end)
		return BPF_DROP;
	bpf_loop(4, add, &sum, 0);
	bpf_for(i, 0, 3)
		if (ip->ihl == 5)
			turns |= 1 << (i & 3);
	bpf_printk("to %x: %d %d", ip->daddr, (int)sum, turns);
	bpf_printk("%d %d %d %d", 1, 2, 3, zero.s6_addr32[0]);
	count(ip->daddr, skb->len * step);
	return sum == 6 && turns == 7 ? 42 : BPF_DROP;
}
"""
    + LICENCE
)
IPV4 = bytes(12) + bytes.fromhex("0800 4500001c000040004011000001020304 0a000001 0035003500080000".replace(" ", ""))


@pytest.fixture(params=[name for name, there in (("clang", CLANG), ("ziglang", ZIG)) if there])
def only(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> str:
    """One compiler, the others hidden."""
    if request.param == "ziglang":
        monkeypatch.setenv("PATH", str(tmp_path))
        monkeypatch.setenv("HOME", "/proc/nowhere")
    else:
        monkeypatch.setattr(compiler_module, "_find_zig", lambda: None)
    return str(request.param)


def written(directory: Path, text: str, name: str = "program.bpf.c") -> Path:
    source = directory / name
    source.write_text(text)
    return source


@pytest.mark.kernel
@pytest.mark.usefixtures("only")
@pytest.mark.parametrize("cpu", ["v1", "v2", "v3"])
def test_the_running_kernel_loads_and_runs_what_was_compiled(tmp_path: Path, in_kernel: type, cpu: str) -> None:
    kernel = read_btf_file("/sys/kernel/btf/vmlinux")
    loaded = load_object(compile_source(written(tmp_path, COUNT), cpu=cpu), target_btf=kernel)
    with in_kernel(loaded, kernel) as running:
        assert running.run("by_destination", IPV4) == 42
        assert int.from_bytes(running.lookup("bytes_to", bytes([10, 0, 0, 1])), "little") == len(IPV4) - 14


@pytest.mark.usefixtures("only")
def test_the_object_has_types_and_lines_of_the_source(tmp_path: Path) -> None:
    loaded = load_program_file(written(tmp_path, COUNT))
    program = loaded.programs["by_destination"]
    assert {line.text.strip() for line in program.lines} >= {"count(ip->daddr, skb->len * step);"}
    assert {Path(line.file).name for line in program.lines} >= {"program.bpf.c"}
    assert loaded.maps["bytes_to"].key_size == 4
    assert loaded.license == "GPL"


def test_a_source_that_is_wrong_shows_the_compiler_s_words_and_exit(tmp_path: Path, only: str) -> None:
    source = written(tmp_path, "#include <routebpf.h>\nint p(void) { return nonsense; }\n")
    with pytest.raises(InputError) as caught:
        compile_source(source)
    text = str(caught.value)
    assert f"cannot compile {source}" in text
    assert f"{source}:2:" in text
    assert "use of undeclared identifier 'nonsense'" in text
    assert f"{only} stopped with exit 1" in text
    assert caught.value.exit_code == 2


@pytest.mark.usefixtures("only")
def test_warnings_go_to_the_log(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    source = written(tmp_path, SMALL + "int q(void) { int unset; return unset; }\n")
    with caplog.at_level(logging.WARNING):
        compile_source(source, flags=["-Wall"])
    assert "uninitialized" in caplog.text


@pytest.mark.usefixtures("only")
def test_headers_beside_the_source_and_of_the_flags_are_found(tmp_path: Path) -> None:
    (tmp_path / "flags").mkdir()
    written(tmp_path, "#define BESIDE 0\n", "beside.h")
    written(tmp_path / "flags", "#define GIVEN 0\n", "given.h")
    text = '#include <beside.h>\n#include "given.h"\n' + SMALL.replace("BPF_OK", "BESIDE + GIVEN + DEFINED")
    assert compile_source(written(tmp_path, text), flags=[f"-I{tmp_path / 'flags'}", "-DDEFINED=0"])


@pytest.mark.usefixtures("only")
def test_a_directory_that_cannot_be_written_is_no_hindrance(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = written(tmp_path, SMALL)
    before = sorted(os.listdir(tmp_path))
    monkeypatch.chdir(tmp_path)
    tmp_path.chmod(stat.S_IRUSR | stat.S_IXUSR)
    try:
        assert load_object(compile_source(source.name)).programs
    finally:
        tmp_path.chmod(stat.S_IRWXU)
    assert sorted(os.listdir(tmp_path)) == before


def test_without_any_compiler_the_message_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(compiler_module, "_find_zig", lambda: None)
    with pytest.raises(MissingError, match=r"pip install routebpf\[clang\]") as caught:
        compile_source(written(tmp_path, SMALL))
    assert caught.value.exit_code == 3


def test_a_clang_with_a_version_in_its_name_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if not CLANG:
        pytest.skip("no clang here")
    (tmp_path / "clang-17").symlink_to(os.path.realpath(CLANG))
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(compiler_module, "_find_zig", lambda: None)
    assert compile_source(written(tmp_path, SMALL))


def fake(directory: Path, name: str, text: str) -> None:
    program = directory / name
    program.write_text(f'#!/bin/sh\necho "{text}" >&2\nexit 1\n')
    program.chmod(0o755)


def test_a_clang_that_has_no_bpf_gives_way_to_the_next(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if not ZIG:
        pytest.skip("no ziglang here")
    fake(tmp_path, "clang", "error: unable to create target: 'No available targets are compatible with triple bpfel'")
    monkeypatch.setenv("PATH", f"{tmp_path}:/bin")
    monkeypatch.setattr(compiler_module, "_CLANG_VERSIONS", ())
    assert compile_source(written(tmp_path, SMALL))
    monkeypatch.setattr(compiler_module, "_find_zig", lambda: None)
    with pytest.raises(MissingError, match="clang cannot compile for the BPF machine"):
        compile_source(written(tmp_path, SMALL))


@pytest.mark.usefixtures("only")
def test_an_instruction_set_that_no_compiler_knows_is_named(tmp_path: Path) -> None:
    with pytest.raises(MissingError, match=r"instruction set v9 \(-mcpu=v9\)"):
        compile_source(written(tmp_path, SMALL), cpu="v9")


def test_the_compiler_can_be_chosen(tmp_path: Path) -> None:
    source = written(tmp_path, SMALL)
    if CLANG:
        assert compile_source(source, clang=CLANG)
    with pytest.raises(MissingError, match="the compiler no-such-clang is not here"):
        compile_source(source, clang="no-such-clang")


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("gone.bpf.c", None, "gone.bpf.c: No such file"),
        ("gone.o", None, "gone.o: No such file"),
        ("empty.o", b"", "empty.o: it is empty"),
        ("empty.c", b"", "empty.c: it is empty"),
        ("notes.txt", b"hello", "notes.txt: it is neither an ELF object nor C source"),
        ("text.o", b"hello", "text.o: it is neither an ELF object nor C source"),
    ],
)
def test_a_file_that_is_no_program_is_named_with_the_reason(
    tmp_path: Path, name: str, content: bytes | None, message: str
) -> None:
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(InputError, match=message):
        load_program_file(tmp_path / name)


def test_a_directory_is_no_program(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="it is a directory"):
        load_program_file(tmp_path)


def test_an_object_is_read_whatever_its_name(tmp_path: Path) -> None:
    made = tmp_path / "program"
    made.write_bytes(compile_source(written(tmp_path, SMALL)))
    assert list(load_program_file(made).programs) == ["p"]


def test_messages_of_a_compiled_source_name_the_source(tmp_path: Path) -> None:
    source = written(tmp_path, "#include <routebpf.h>\nint p(void *c) { return 0; }\n")
    with pytest.raises(InputError, match=str(source)):
        load_program_file(source)


# As authors of LWT programs write with libbpf: includes, and what they use of them.
LIBBPF_STYLE = {
    "encap": """
#include <stddef.h>
#include <string.h>
#include <linux/bpf.h>
#include <linux/ip.h>
#include <linux/ipv6.h>
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_endian.h>
struct gre { __be16 flags; __be16 protocol; };
SEC("encap_gre")
int do_encap(struct __sk_buff *skb)
{
	struct { struct iphdr ip; struct gre gre; } hdr;
	memset(&hdr, 0, sizeof(hdr));
	hdr.ip.ihl = 5;
	hdr.ip.version = 4;
	hdr.ip.ttl = 0x40;
	hdr.ip.protocol = 47;
	hdr.ip.daddr = bpf_htonl(0xac100164);
	hdr.ip.tot_len = bpf_htons(skb->len + sizeof(hdr));
	hdr.gre.protocol = skb->protocol;
	return bpf_lwt_push_encap(skb, BPF_LWT_ENCAP_IP, &hdr, sizeof(hdr)) ? BPF_DROP : BPF_LWT_REROUTE;
}
""",
    "checksums": """
#include <stdint.h>
#include <linux/if_ether.h>
#include <linux/in.h>
#include <linux/tcp.h>
#include <linux/udp.h>
#include <linux/icmp.h>
#include <linux/icmpv6.h>
#include <linux/ip.h>
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_endian.h>
#define IP_CSUM_OFF offsetof(struct iphdr, check)
#define TCP_CSUM_OFF (sizeof(struct iphdr) + offsetof(struct tcphdr, check))
SEC("nat")
int do_nat(struct __sk_buff *skb)
{
	uint8_t proto;
	__be32 old, new = bpf_htonl(0x0a000001);
	if (bpf_skb_load_bytes(skb, offsetof(struct iphdr, protocol), &proto, 1) < 0 || proto != IPPROTO_TCP)
		return BPF_OK;
	bpf_skb_load_bytes(skb, offsetof(struct iphdr, daddr), &old, 4);
	bpf_l4_csum_replace(skb, TCP_CSUM_OFF, old, new, BPF_F_PSEUDO_HDR | sizeof(new));
	bpf_l3_csum_replace(skb, IP_CSUM_OFF, old, new, sizeof(new));
	bpf_skb_store_bytes(skb, offsetof(struct iphdr, daddr), &new, sizeof(new), 0);
	return bpf_clone_redirect(skb, 1, BPF_F_INGRESS) ? BPF_DROP : BPF_OK;
}
""",
    "events": """
#include <linux/bpf.h>
#include <linux/if_packet.h>
#include <bpf/bpf_helpers.h>
struct event { __u32 length; __u32 kind; };
struct { __uint(type, BPF_MAP_TYPE_RINGBUF); __uint(max_entries, 4096); } events SEC(".maps");
struct {
	__uint(type, BPF_MAP_TYPE_PERF_EVENT_ARRAY);
	__uint(max_entries, 8);
	__uint(key_size, 4);
	__uint(value_size, 4);
} perf SEC(".maps");
struct inner { __uint(type, BPF_MAP_TYPE_ARRAY); __uint(max_entries, 1); __type(key, __u32); __type(value, __u64); };
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY_OF_MAPS);
	__uint(max_entries, 1);
	__type(key, __u32);
	__array(values, struct inner);
} outer SEC(".maps");
SEC("sample")
int do_sample(struct __sk_buff *skb)
{
	struct event *event, on_stack = {};
	char text[16];
	__u32 key = 0;
	if (skb->pkt_type == PACKET_OUTGOING)
		return BPF_OK;
	event = bpf_ringbuf_reserve(&events, sizeof(*event), 0);
	if (event) {
		event->length = skb->len;
		bpf_ringbuf_submit(event, BPF_RB_NO_WAKEUP);
	}
	BPF_SNPRINTF(text, sizeof(text), "%d %s", skb->len, "x");
	bpf_map_lookup_elem(&outer, &key);
	bpf_perf_event_output(skb, &perf, BPF_F_CURRENT_CPU | (__u64)skb->len << 32, &on_stack, sizeof(on_stack));
	return BPF_OK;
}
""",
    "core": """
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_core_read.h>
struct net_device { int ifindex; unsigned int mtu; } __attribute__((preserve_access_index));
struct sk_buff { struct net_device *dev; unsigned int len; __u8 pkt_type : 3; } __attribute__((preserve_access_index));
struct iphdr { __u8 ihl : 4; __u8 version : 4; } __attribute__((preserve_access_index));
enum pid_type { PIDTYPE_PID };
extern void *bpf_cast_to_kern_ctx(void *) __ksym;
SEC("peek")
int do_peek(struct __sk_buff *context)
{
	struct sk_buff *skb = bpf_cast_to_kern_ctx(context);
	unsigned int mtu = 0;
	__u8 start[20] __attribute__((aligned(8)));
	struct iphdr *ip = (void *)start;
	bpf_skb_load_bytes(context, 0, start, sizeof(start));
	if (BPF_CORE_READ_BITFIELD(ip, version) != 4 || BPF_CORE_READ_BITFIELD_PROBED(ip, ihl) != 5)
		return BPF_DROP;
	if (!bpf_core_type_exists(struct net_device) || !bpf_core_field_exists(skb->dev))
		return BPF_DROP;
	if (bpf_core_field_size(struct sk_buff, len) != 4 || !bpf_core_enum_value_exists(enum pid_type, PIDTYPE_PID))
		return BPF_DROP;
	BPF_CORE_READ_INTO(&mtu, skb, dev, mtu);
	if (mtu != BPF_CORE_READ(skb, dev, mtu) || BPF_CORE_READ_BITFIELD_PROBED(skb, pkt_type))
		return BPF_DROP;
	if (BPF_CORE_READ_BITFIELD(skb, pkt_type) || bpf_core_type_size(struct net_device) < 8)
		return BPF_DROP;
	return BPF_CORE_READ(skb, dev, ifindex) == context->ifindex ? 42 : BPF_DROP;
}
""",
}
LIBBPF_STYLE["kernel's own types"] = """
typedef unsigned char __u8; typedef unsigned short __u16; typedef unsigned int __u32; typedef unsigned long long __u64;
typedef int __s32; typedef long long __s64; typedef __u16 __be16; typedef __u32 __be32; typedef __u32 __wsum;
typedef _Bool bool; typedef __u32 u32; typedef __u64 u64;
enum { false = 0, true = 1 };
enum bpf_map_type { BPF_MAP_TYPE_HASH = 1 };
struct __sk_buff { __u32 len; __u32 pkt_type; __u32 mark; };
struct bpf_iter_num { __u64 __opaque[1]; } __attribute__((aligned(8)));
struct bpf_dynptr { __u64 __opaque[2]; } __attribute__((aligned(8)));
extern int bpf_iter_num_new(struct bpf_iter_num *it, int start, int end) __attribute__((weak, section(".ksyms")));
extern int bpf_dynptr_from_skb(struct __sk_buff *s, u64 flags, struct bpf_dynptr *d) __attribute__((section(".ksyms")));
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_core_read.h>
#include <bpf/bpf_endian.h>
SEC("mark")
int do_mark(struct __sk_buff *skb)
{
	struct bpf_dynptr packet;
	int i, sum = 0;
	bpf_for(i, 0, 4)
		sum += i & 3;
	bpf_repeat(2)
		skb->mark = bpf_ntohl(sum & 1);
	return bpf_dynptr_from_skb(skb, 0, &packet) ? 2 : 0;
}
"""
RETURNS = {"kernel's own types": 0, "encap": 128, "checksums": 0, "events": 0, "core": 42}


@pytest.mark.kernel
@pytest.mark.usefixtures("only")
@pytest.mark.parametrize("name", LIBBPF_STYLE)
def test_programs_in_the_style_of_libbpf_compile_and_the_kernel_runs_them(
    tmp_path: Path, in_kernel: type, name: str
) -> None:
    kernel = read_btf_file("/sys/kernel/btf/vmlinux")
    data = compile_source(written(tmp_path, LIBBPF_STYLE[name] + LICENCE), flags=["-Wall", "-Werror"])
    loaded = load_object(data, program_type="LWT_XMIT", target_btf=kernel)
    with in_kernel(loaded, kernel) as running:
        assert running.run(next(iter(loaded.programs)), IPV4) == RETURNS[name]


def test_nothing_is_started_but_the_compiler_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    started = []
    run = subprocess.run

    def counted(command: list[str], **options: object) -> object:
        started.append(command[0])
        return run(command, **options)  # type: ignore[call-overload]

    monkeypatch.setattr(subprocess, "run", counted)
    compile_source(written(tmp_path, SMALL))
    assert len(started) == 1
