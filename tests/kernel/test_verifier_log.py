"""A program that the kernel refuses: its reason, the C line, the path to it, what to do; the whole log beside it."""

from __future__ import annotations

import re

import pytest

from routebpf.errors import RejectedError
from routebpf.kernel import programs
from routebpf.kernel.object import load_in_kernel
from routebpf.kernel.object_btf import load_btf

pytestmark = pytest.mark.kernel

NULL_POINTER = """
struct { __uint(type, BPF_MAP_TYPE_HASH); __uint(max_entries, 10); __type(key, __u32); __type(value, __u64); }
    flows SEC(".maps");
static __attribute__((noinline)) int packets_of(__u32 key) {
    __u64 *value = bpf_map_lookup_elem(&flows, &key);
    return *value;
}
SEC("lwt_xmit") int run(struct __sk_buff *skb) {
    return packets_of(skb->mark);
}
"""
# By name: the source, then what the message must say; `{line}` is the line of the mark `// here`.
REFUSED = {
    "a pointer that may be null": (
        NULL_POINTER.replace("return *value;", "return *value; // here"),
        r"instruction \d+ \(r0 = .*\): R0 invalid mem access 'map_value_or_null'\n  {line} \| return \*value;.*\n"
        r"do: compare it before: `if \(!value\) return BPF_OK;`",
    ),
    "beyond the packet": (
        """
        SEC("lwt_xmit") int run(struct __sk_buff *skb) {
            struct iphdr *ip = (void *)(long)skb->data;
            return ip->ttl; // here
        }
        """,
        r"invalid access to packet, off=8 size=1.*\n  {line} \| return ip->ttl;.*"
        r"\ndo: before it, on every path: `if \(data \+ 9 >",
    ),
    "a context field that is not its own": (
        """
        SEC("lwt_xmit") int run(struct __sk_buff *skb) {
            skb->len = 7; // here
            return 0;
        }
        """,
        r"invalid bpf_context access off=0 size=4\n  {line} \| skb->len = 7;",
    ),
    "nothing returned": (
        """
        SEC("lwt_xmit") int run(struct __sk_buff *skb) {
            asm volatile("r2 = *(u32 *)(r1 + 8); if r2 == 7 goto +1; exit" ::: "r2"); // here
            return 0;
        }
        """,
        r"R0 !read_ok\n  {line} \|.*\ndo: return something on every path",
    ),
    "an instruction that is never reached": (
        'SEC("lwt_xmit") int run(struct __sk_buff *skb) { asm volatile("r0 = 1; exit"); return 0; } // here',
        r"instruction 2 \([rw]0 = 0\): unreachable insn 2\n  {line} \|",
    ),
    "a loop without an end": (
        """
        SEC("lwt_xmit") int run(struct __sk_buff *skb) {
            asm volatile("r2 = 1; if r2 == 2 goto +1; goto -2"); // here
            return 0;
        }
        """,
        r"infinite loop detected at insn \d+\n  {line} \|.*\ndo: ",
    ),
    "too many jumps pending, which the kernel calls ENOMEM": (
        """
        SEC("lwt_xmit") int run(struct __sk_buff *skb) {
            int rounds = 0;
            while (rounds < 10000 && bpf_get_prandom_u32() < 5) // here
                rounds++;
            return rounds;
        }
        """,
        r"The sequence of 8193 jumps is too complex",
    ),
    "too much stack": (
        """
        static __attribute__((noinline)) int deep(int *from) {
            char text[300]; __builtin_memset(text, *from, 300); asm volatile("" :: "r"(text) : "memory");
            return text[7];
        }
        SEC("lwt_xmit") int run(struct __sk_buff *skb) { // here
            char text[400]; __builtin_memset(text, 0, 400); asm volatile("" :: "r"(text) : "memory");
            return deep((int *)text);
        }
        """,
        r"into the kernel: program\.bpf\.c: .*stack size of 2 calls is \d+\. Too large\ndo: keep large variables",
    ),
    "a global function by itself": (
        """
        __attribute__((noinline)) int deep(int *value) {
            return *value; // here
        }
        SEC("lwt_xmit") int run(struct __sk_buff *skb) { int value = 1; return deep(&value); }
        """,
        r"\): R1 invalid mem access 'mem_or_null'\n  {line} \| return \*value;",
    ),
    "what a program of this type may not call": (
        """
        SEC("lwt_out") int run(struct __sk_buff *skb) {
            long (*bpf_clone_redirect)(struct __sk_buff *, int, int) = (void *)BPF_FUNC_clone_redirect;
            return bpf_clone_redirect(skb, 1, 0); // here
        }
        """,
        r"bpf_clone_redirect#13\n  {line} \|.*\ndo: `routebpf spec helpers` lists .*LWT_OUT .*"
        r"\nnote: it is for LWT_XMIT programs",
    ),
    "a field that this kernel does not have": (
        """
        struct sk_buff { int not_there; } __attribute__((preserve_access_index));
        SEC("lwt_xmit") int run(struct __sk_buff *ctx) {
            struct sk_buff *skb = bpf_cast_to_kern_ctx(ctx);
            return skb->not_there; // here
        }
        """,
        r"invalid func unknown#195896080\n  {line} \| return skb->.*\ndo: .*"
        r"\nnote: CO-RE: .*has no struct sk_buff\.not_there",
    ),
}


