"""One program before our verifier and before the running kernel's, and what differs between them."""

from __future__ import annotations

import ctypes
import errno
import os
import re
import struct
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path

from ground import Ground, ground

from kernel_bpf import address, bpf
from routebpf.isa import Names, assemble, encode
from routebpf.objects.btf import Btf, read_btf_file
from routebpf.objects.btf_placement import btf_for_kernel
from routebpf.objects.btf_types import Kind
from routebpf.objects.model import Function, MapDefinition, Program
from routebpf.verifier.fault import Rejected
from routebpf.verifier.register import NOT_INIT
from routebpf.verifier.register_text import register_text
from routebpf.verifier.run import Run
from routebpf.verifier.verify import Verified, verify

PROG_LOAD, MAP_CREATE, MAP_UPDATE, BTF_LOAD, MAP_FREEZE = 5, 0, 2, 18, 22
_PROGRAM_TYPES = {"LWT_IN": 10, "LWT_OUT": 11, "LWT_XMIT": 12}
_VMLINUX = Path("/sys/kernel/btf/vmlinux")
_HEAD = re.compile(r"^%(global|static) (\w+)\((.*)\)(?: -> (\w+))?$")
_STATISTICS = 4  # kernel: BPF_LOG_STATS
_TAGS = ("nonnull", "nullable", "trusted", "untrusted", "arena")
_SYMBOL = re.compile(r"ksym\[(\w+)\]")
_CALLED = re.compile(r"(?:call|subprog\[)\s*([A-Za-z_]\w*)")


@dataclass(slots=True)
class Subject:
    """A program to ask about, with its maps and BTF. `origin`: the file that the maps are of, "" for the ground."""

    program: Program
    maps: list[MapDefinition]
    btf: Btf
    license: str = "GPL"
    origin: str = ""


@dataclass(frozen=True, slots=True)
class Answer:
    """What a verifier said: None for yes, else its words. `processed` instructions, -1 if it did not say."""

    refusal: str | None
    log: str = ""
    processed: int = -1
    states: int = -1

    @property
    def is_accepted(self) -> bool:
        return self.refusal is None


def subject(text: str, license: str = "GPL", program_type: str = "LWT_XMIT") -> Subject:
    """The program of `text`. Lines `%global f(int, ctx) -> int` and `%static f(u64)` declare its functions."""
    lines, declared = [], {}
    for line in text.splitlines():
        found = _HEAD.match(line.strip())
        if found:
            declared[found[2]] = found
        else:
            lines.append(line)
    body = "\n".join(lines)
    here = ground()
    used = tuple(name for name in here.maps if f"map[{name}]" in body)
    kfuncs = tuple(dict.fromkeys(re.findall(r"call (bpf_\w+)#0", body)))
    ksyms = tuple(dict.fromkeys(_SYMBOL.findall(body)))
    instructions = tuple(assemble(body, Names(maps=used, kfuncs=_kfuncs(body), ksyms=ksyms)))
    functions = _functions(here, body, instructions, declared)
    kfuncs = _kfuncs(body) or kfuncs
    program = Program("test", "lwt", program_type, instructions, functions, maps=used, kfuncs=kfuncs, ksyms=ksyms)
    return Subject(program, [here.maps[name] for name in used], here.btf(), license)


def _kfuncs(body: str) -> tuple[str, ...]:
    from routebpf.spec import kfunc_by_name

    names = re.findall(r"call (\w+)", body)
    return tuple(dict.fromkeys(name for name in names if kfunc_by_name(name)))


def _functions(here: Ground, body: str, instructions: tuple, declared: dict) -> tuple[Function, ...]:
    starts = {0}
    for at, one in enumerate(instructions):
        if (one.opcode == 0x85 and one.src == 1) or (one.opcode == 0x18 and one.src == 4):
            starts.add(at + 1 + one.imm)
    starts = {start for start in starts if 0 <= start < len(instructions)}
    ordered = sorted(starts)
    names = set(_CALLED.findall(body))
    labels = ["test"] + [name for name in re.findall(r"^\s*([A-Za-z_]\w*):", body, re.M) if name in names]
    found = []
    for index, start in enumerate(ordered):
        name = labels[index] if index < len(labels) else f"f{index}"
        end = ordered[index + 1] if index + 1 < len(ordered) else len(instructions)
        made, is_global = _function_type(here, name, declared.get(name), index == 0)
        found.append(Function(name, start, end, made, is_global))
    return tuple(found)


def _function_type(here: Ground, name: str, head: re.Match | None, is_main: bool) -> tuple[int, bool]:
    if head is None:
        parameters: tuple[int, ...] = (here.types["ctx"],) if is_main else (here.types["u64"],) * 5
        return here.text.function(name, here.types["int"], parameters, is_global=is_main, tags=()), is_main
    words = [word.strip() for word in head[3].split(",") if word.strip()]
    tags = tuple((at, f"arg:{tag}") for at, word in enumerate(words) for tag in word.split() if tag in _TAGS)
    tags += tuple((at, tag) for at, word in enumerate(words) for tag in word.split() if tag.startswith("arg:"))
    types = tuple(here.types[_type_name(word)] for word in words)
    result = here.types[head[4] or "int"]
    return here.text.function(name, result, types, is_global=head[1] == "global", tags=tags), head[1] == "global"


