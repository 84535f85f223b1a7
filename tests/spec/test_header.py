"""The C headers: what is shipped is what the tables give, and layouts and values are the running kernel's."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from pathlib import Path

import pytest

from routebpf.errors import InputError
from routebpf.objects.btf import Btf, read_btf_file
from routebpf.objects.btf_types import Array, Composite, Enum, Float, Int, Kind, Ptr
from routebpf.objects.compiler import INCLUDE, compile_source
from routebpf.objects.loader import load_object
from routebpf.spec import HELPERS, KFUNCS, PROGRAM_TYPES, ProgramType
from routebpf.spec.header import HEADERS

BY_LIBBPF = "#include <linux/bpf.h>\n#include <bpf/bpf_helpers.h>\n"
BY_OURS = "#include <routebpf.h>\n"
LICENCE = 'char _license[] SEC("license") = "GPL";\n'
# Layouts that a program meets: in the packet, in the context's reach, in maps, on the stack.
STRUCTS = {
    "linux/bpf.h": (
        "__sk_buff bpf_dynptr bpf_flow_keys bpf_iter_bits bpf_iter_css bpf_iter_css_task bpf_iter_dmabuf"
        " bpf_iter_kmem_cache bpf_iter_num bpf_iter_task bpf_iter_task_vma bpf_list_head bpf_list_node"
        " bpf_perf_event_value bpf_pidns_info bpf_rb_node bpf_rb_root bpf_refcount bpf_res_spin_lock bpf_sock"
        " bpf_spin_lock bpf_task_work bpf_timer bpf_tunnel_key bpf_wq btf_ptr"
    ),
    "linux/if_arp.h": "arphdr",
    "linux/if_ether.h": "ethhdr",
    "linux/icmp.h": "icmphdr",
    "linux/icmpv6.h": "icmp6hdr",
    "linux/in.h": "in_addr",
    "linux/ip.h": "iphdr ip_auth_hdr ip_esp_hdr",
    "linux/ipv6.h": "ipv6hdr in6_addr ipv6_opt_hdr ipv6_rt_hdr",
    "linux/if_vlan.h": "vlan_hdr",
    "linux/seg6.h": "ipv6_sr_hdr",
    "linux/tcp.h": "tcphdr",
    "linux/udp.h": "udphdr",
}
PAIRS = [(header, name) for header, names in STRUCTS.items() for name in names.split()]


@pytest.fixture(scope="module")
def ours(tmp_path_factory: pytest.TempPathFactory) -> Btf:
    """The types of all structs, as a program has them."""
    text = "#include <linux/types.h>\n" + "".join(f"#include <{header}>\n" for header in STRUCTS)
    text += "".join(f"struct {name} it_{name};\n" for _, name in PAIRS)
    text += '__attribute__((section("lwt_xmit"))) int p(void *context) { return 0; }\n'
    btf = load_object(compiled(tmp_path_factory.mktemp("structs"), text)).btf
    assert btf is not None
    return btf


@pytest.fixture(scope="module")
def kernel() -> Btf:
    return read_btf_file("/sys/kernel/btf/vmlinux")


def compiled(directory: Path, text: str, flags: Sequence[str] = ()) -> bytes:
    source = directory / "program.bpf.c"
    source.write_text(text)
    return compile_source(source, flags=flags)


@pytest.mark.parametrize("name", HEADERS)
def test_the_shipped_header_is_what_the_tables_give(name: str) -> None:
    assert (INCLUDE / name).read_text() == HEADERS[name](), "run: python -m routebpf.spec.header"


def test_every_helper_and_kfunc_that_a_route_has_can_be_named(tmp_path: Path) -> None:
    names = [row.name for row in HELPERS if row.program_types]
    helpers = "".join(f"\tsum += (long) {name};\n" for name in names)
    kfuncs = "".join(f"\tsum += (long) {name};\n" for name in KFUNCS)
    body = f"{{\n\tlong sum = 0;\n{helpers}{kfuncs}\treturn sum;\n}}\n"
    text = f'{BY_OURS}SEC("lwt_xmit") long all(struct __sk_buff *skb)\n{body}'
    btf = load_object(compiled(tmp_path, text + LICENCE)).btf
    assert btf is not None
    assert {one for one in KFUNCS if btf.find(one, Kind.FUNC)} == set(KFUNCS)


@pytest.mark.parametrize("includes", [BY_LIBBPF, BY_OURS], ids=["libbpf", "routebpf"])
def test_to_call_a_helper_that_no_route_has_is_an_error_that_says_so(tmp_path: Path, includes: str) -> None:
    text = f'{includes}SEC("lwt_xmit") int p(struct __sk_buff *skb) {{ return bpf_skb_vlan_push(skb, 1, 2); }}\n'
    with pytest.raises(InputError, match=r"bpf_skb_vlan_push.*LWT programs do not have this helper"):
        compiled(tmp_path, text)


def test_both_ways_to_include_go_together(tmp_path: Path) -> None:
    text = (
        f'{BY_OURS}{BY_LIBBPF}#include <bpf/bpf_endian.h>\nSEC("lwt_xmit") int p(void *c) {{ return bpf_htons(1); }}\n'
    )
    assert compiled(tmp_path, text + LICENCE, flags=["-Wall", "-Werror"])


@pytest.mark.parametrize("first", ["routebpf.h", "linux/bpf.h"])
def test_each_header_stands_alone_and_beside_all_others(tmp_path: Path, first: str) -> None:
    headers = sorted(str(path.relative_to(INCLUDE)) for path in INCLUDE.rglob("*.h"))
    for header in headers:
        needs = "" if header == first else "#include <linux/types.h>\n"
        assert compiled(tmp_path, f"{needs}#include <{header}>\n", flags=["-Wall", "-Werror"]), header
    everything = "".join(f"#include <{one}>\n" for one in [first, *headers])
    assert compiled(tmp_path, everything, flags=["-Wall", "-Werror", "-Wno-macro-redefined"])


def layout(btf: Btf, type_id: int) -> object:
    """Offsets, sizes and names of what a type is made of, without the names of its types."""
    _, found = btf.strip(type_id)
    match found:
        case Composite():
            members = []
            for member in found.members:
                inner = layout(btf, member.type_id)
                if member.name.startswith("__opaque") or not (member.name or isinstance(inner, tuple)):
                    continue
                members.append((member.name, member.bit_offset, member.bits, inner))
            return found.kind, found.size, tuple(members)
        case Array():
            return "array", found.length, layout(btf, found.type_id)
        case Int() | Enum() | Float():
            return found.size
        case Ptr():
            return 8
    raise AssertionError(found)


@pytest.mark.kernel
@pytest.mark.parametrize("name", [name for _, name in PAIRS])
def test_a_struct_lies_as_in_the_kernel(ours: Btf, kernel: Btf, name: str) -> None:
    mine, theirs = ours.find(name, Kind.STRUCT), kernel.find(name, Kind.STRUCT)
    assert mine is not None
    assert theirs is not None
    assert layout(ours, mine) == layout(kernel, theirs)


# Enumerators that clang or libbpf define, or that end an enum.
NOT_OF_THE_KERNEL = re.compile(r"BPF_(FIELD|TYPE_ID_LOCAL|TYPE_ID_TARGET|TYPE_|ENUMVAL)|LIBBPF|TRI_|__.*MAX|.*_MAX$")


@pytest.mark.kernel
def test_enumerators_have_the_kernel_s_values(tmp_path: Path, kernel: Btf) -> None:
    theirs: dict[str, int] = {}
    for _, one in kernel.types():
        if isinstance(one, Enum):
            theirs.update(one.values)
    text = "".join(path.read_text() for path in sorted(INCLUDE.rglob("*.h")))
    bodies = re.findall(r"^enum[ \w]*\{(.*?)\}", re.sub(r"/\*.*?\*/|^#.*?$", "", text, flags=re.S | re.M), re.S | re.M)
    names = sorted({name for body in bodies for name in re.findall(r"^\s*([A-Z]\w+)", body, re.M)})
    names = [name for name in names if not NOT_OF_THE_KERNEL.match(name)]
    known = [name for name in names if name in theirs]
    assert len(known) > 350
    assert [name for name in names if name not in theirs] == []
    headers = "".join(f"#include <{header}>\n" for header in ("routebpf.h", "linux/lwtunnel.h"))
    source = f"{headers}const long long values[] = {{ {', '.join(known)} }};\n"
    source += 'SEC("lwt_xmit") int p(struct __sk_buff *skb) { return values[skb->len & 7]; }\n'
    definition = load_object(compiled(tmp_path, source)).maps[".rodata"]
    assert definition.data is not None
    mask = (1 << 64) - 1
    found = [int.from_bytes(definition.data[at : at + 8], "little") for at in range(0, 8 * len(known), 8)]
    assert dict(zip(known, found, strict=True)) == {n: theirs[n] & mask for n in known}


@pytest.mark.skipif(
    not os.path.exists("/usr/include/linux/if_ether.h"), reason="no kernel headers here to compare with"
)
def test_macros_have_the_values_of_the_installed_kernel_headers(tmp_path: Path) -> None:
    headers = [str(path.relative_to(INCLUDE)) for path in sorted((INCLUDE / "linux").glob("*.h"))]
    compared = 0
    for header in headers:
        if not Path("/usr/include", header).exists() or header in ("linux/bpf.h", "linux/stddef.h", "linux/swab.h"):
            continue
        names = re.findall(r"^#define (\w+) +[-(]?\(?(?:unsigned int\))?\d", (INCLUDE / header).read_text(), re.M)
        if not names:
            continue
        theirs = Path("/usr/include", header).read_text() + "".join(
            Path("/usr/include/asm-generic", extra).read_text()
            for extra in ("errno.h", "errno-base.h")
            if header == "linux/errno.h"
        )
        for name in names:
            value = re.search(rf"^#\s*define\s+{name}\s+(.*?)\s*(/\*.*)?$", theirs, re.M)
            if value is None or not re.fullmatch(r"(?i)[\dxa-fUL()|<\s-]+|\(\(unsigned.*", value[1]):
                continue
            check = f'_Static_assert(({name}) == ({value[1]}), "{name}");\n'
            (tmp_path / "checks.h").open("a").write(f"#include <{header}>\n{check}")
            compared += 1
    assert compared > 150
    assert compiled(tmp_path, '#include <linux/types.h>\n#include "checks.h"\n')


@pytest.mark.parametrize("row", PROGRAM_TYPES, ids=lambda row: row.name)
def test_a_section_named_after_a_program_type_makes_a_program_of_it(tmp_path: Path, row: ProgramType) -> None:
    text = f'{BY_OURS}SEC("{row.section}") int p(struct __sk_buff *skb) {{ return BPF_OK; }}\n{LICENCE}'
    assert load_object(compiled(tmp_path, text)).programs["p"].program_type == row.name