def refusal(source) -> RejectedError:
    with pytest.raises(RejectedError) as caught:
        load_in_kernel(source)
    return caught.value


@pytest.mark.parametrize("name", REFUSED)
def test_a_refused_program_shows_the_kernels_reason_and_the_c_line(read, name):
    source, pattern = REFUSED[name]
    lines = source.splitlines()
    number = 2 + next((at for at, line in enumerate(lines) if "// here" in line), 0)
    error = refusal(read(source))
    text = str(error)
    assert text.startswith("load run (LWT_"), text
    assert re.search(pattern.replace("{line}", str(number)), text), text
    reason = re.search(r": ([^:]*)(\n|$)", text.splitlines()[0])
    assert reason
    assert reason[1].split(";")[0] in error.log


def test_the_path_has_the_c_line_of_each_step_and_the_log_is_whole(read):
    error = refusal(read(NULL_POINTER))
    path = str(error).partition("the path to it:\n")[2].splitlines()
    shown = [line for line in path if " | " in line]
    assert [line.split(" | ")[1] for line in shown] == [
        'SEC("lwt_xmit") int run(struct __sk_buff *skb) {',
        "return packets_of(skb->mark);",
        "static __attribute__((noinline)) int packets_of(__u32 key) {",
        "__u64 *value = bpf_map_lookup_elem(&flows, &key);",
        "return *value;",
    ] or [line.split(" | ")[1] for line in shown][-2:] == [
        "__u64 *value = bpf_map_lookup_elem(&flows, &key);",
        "return *value;",
    ]
    steps = [line.strip() for line in path if re.match(r"    \d+: ", line)]
    numbers = [int(step.partition(":")[0]) for step in steps]
    in_log = [int(number) for number in re.findall(r"^(\d+): \([0-9a-f]{2}\)", error.log, re.MULTILINE)]
    assert numbers == in_log
    assert "processed " in error.log
    assert "; return *value;" in error.log  # the kernel has the source lines, too
    assert "processed " not in str(error)


def test_a_long_path_is_cut_to_its_end_and_says_so(read):
    body = "".join(f"*(volatile __u32 *)&skb->mark += {number};\n" for number in range(200))
    source = f'SEC("lwt_xmit") int run(struct __sk_buff *skb) {{\n{body} skb->len = 1;\n return 0;\n}}'
    error = refusal(read(source))
    assert re.search(r"the path to it, without its first \d{3} instructions:", str(error))
    assert len(str(error).splitlines()) < 40
    path = str(error).partition("the path to it")[2].splitlines()[1:]
    assert len([line for line in path if " | " in line]) <= 6
    assert error.log.count("\n") > 600


