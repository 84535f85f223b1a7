"""Text to instructions, in the syntax that `disassemble` writes, the kernel's own.

One instruction a line; `;`, `#` at the start of a word and `//` begin a comment. A label is `name:` before an
instruction or on a line of its own. Spaces are free. rN and rM stand for r0 to r10, wN for their 32-bit halves.

    rN = 5, w1 = -1                  move of a 32-bit immediate (decimal)
    rN = 0x5                         a 64-bit immediate in two slots, as the kernel writes it; also `rN = 5 ll`
    rN += 5, w1 s>>= w2              += -= *= /= %= s/= s%= |= &= ^= <<= >>= s>>=
    rN = rM, w1 = (s8)w2, rN = -rN, rN = be16 rN, rN = le32 rN, rN = bswap64 rN
    rN = addr_space_cast(rM, 0, 1)
    rN = *(u32 *)(rM +4)             u8 u16 u32 u64, or s8 s16 s32
    *(u8 *)(rN -1) = rM, *(u8 *)(rN -1) = 7
    lock *(u64 *)(rN +0) += rM       += |= &= ^=, of u32 and u64
    rM = atomic64_fetch_add((u64 *)(rN +0), rM)     atomic_ for u32; add or and xor; atomic64_xchg
    r0 = atomic64_cmpxchg((u64 *)(rN +0), r0, rM)
    rN = load_acquire((u16 *)(rM +0)), store_release((u16 *)(rN +0), rM)
    r0 = *(u16 *)skb[12], r0 = *(u16 *)skb[rM + 12]
    goto T, gotol T, may_goto T      T is pc+3, +3 or a label
    if rN s> 5 goto T, if w1 & w2 goto T            == != > >= < <= s> s>= s< s<= &
    call bpf_name, call bpf_name#7, call #7         a helper
    call T, rN = subprog[T]          a BPF function, its address as a callback; T is pc+3, +3 or a label
    call kfunc#5, call kfunc#5 module 2, call name#5, call name      a kfunc, if `name` is in `names.kfuncs`
    rN = map[fd:3], rN = map[idx:0], rN = map[name], each with [0]+8 for an address in its first value
    rN = ksym[id:4], rN = ksym[name]
    exit
    .insn 0xff, r1, r2, +3, 4        any slot: opcode, dst, src, offset, imm
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import cache

from routebpf.errors import InputError
from routebpf.isa.disassembler import Names
from routebpf.isa.instruction import Instruction, load_wide, signed32
from routebpf.isa.opcodes import (
    ADDR_SPACE_CAST,
    ATOMICS,
    BPF_X,
    CALL,
    EXIT,
    FORMS,
    MAY_GOTO,
    PSEUDO_BTF_ID,
    PSEUDO_CALL,
    PSEUDO_FUNC,
    PSEUDO_KFUNC_CALL,
    PSEUDO_MAP_FD,
    PSEUDO_MAP_IDX,
    SIGNED_OPERATORS,
    AtomicKind,
    Kind,
)

_NO_NAMES = Names()
_SIGNED = {signed: operator for operator, signed in SIGNED_OPERATORS.items()}
_ATOMIC_BY_NAME = {(one.kind, one.name): one.imm for one in ATOMICS.values()}
_ATOMIC_BY_OPERATOR = {one.operator: one.imm for one in ATOMICS.values() if one.kind is AtomicKind.PLAIN}


@dataclass(slots=True)
class _Text:
    """What is assembled so far. `waiting`: (slot, label, field, line) of slots whose target is a label."""

    names: Names
    slots: list[Instruction] = field(default_factory=list)
    labels: dict[str, int] = field(default_factory=dict)
    waiting: list[tuple[int, str, str, str]] = field(default_factory=list)


class _LineError(Exception):
    """What is wrong with the line at hand."""


def assemble(text: str, names: Names = _NO_NAMES) -> list[Instruction]:
    """The instructions of `text`; the grammar is this module's docstring.

    `names` resolves maps, kfuncs and ksyms written by name. Raises InputError with the line's number and text.
    """
    target = _Text(names)
    for number, line in enumerate(text.splitlines(), 1):
        where = f"assembling line {number}, `{line.strip()}`"
        try:
            _assemble_line(_without_comment(line), target, where)
        except _LineError as error:
            raise InputError(f"{where}: {error}") from None
    for at, label, kind, where in target.waiting:
        if label not in target.labels:
            known = ", ".join(target.labels) or "there is none"
            raise InputError(f"{where}: no label is named {label} ({known})")
        distance = target.labels[label] - at - 1
        if kind == "offset" and not -0x8000 <= distance <= 0x7FFF:
            raise InputError(f"{where}: {label} is {distance} instructions away, beyond 16 bits; use gotol")
        slot = target.slots[at]
        target.slots[at] = replace(slot, offset=distance) if kind == "offset" else replace(slot, imm=distance)
    return target.slots


def _without_comment(line: str) -> str:
    return re.split(r";|//|(?:^|\s)#(?![\d])", line, maxsplit=1)[0].strip()


def _assemble_line(line: str, target: _Text, where: str) -> None:
    while match := re.match(r"([A-Za-z_.$][\w.$]*)\s*:(?!\w)\s*", line):
        if match[1] in target.labels:
            raise _LineError(f"label {match[1]} is already at instruction {target.labels[match[1]]}")
        target.labels[match[1]] = len(target.slots)
        line = line[match.end() :]
    if not line:
        return
    for pattern, build in _grammar():
        found = pattern.fullmatch(line)
        if found:
            slots = build(_Fields(found, target, where))
            target.slots.extend(slots)
            return
    raise _LineError("is no instruction in the kernel's syntax (see routebpf.isa.assembler)")


@dataclass(slots=True)
class _Fields:
    """The named parts of a matched line, as values."""

    match: re.Match[str]
    target: _Text
    where: str

    def text(self, name: str) -> str:
        return str(self.match[name] or "")

    def number(self, name: str, low: int = -(1 << 31), high: int = (1 << 32) - 1) -> int:
        value = int(self.text(name).replace(" ", ""), 0)
        if not low <= value <= high:
            raise _LineError(f"{self.text(name)} is not in {low} to {high}")
        return value

    def register(self, name: str) -> int:
        number = int(self.text(name)[1:])
        if number > 10:
            raise _LineError(f"there is no register {self.text(name)}")
        return number

    def offset(self) -> int:
        return self.number("offset", -0x8000, 0x7FFF)

    def size(self) -> int:
        return int(self.text("bits")) // 8

    def wide(self, *registers: str) -> bool:
        letters = {self.text(name)[0] for name in registers}
        if len(letters) > 1:
            raise _LineError("mixes 64-bit rN and 32-bit wN")
        return letters == {"r"}

    def goto(self, kind: str, low: int, high: int) -> int:
        """The distance to the target, or 0 for a label, which waits. `kind` is the field that will hold it."""
        distance = self.match["distance"]
        if distance is not None:
            return self.number("distance", low, high)
        self.target.waiting.append((len(self.target.slots), self.text("label"), kind, self.where))
        return 0


@cache
def _opcode(kind: Kind, operator: str = "", wide: bool = True, register: bool = False, size: int = 0) -> int:
    for form in FORMS:
        if form and (form.kind, form.operator, form.wide, form.size) == (kind, operator, wide, size):
            opcode = form.opcode
            if form.register == register:
                return opcode
    raise _LineError("no such instruction for this size or operator")


_Build = Callable[[_Fields], Sequence[Instruction]]


def _mov_immediate(f: _Fields) -> Sequence[Instruction]:
    dst, wide = f.register("dst"), f.wide("dst")
    written = f.text("value")
    if not wide:
        return [Instruction(_opcode(Kind.MOV, "=", False), dst, imm=signed32(f.number("value")))]
    value = f.number("value", -(1 << 63), (1 << 64) - 1)
    if f.text("ll") or written.startswith("0x") or not -(1 << 31) <= value < 1 << 31:
        return load_wide(dst, value)
    return [Instruction(_opcode(Kind.MOV, "="), dst, imm=value)]


def _mov_register(f: _Fields) -> Sequence[Instruction]:
    wide = f.wide("dst", "src")
    bits = int(f.text("cast") or 0)
    if bits == 32 and not wide:
        raise _LineError("a 32-bit move sign-extends from s8 and s16")
    return [Instruction(_opcode(Kind.MOV, "=", wide, True), f.register("dst"), f.register("src"), bits)]


def _alu_immediate(f: _Fields) -> Sequence[Instruction]:
    wide, operator = f.wide("dst"), f.text("operator")
    value = f.number("value", high=(1 << 31) - 1 if wide else (1 << 32) - 1)
    base = _SIGNED.get(operator, operator)
    opcode = _opcode(Kind.ALU, base, wide)
    return [Instruction(opcode, f.register("dst"), 0, int(base != operator), signed32(value))]


def _alu_register(f: _Fields) -> Sequence[Instruction]:
    operator = f.text("operator")
    base = _SIGNED.get(operator, operator)
    opcode = _opcode(Kind.ALU, base, f.wide("dst", "src"), True)
    return [Instruction(opcode, f.register("dst"), f.register("src"), int(base != operator))]


def _neg(f: _Fields) -> Sequence[Instruction]:
    _same(f)
    return [Instruction(_opcode(Kind.NEG, "-", f.wide("dst")), f.register("dst"))]


def _end(f: _Fields) -> Sequence[Instruction]:
    _same(f)
    return [Instruction(_end_opcode(f.text("order")), f.register("dst"), imm=int(f.text("bits")))]


def _end_opcode(order: str) -> int:
    return next(form.opcode for form in FORMS if form and form.kind is Kind.END and form.operator == order)


def _same(f: _Fields) -> None:
    if f.text("dst") != f.text("src"):
        raise _LineError(f"works in place: both registers must be {f.text('dst')}")


def _cast(f: _Fields) -> Sequence[Instruction]:
    imm = signed32(f.number("to", 0, 0xFFFF) << 16 | f.number("from", 0, 0xFFFF))
    opcode = _opcode(Kind.MOV, "=", True, True)
    return [Instruction(opcode, f.register("dst"), f.register("src"), ADDR_SPACE_CAST, imm)]


def _ldx(f: _Fields) -> Sequence[Instruction]:
    kind = Kind.LDSX if f.text("sign") == "s" else Kind.LDX
    return [Instruction(_opcode(kind, size=f.size()), f.register("dst"), f.register("base"), f.offset())]


def _stx(f: _Fields) -> Sequence[Instruction]:
    opcode = _opcode(Kind.STX, register=True, size=f.size())
    return [Instruction(opcode, f.register("base"), f.register("src"), f.offset())]


def _st(f: _Fields) -> Sequence[Instruction]:
    size = f.size()
    value = signed32(f.number("value", high=(1 << 31) - 1 if size == 8 else (1 << 32) - 1))
    return [Instruction(_opcode(Kind.ST, size=size), f.register("base"), 0, f.offset(), value)]


def _atomic(f: _Fields, imm: int, *, base: str = "base", src: str = "src", is_load: bool = False) -> list[Instruction]:
    if f.size() not in ATOMICS[imm].sizes:
        raise _LineError("this atomic works on u32 and u64")
    first, second = f.register(base), f.register(src)
    if is_load:
        first, second = second, first
    return [Instruction(_opcode(Kind.ATOMIC, register=True, size=f.size()), first, second, f.offset(), imm)]


def _lock(f: _Fields) -> Sequence[Instruction]:
    return _atomic(f, _ATOMIC_BY_OPERATOR[f.text("operator")])


def _fetch(f: _Fields) -> Sequence[Instruction]:
    _named_width(f)
    if f.text("dst") != f.text("src"):
        raise _LineError(f"an atomic gives the old value back in its operand: both must be {f.text('src')}")
    name = f.text("name")
    kind = AtomicKind.XCHG if name == "xchg" else AtomicKind.FETCH
    return _atomic(f, _ATOMIC_BY_NAME[kind, name.removeprefix("fetch_")])


def _cmpxchg(f: _Fields) -> Sequence[Instruction]:
    _named_width(f)
    return _atomic(f, _ATOMIC_BY_NAME[AtomicKind.CMPXCHG, "cmpxchg"])


def _named_width(f: _Fields) -> None:
    if (f.text("width") == "64") != (f.size() == 8):
        raise _LineError("atomic64_ is for u64, atomic_ for u32")


def _load_acquire(f: _Fields) -> Sequence[Instruction]:
    return _atomic(f, _ATOMIC_BY_NAME[AtomicKind.LOAD_ACQUIRE, "load_acquire"], src="dst", is_load=True)


def _store_release(f: _Fields) -> Sequence[Instruction]:
    return _atomic(f, _ATOMIC_BY_NAME[AtomicKind.STORE_RELEASE, "store_release"])


def _legacy(f: _Fields) -> Sequence[Instruction]:
    imm = signed32(f.number("value"))
    if f.match["src"]:
        return [Instruction(_opcode(Kind.LD_IND, register=True, size=f.size()), 0, f.register("src"), 0, imm)]
    return [Instruction(_opcode(Kind.LD_ABS, size=f.size()), imm=imm)]


_GOTO_KINDS = {"goto": Kind.JA, "gotol": Kind.GOTOL, "may_goto": Kind.MAY_GOTO}


def _goto(f: _Fields) -> Sequence[Instruction]:
    kind = _GOTO_KINDS[f.text("word")]
    if kind is Kind.GOTOL:
        return [Instruction(_opcode(kind), imm=f.goto("imm", -(1 << 31), (1 << 31) - 1))]
    return [Instruction(_opcode(kind), 0, MAY_GOTO, f.goto("offset", -0x8000, 0x7FFF))]


def _branch_immediate(f: _Fields) -> Sequence[Instruction]:
    opcode = _opcode(Kind.BRANCH, f.text("operator"), f.wide("dst"))
    imm = signed32(f.number("value"))
    return [Instruction(opcode, f.register("dst"), 0, f.goto("offset", -0x8000, 0x7FFF), imm)]


def _branch_register(f: _Fields) -> Sequence[Instruction]:
    opcode = _opcode(Kind.BRANCH, f.text("operator"), f.wide("dst", "src")) | BPF_X
    return [Instruction(opcode, f.register("dst"), f.register("src"), f.goto("offset", -0x8000, 0x7FFF))]


def _call_distance(f: _Fields) -> Sequence[Instruction]:
    return [Instruction(CALL, src=PSEUDO_CALL, imm=f.number("distance", -(1 << 31), (1 << 31) - 1))]


def _call_number(f: _Fields) -> Sequence[Instruction]:
    name, number = f.text("name"), f.number("value", high=(1 << 31) - 1)
    if name and _helper_number(f, name) is None and name != "unknown":
        module = f.number("module", 0, 0x7FFF) if f.match["module"] else 0
        return [Instruction(CALL, src=PSEUDO_KFUNC_CALL, offset=module, imm=number)]
    return [Instruction(CALL, imm=number)]


def _call_name(f: _Fields) -> Sequence[Instruction]:
    name = f.text("name")
    if name in f.target.names.kfuncs:
        return [Instruction(CALL, src=PSEUDO_KFUNC_CALL, imm=list(f.target.names.kfuncs).index(name))]
    helper = _helper_number(f, name)
    if helper is not None:
        return [Instruction(CALL, imm=helper)]
    f.target.waiting.append((len(f.target.slots), name, "imm", f.where))
    return [Instruction(CALL, src=PSEUDO_CALL)]


def _helper_number(f: _Fields, name: str) -> int | None:
    if f.target.names.helpers is not None:
        return next((number for number, one in f.target.names.helpers.items() if one == name), None)
    if not name.startswith("bpf_"):
        return None
    from routebpf.spec import helper_number

    return helper_number(name)


def _subprog(f: _Fields) -> Sequence[Instruction]:
    distance = f.goto("imm", -(1 << 31), (1 << 31) - 1)
    return load_wide(f.register("dst"), distance & 0xFFFFFFFF, PSEUDO_FUNC)


def _map(f: _Fields) -> Sequence[Instruction]:
    source = PSEUDO_MAP_FD if f.text("word") == "fd" else PSEUDO_MAP_IDX
    number = _index(f, f.target.names.maps, "map")
    offset = 0
    if f.match["value"] is not None:
        source += 1
        offset = f.number("offset") if f.match["offset"] else 0
    return load_wide(f.register("dst"), (offset & 0xFFFFFFFF) << 32 | number & 0xFFFFFFFF, source)


def _ksym(f: _Fields) -> Sequence[Instruction]:
    return load_wide(f.register("dst"), _index(f, f.target.names.ksyms, "ksym") & 0xFFFFFFFF, PSEUDO_BTF_ID)


def _index(f: _Fields, names: Sequence[str], what: str) -> int:
    if f.match["number"] is not None:
        return f.number("number")
    if f.text("name") not in names:
        raise _LineError(f"no {what} is named {f.text('name')} ({', '.join(names) or 'none is named'})")
    return list(names).index(f.text("name"))


def _raw(f: _Fields) -> Sequence[Instruction]:
    dst, src = int(f.text("dst")[1:]), int(f.text("src")[1:])
    return [Instruction(f.number("opcode", 0, 255), dst, src, f.offset(), signed32(f.number("value")))]


# In a row of the grammar a word in capitals is one of these, and a space is any number of spaces.
_PARTS = {
    "DST": r"(?P<dst>[rw]\d{1,2})",
    "SRC": r"(?P<src>[rw]\d{1,2})",
    "RDST": r"(?P<dst>r\d{1,2})",
    "RSRC": r"(?P<src>r\d{1,2})",
    "NUM": r"(?P<value>[+-]?(?:0x[0-9a-fA-F]+|\d+))",
    "MEM": r"\( u(?P<bits>8|16|32|64) \* \) \( (?P<base>r\d{1,2}) (?P<offset>[+-] (?:0x[0-9a-fA-F]+|\d+)) \)",
    "SMEM": r"\( (?P<sign>[us])(?P<bits>8|16|32|64) \* \) \( (?P<base>r\d{1,2}) (?P<offset>[+-] \d+) \)",
    "TO": r"(?:(?:pc )?(?P<distance>[+-]\d+)|(?P<label>[A-Za-z_.$][\w.$]*))",
    "CMP": r"(?P<operator>==|!=|s?>=|s?<=|s?>|s?<|&)",
    "OP": r"(?P<operator>s/=|s%=|s>>=|<<=|>>=|[-+*/%|&^]=)",
}


@cache
def _grammar() -> tuple[tuple[re.Pattern[str], _Build], ...]:
    """`_GRAMMAR` compiled, at first use: importing this module must cost nothing."""
    rows = []
    for pattern, build in _GRAMMAR:
        written = re.sub(r"\b[A-Z]+\b", lambda word: _PARTS.get(word[0], word[0]), pattern)
        rows.append((re.compile(written.replace(" ", r"\s*")), build))
    return tuple(rows)


_GRAMMAR: tuple[tuple[str, _Build], ...] = (
    (r"exit", lambda _: [Instruction(EXIT)]),
    (r"RDST = NUM (?P<ll>ll)", _mov_immediate),
    (r"DST = NUM(?P<ll>)", _mov_immediate),
    (r"DST = (?:\( s(?P<cast>8|16|32) \))? SRC", _mov_register),
    (r"DST OP NUM", _alu_immediate),
    (r"DST OP SRC", _alu_register),
    (r"DST = - SRC", _neg),
    (r"RDST = (?P<order>be|le|bswap)(?P<bits>16|32|64) RSRC", _end),
    (r"RDST = addr_space_cast \( RSRC , (?P<to>\d+) , (?P<from>\d+) \)", _cast),
    (r"RDST = \* SMEM", _ldx),
    (r"\* MEM = RSRC", _stx),
    (r"\* MEM = NUM", _st),
    (r"lock \* MEM (?P<operator>[-+|&^]=) RSRC", _lock),
    (r"RDST = atomic(?P<width>64)?_(?P<name>fetch_(?:add|or|and|xor)|xchg) \( MEM , RSRC \)", _fetch),
    (r"r0 = atomic(?P<width>64)?_cmpxchg \( MEM , r0 , RSRC \)", _cmpxchg),
    (r"RDST = load_acquire \( MEM \)", _load_acquire),
    (r"store_release \( MEM , RSRC \)", _store_release),
    (r"r0 = \* \( u(?P<bits>8|16|32) \* \) skb \[ (?:RSRC \+ )?NUM \]", _legacy),
    (r"(?P<word>goto|gotol|may_goto)\b TO", _goto),
    (r"if\b DST CMP NUM goto\b TO", _branch_immediate),
    (r"if\b DST CMP SRC goto\b TO", _branch_register),
    (r"call\b (?:pc )?(?P<distance>[+-]\d+)", _call_distance),
    (r"call\b (?P<name>[A-Za-z_]\w*)? \# ?NUM(?: module (?P<module>\d+))?", _call_number),
    (r"call\b (?P<name>[A-Za-z_.$][\w.$]*)", _call_name),
    (r"RDST = subprog \[ TO \]", _subprog),
    (
        r"RDST = map \[ (?:(?P<word>fd|idx) : (?P<number>-?\d+)|(?P<name>[\w.$]+)) \](?P<value> \[ 0 \]"
        r"(?P<offset>[+-]\d+)?)?",
        _map,
    ),
    (r"RDST = ksym \[ (?:id : (?P<number>-?\d+)|(?P<name>[\w.$]+)) \]", _ksym),
    (
        r"\.insn (?P<opcode>0x[0-9a-f]+) , (?P<dst>r\d+) , (?P<src>r\d+) , (?P<offset>[+-]?\d+) , NUM",
        _raw,
    ),
)