def _type_name(word: str) -> str:
    parts = word.split()
    if parts[0] == "struct":
        return " ".join(parts[:3])
    return " ".join(parts[:2]) if parts[1:2] == ["*"] else parts[0]


@cache
def kernel_btf() -> Btf | None:
    return read_btf_file(_VMLINUX) if _VMLINUX.exists() else None


def ours(asked: Subject, observer=None) -> Answer:
    """Our verdict."""
    try:
        said: Verified = verify(
            asked.program,
            asked.maps,
            license=asked.license,
            btf=asked.btf,
            kernel_btf=kernel_btf(),
            observer=observer,
        )
    except Rejected as refused:
        return Answer(refused.finding.message, processed=refused.finding.instructions_processed)
    return Answer(None, processed=said.instructions_processed, states=said.states)


class KernelMaps:
    """Maps and BTF in the kernel, made once and kept while the tests run."""

    def __init__(self) -> None:
        self.made: dict[tuple[str, str], int] = {}
        self.btf: dict[bytes, int] = {}

    def btf_fd(self, blob: bytes) -> int:
        if blob not in self.btf:
            if len(self.btf) > 256:
                for fd in self.btf.values():
                    os.close(fd)
                self.btf.clear()
            data, log = ctypes.create_string_buffer(blob, len(blob)), ctypes.create_string_buffer(1 << 16)
            fd, error, _ = bpf(BTF_LOAD, struct.pack("<QQIIII", address(data), address(log), len(blob), 1 << 16, 1, 0))
            assert not error, (error, log.value.decode()[-600:])
            self.btf[blob] = fd
        return self.btf[blob]

    def fd(self, one: MapDefinition, asked: Subject) -> int:
        key = asked.origin, one.name
        if key not in self.made:
            self.made[key] = self._create(one, asked.btf)
        return self.made[key]

    def _create(self, one: MapDefinition, types: Btf) -> int:
        inner = self._create(one.inner, types) if one.inner else 0
        btf = self.btf_fd(btf_for_kernel(types)) if one.btf_value_type_id else 0
        name = re.sub(r"\W", "_", one.name).encode()[:15]
        fd, error, _ = bpf(
            MAP_CREATE,
            struct.pack(
                "<IIIIIII16sIIIIIQ",
                *(one.type, one.key_size, one.value_size, one.max_entries, one.flags, inner, 0, name),
                *(0, btf, one.btf_key_type_id, one.btf_value_type_id, 0, one.map_extra),
            ),
        )
        assert not error, (one.name, error)
        if one.data is not None:
            key, value = ctypes.create_string_buffer(4), ctypes.create_string_buffer(one.data, len(one.data))
            assert not bpf(MAP_UPDATE, struct.pack("<IIQQQ", fd, 0, address(key), address(value), 0))[1]
        if one.read_only:
            assert not bpf(MAP_FREEZE, struct.pack("<I", fd))[1]
        return fd


@cache
def kernel_maps() -> KernelMaps:
    return KernelMaps()


def kernels(asked: Subject, log_level: int = _STATISTICS, log_bytes: int = 1 << 16) -> Answer:
    """The running kernel's verdict. Its log: level 4 has the refusal and what it took, 1 the last path, 2 every one."""
    here, program = kernel_maps(), asked.program
    code = encode(_linked(program))
    instructions = ctypes.create_string_buffer(code, len(code))
    license_text = ctypes.create_string_buffer(asked.license.encode())
    log = ctypes.create_string_buffer(log_bytes)
    fds = [here.fd(one, asked) for one in asked.maps]
    fd_array = (ctypes.c_uint32 * max(len(fds), 1))(*fds)
    info = b"".join(struct.pack("<II", one.start, one.btf_type_id) for one in program.functions)
    functions = ctypes.create_string_buffer(info, len(info))
    attributes = struct.pack(
        "<IIQQIIQII16sIIIIQIIQIIIIQQI",
        _PROGRAM_TYPES[program.program_type],
        len(code) // 8,
        address(instructions),
        address(license_text),
        *(log_level, log_bytes if log_level else 0, address(log) if log_level else 0, 0, 0, b"test", 0, 0),
        *(here.btf_fd(btf_for_kernel(asked.btf)), 8, address(functions), len(program.functions)),
        *(0, 0, 0, 0, 0, 0, address(fd_array), 0, 0),
    )
    fd, error, _ = bpf(PROG_LOAD, attributes)
    if fd >= 0:
        os.close(fd)
    elif error == errno.ENOSPC and log_level != _STATISTICS:
        return kernels(asked)
    text = log.value.decode(errors="replace")
    counts = re.search(r"processed (\d+) insns .* total_states (\d+)", text)
    processed, states = (int(counts[1]), int(counts[2])) if counts else (-1, -1)
    return Answer(None if fd >= 0 else refusal_of(text) or f"errno {error}", text, processed, states)