def test_an_instruction_that_jumps_to_itself_is_shown_once_with_each_state(read):
    source = 'asm volatile("r2 = *(u32 *)(r1 + 8); 1: if r2 > 5 goto 1b" ::: "r2");'
    error = refusal(read(f'SEC("lwt_xmit") int run(struct __sk_buff *skb) {{\n{source}\nreturn 0;\n}}'))
    in_log = re.findall(r"^1: \(25\) (.*)", error.log, re.MULTILINE)
    shown = re.findall(r"^    1: (.*)", str(error), re.MULTILINE)
    assert len(shown) == 2 < len(in_log)
    assert in_log[0].startswith("if r2 > 0x5 goto pc-1 1: R1=ctx()")  # this one has all registers
    assert re.fullmatch(r"if r2 > 0x5 goto pc-1 +R1=ctx\(\) R2=.*", shown[0])
    assert re.fullmatch(r"if r2 > 0x5 goto pc-1 +R2=.*", shown[1])


def test_of_many_short_lines_the_last_are_shown_each_within_a_width(read):
    asked = "".join(f'asm volatile("r2 = {at}" ::: "r2"); /* {"long " * 40} */\n' for at in range(20))
    error = refusal(read(f'SEC("lwt_xmit") int run(struct __sk_buff *skb) {{\n{asked} skb->len = 1;\n return 0;\n}}'))
    path = str(error).partition("the path to it")[2].splitlines()[1:]
    lines = [line for line in path if " | " in line]
    assert len(lines) == 6
    assert lines[-1].endswith("skb->len = 1;")
    assert {len(line) for line in lines[:-1]} == {116}
    assert all(line.endswith("…") for line in lines[:-1])


def test_a_program_whose_functions_have_no_types_is_loaded_without(read):
    source = read('SEC("lwt_xmit") int run(struct __sk_buff *skb) { return 7; }')
    program = source.programs["run"]
    untyped = program._replace(functions=tuple(one._replace(btf_type_id=0) for one in program.functions))
    with load_in_kernel(source._replace(programs={"run": untyped})) as loaded:
        assert loaded.programs["run"].info().btf_id == 0
        assert loaded.programs["run"].run(bytes(64)).returned == 7
    with load_in_kernel(source) as loaded:
        assert loaded.programs["run"].info().btf_id


def test_a_program_without_a_licence_is_told_how_to_have_one(read):
    source = 'SEC("lwt_xmit") int run(struct __sk_buff *skb) { bpf_printk("seen"); return 0; }'
    assert 'do: `char LICENSE[] SEC("license") = "GPL";`' in str(refusal(read(source, license="")))
    error = refusal(read(source, license="Proprietary"))
    assert "cannot call GPL-restricted function from non-GPL compatible program" in str(error)


def test_a_log_that_does_not_fit_is_asked_for_again(read, monkeypatch):
    monkeypatch.setattr(programs, "_FIRST_LOG_BYTES", 128)
    whole = refusal(read(NULL_POINTER)).log
    assert whole.startswith(("0: ", "func#", "Validating"))
    assert len(whole) > 128


def test_a_program_without_debug_information_is_refused_by_instruction(read):
    source = read(NULL_POINTER)
    program = source.programs["run"]._replace(lines=())
    text = str(refusal(source._replace(btf=None, programs={"run": program})))
    place = (
        r"load run \(LWT_XMIT\) into the kernel: program\.bpf\.c: instruction \d+ \(r0 = .*\): R0 invalid mem access"
    )
    assert re.match(place, text)
    assert re.search(r"the path to it:\n    0: ", text)


def test_without_types_that_the_kernel_does_not_take_a_program_runs_all_the_same(read, caplog):
    source = read("""
        __u32 seen;
        SEC("lwt_xmit") int run(struct __sk_buff *) { asm volatile("" ::: "memory"); return ++seen; }
    """)
    assert source.btf
    with pytest.raises(RejectedError, match=r"BTF: the kernel does not take it: .*Invalid arg#1") as caught:
        load_btf(source.btf)
    assert "Invalid arg#1" in caught.value.log
    with load_in_kernel(source) as loaded:
        assert loaded.programs["run"].run(bytes(64)).returned == 1
        assert loaded.maps[".bss"].lookup(bytes(4)) == b"\1\0\0\0"
    assert "the kernel goes without its types" in caplog.text
