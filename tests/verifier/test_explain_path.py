"""What the path says of C conditions is so: programs that break a rule where a condition must hold, or must not."""

from __future__ import annotations

import shutil
from functools import cache

import pytest

from routebpf.hosts.verification import verify_programs
from routebpf.objects.compiler import compile_source
from routebpf.objects.loader import load_object
from routebpf.verifier.explain_path import Turn

pytestmark = pytest.mark.skipif(not shutil.which("clang"), reason="no clang here")

# Conditions, and whether it can always be told of them, by any compiler, what they were.
CONDITIONS = (
    ("skb->mark == 5", True),
    ("skb->mark != 5", True),
    ("skb->mark > 5", True),
    ("skb->mark >= 5", True),
    ("skb->mark < 5", True),
    ("skb->mark <= 5", True),
    ("5 < skb->mark", True),
    ("skb->mark > 0x7fffffff", False),
    ("(__s32)skb->mark < -3", True),
    ("(__s32)skb->mark >= 0", False),
    ("skb->mark", True),
    ("!skb->mark", True),
    ("!!skb->mark", True),
    ("skb->mark & 4", True),
    ("!(skb->mark & 4)", True),
    ("(skb->mark & 12) == 8", True),
    ("skb->mark == skb->priority", True),
    ("skb->mark < skb->priority", True),
    ("skb->mark >= skb->priority", True),
    ("skb->protocol == bpf_htons(ETH_P_IP)", True),
    ("bpf_get_prandom_u32() > 7", True),
    ("is_zero(skb->mark)", False),
    ("!is_zero(skb->mark)", False),
    ("is_zero(skb->mark) == 1", False),
    ("flag", False),
    ("!flag", False),
    ("skb->mark ? skb->priority : skb->len", False),
)
_FAULT = "*(volatile __u8 *)(long)skb->data_end = 0;"


@cache
def _turns(body: str) -> tuple[Turn, ...]:
    """The path to the fault of a program with this body."""
    source = (
        "#include <routebpf.h>\n"
        "static __always_inline int is_zero(__u32 x) { return x == 0; }\n"
        f'SEC("lwt_xmit") int probe(struct __sk_buff *skb)\n{{\nint flag = skb->mark == 0;\n{body}\n}}\n'
        'char LICENSE[] SEC("license") = "GPL";\n'
    )
    return _turns_of_source(source)


def _turns_of_source(source: str) -> tuple[Turn, ...]:
    import tempfile
    from pathlib import Path

    with tempfile.TemporaryDirectory(prefix="routebpf-") as folder:
        path = Path(folder, "probe.bpf.c")
        path.write_text(source)
        held = load_object(compile_source(path, flags=["-w"]))
    (verdict,) = verify_programs(held)
    assert verdict.refusal is not None
    assert verdict.refusal.kind == "packet-end-access"
    return verdict.refusal.path


@pytest.mark.parametrize(("condition", "is_clear"), CONDITIONS)
@pytest.mark.parametrize("holds", [True, False], ids=["holds", "fails"])
def test_a_condition_was_what_it_must_have_been(condition: str, is_clear: bool, holds: bool) -> None:
    fault = _FAULT
    body = f"if ({condition})\n{fault}\n" if holds else f"if ({condition})\nreturn BPF_DROP;\n{fault}\n"
    turns = [one for one in _turns(f"{body}return BPF_OK;") if "if (" in one.source]
    said = [one.outcome for one in turns if one.outcome in ("was true", "was false")]
    right = "was true" if holds else "was false"
    assert set(said) <= {right}, turns
    if is_clear:
        assert said == [right], turns


@pytest.mark.parametrize("left", ["skb->mark == 5", "skb->mark > 7", "!skb->mark"])
@pytest.mark.parametrize("right", ["skb->priority != 3", "skb->priority < skb->len"])
def test_of_two_conditions_each_is_told(left: str, right: str) -> None:
    both = [one.outcome for one in _turns(f"if ({left} && {right})\n{_FAULT}\nreturn BPF_OK;")]
    assert both == [f"with `{left}` true", f"with `{right}` true"]
    neither = [one.outcome for one in _turns(f"if ({left} || {right})\nreturn BPF_OK;\n{_FAULT}\nreturn BPF_OK;")]
    assert neither == [f"with `{left}` false", f"with `{right}` false"]


def test_a_loop_is_told_once_with_its_rounds() -> None:
    body = f"for (int i = 0; i < 20; i++) {{\n if (bpf_get_prandom_u32() == 5)\n  return 0;\n}}\n{_FAULT}\nreturn 0;"
    source = f"#pragma clang loop unroll(disable)\n{body}"
    told = [(one.source[:3], one.outcome) for one in _turns(source)]
    assert ("for", "went round again, 19 times") in told
    assert told[-1] == ("for", "was left")


def test_a_call_is_told() -> None:
    turns = _turns_of_source(
        "#include <routebpf.h>\n"
        "static __noinline int bad(struct __sk_buff *skb)\n{\n"
        f"if (skb->mark > 5)\n{_FAULT}\nreturn 0;\n}}\n"
        'SEC("lwt_xmit") int probe(struct __sk_buff *skb)\n{\nreturn bad(skb) + 1;\n}\n'
        'char LICENSE[] SEC("license") = "GPL";\n'
    )
    assert [(one.line, one.outcome) for one in turns] == [(10, "called bad()"), (4, "was true")]