def _linked(program: Program) -> list:
    """The instructions, kfuncs named by the kernel's ids."""
    found = []
    types = kernel_btf()
    for one in program.instructions:
        if one.opcode == 0x85 and one.src == 2 and types is not None:
            found.append(replace(one, imm=types.find(program.kfuncs[one.imm], Kind.FUNC)))
        elif one.opcode == 0x18 and one.src == 3 and types is not None:
            type_id = types.find(program.ksyms[one.imm], Kind.VAR, Kind.FUNC)
            found.append(replace(one, imm=type_id) if type_id else replace(one, src=0, imm=0))
        else:
            found.append(one)
    return found


_NOT_WORDS = re.compile(
    r"^(\d+: |; |from \d+ to \d+|func#\d+ @|processed \d+ insns|verification time|stack depth|mark_precise|Live regs"
    r"|Validating |Func#\d+ \('|insns|parent state|caller|callee|returning from|propagating|subprog#\d+|  )"
    r"|^arg\d |^to caller at|^R\d+.* are safe|is safe for any args"
)


# Of the call of a static function that its types do not fit: no refusal.
_REMARK = re.compile(r"R\d is not a (scalar|pointer)|arg#\d .*")
_OF_GLOBAL = ("Caller passes invalid args", "global function")


def refusal_of(log: str) -> str:
    """The words at the end of a log: what stands after the last instruction and the state there."""
    looped = re.search(r"(infinite loop detected at insn \d+)\ncur state:", log)
    if looped:
        return looped[1]
    lines = re.sub(r"(?<=.)(processed \d+ insns|verification time)", r"\n\g<0>", log).rstrip("\n").split("\n")
    while lines and (lines[-1].startswith(("processed ", "verification time", "stack depth", "insns "))):
        lines.pop()
    words: list[str] = []
    for line in reversed(lines):
        if not line or _NOT_WORDS.search(line):
            break
        words.append(line)
    said = list(reversed(words))
    while len(said) > 1 and not said[1].startswith(_OF_GLOBAL) and _REMARK.fullmatch(said[0]):
        del said[0]
    return "\n".join(_before_states(said))


def _before_states(lines: list[str]) -> list[str]:
    """Without the states that the kernel adds to the refusal of a loop without progress."""
    at = next((at for at, line in enumerate(lines) if line.startswith("cur state:")), len(lines))
    return lines[:at]


@dataclass(slots=True)
class _Steps:
    """(instruction, the registers before it, the path) for each step."""

    found: list[tuple[int, dict[int, str], object]] = field(default_factory=list)

    def __call__(self, run: Run) -> None:
        held = {
            number: register_text(one, run.kernel_btf, run.frame.number)
            for number, one in enumerate(run.frame.registers)
            if one.type != NOT_INIT
        }
        self.found.append((run.at, held, run.state))


_REGISTER = re.compile(r"\bR(\d+)=(\S+?\)|\S+)")
_IDS = re.compile(r"\b(id|ref_obj_id|dynptr_id|ref_id)=\d+([+]\d+)?,?")


def _comparable(text: str) -> str:
    return _IDS.sub("", text).replace(",)", ")").replace("()", "")


def _registers(text: str) -> dict[int, str]:
    found = {}
    for piece in re.finditer(r"\bR(\d+)=", text):
        at, depth = piece.end(), 0
        while at < len(text) and (depth or text[at] != " "):
            depth += {"(": 1, ")": -1}.get(text[at], 0)
            at += 1
        found[int(piece[1])] = text[piece.end() : at]
    return found


def differences(asked: Subject, most: int = 10) -> Iterator[str]:
    """Where the kernel's log says something else of a register than we know, in the order of the paths."""
    steps = _Steps()
    mine = ours(asked, steps)
    theirs = kernels(asked, 2, 1 << 24)
    if mine.refusal != theirs.refusal:
        yield f"ours: {mine.refusal!r}, the kernel: {theirs.refusal!r}"
    if (mine.processed, mine.states) != (theirs.processed, theirs.states):
        yield f"ours: {mine.processed}/{mine.states}, the kernel: {theirs.processed}/{theirs.states}"
    said = []
    for line in theirs.log.split("\n"):
        found = re.match(r"^(\d+): \([0-9a-f]{2}\) (.*?)(?:;(.*))?$", line)
        if found:
            said.append((int(found[1]), _registers(found[3] or ""), line))
    for number, ((at, _, path), (their_at, after, line)) in enumerate(zip(steps.found, said, strict=False)):
        if at != their_at:
            yield f"step {number}: we are at {at}, the kernel at {their_at}: {line}"
            return
        if number + 1 == len(steps.found):
            return
        _, following, next_path = steps.found[number + 1]
        if next_path is not path:
            continue
        for register, text in after.items():
            held = following.get(register, "")
            if _comparable(held) != _comparable(text):
                yield f"step {number} at {at}: R{register}: ours {held}, the kernel {text}   [{line}]"
                most -= 1
                if not most:
                    return
