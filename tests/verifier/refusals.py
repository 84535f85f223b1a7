"""Programs that the kernel refuses, one file of C each in `messages/`, and what is said of them.

A file is named after the class of its refusal, with `--` and what is special about it. Those that begin with
`unprivileged--` are refused to processes without CAP_PERFMON only.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path

from routebpf.errors import RejectedError
from routebpf.hosts.verification import verify_programs
from routebpf.kernel.object import load_in_kernel, read_for_kernel
from routebpf.kernel.verifier_log import read_reasons
from routebpf.objects.compiler import compile_source
from routebpf.objects.loader import load_object
from routebpf.verifier.explain import Explanation
from routebpf.verifier.explain_text import explanation_text
from without_capabilities import without

FOLDER = Path(__file__).parent / "messages"
SUFFIX = ".bpf.c"
NAMES = sorted(path.name.removesuffix(SUFFIX) for path in FOLDER.glob(f"*{SUFFIX}"))
CLANG = 14  # the version of clang that the texts are of
_UNPRIVILEGED = "unprivileged--"


def is_unprivileged(name: str) -> bool:
    return name.startswith(_UNPRIVILEGED)


def kind(name: str) -> str:
    """The class of refusal that a file is named after."""
    return name.removeprefix(_UNPRIVILEGED).partition("--")[0]


@cache
def compiled(name: str) -> bytes:
    return compile_source(FOLDER / f"{name}{SUFFIX}", flags=["-w"])


@cache
def explanation(name: str) -> Explanation | None:
    """What our verifier says, None if it accepts the program."""
    source = load_object(compiled(name))
    (verdict,) = verify_programs(source, privileged=not is_unprivileged(name))
    return verdict.refusal


def text(name: str) -> str:
    """The whole text that a user reads, without the folder."""
    found = explanation(name)
    return f"{explanation_text(found)}\n".replace(f"{FOLDER}/", "") if found else "accepted\n"


def kernel_words(name: str, folder: Path) -> str:
    """What the running kernel's verifier says last, "" if it accepts the program."""
    path = folder / f"{name}.o"
    path.write_bytes(compiled(name))
    if is_unprivileged(name):
        return without(("CAP_PERFMON", "CAP_SYS_ADMIN"), lambda: _ask(path))
    return _ask(path)


def _ask(path: Path) -> str:
    try:
        load_in_kernel(read_for_kernel(path)).close()
    except RejectedError as error:
        return "\n".join(read_reasons(error.log))
    return ""
