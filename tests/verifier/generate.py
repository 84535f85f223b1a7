"""Random programs that are nearly valid, in assembler text, from a seed.

The writer knows roughly what is in each register, as an author would, and slips now and then: a bound one too far, a
check left out, the wrong register. `ground.py` has the maps.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from random import Random

_NUMBERS = (0, 1, 2, 3, 4, 7, 8, 15, 16, 31, 32, 63, 64, 127, 128, 255, 256, 4095, 65535, 65536, 0x7FFFFFFF)
_NUMBERS += (-1, -2, -8, -16, -128, -32768, -65536, -0x7FFFFFFF, -0x80000000)
_WIDE = (0x100000000, 0xFFFFFFFF, 0x7FFFFFFFFFFFFFFF, 0x8000000000000000, 0xFFFFFFFF00000000, 0x1234567800000001)
_OPERATORS = ("+=", "-=", "*=", "/=", "%=", "|=", "&=", "^=", "<<=", ">>=", "s>>=", "s/=", "s%=")
_COMPARISONS = ("==", "!=", ">", ">=", "<", "<=", "s>", "s>=", "s<", "s<=", "&")
_CONTEXT = (0, 4, 8, 12, 16, 20, 24, 28, 32, 36, 40, 44, 48, 52, 56, 60, 64, 68, 72, 164)
_WRITABLE = (8, 32, 48, 52, 56, 60, 64)
_VALUES = {"array": 16, "wide": 256, "single": 64, "hash": 16, "percpu": 16, "lru": 8}
_KEYS = {"hash": 8}
_MOVES_PACKET = ("bpf_skb_pull_data", "bpf_skb_change_tail", "bpf_skb_change_head")
_SIMPLE = ("bpf_get_prandom_u32", "bpf_ktime_get_ns", "bpf_get_smp_processor_id", "bpf_jiffies64")
_WITH_CONTEXT = ("bpf_get_hash_recalc", "bpf_get_route_realm", "bpf_set_hash_invalid", "bpf_get_cgroup_classid")
_POINTERS = ("context", "packet", "end", "value", "stack", "record")


@dataclass(slots=True)
class Writer:
    """A function in the making. `kinds`: what each register holds; `slots`: the stack offsets written, by bytes."""

    random: Random
    lines: list[str] = field(default_factory=list)
    kinds: dict[int, str] = field(default_factory=dict)
    spills: dict[int, str] = field(default_factory=dict)
    written: set[int] = field(default_factory=set)
    labels: int = 0
    depth: int = 0
    functions: int = 0
    name: str = ""
    slips: float = 0.02

    def put(self, *lines: str) -> None:
        self.lines.extend(lines)

    def slip(self) -> bool:
        return self.random.random() < self.slips

    def label(self) -> str:
        self.labels += 1
        return f"{self.name}l{self.labels}"

    def one_of(self, kind: str) -> int | None:
        if self.slip():
            return self.random.randrange(10)
        held = [number for number, one in self.kinds.items() if one == kind]
        return self.random.choice(held) if held else None

    def target(self, kind: str) -> int:
        """A register to put something of `kind` into."""
        number = self.random.choice((0, 1, 2, 3, 4, 5, 7, 8, 9))
        self.kinds[number] = kind
        return number

    def call(self, name: str) -> None:
        self.put(f"call {name}")
        for number in range(1, 6):
            self.kinds.pop(number, None)
        self.kinds[0] = "number"

    def forget(self, *kinds: str) -> None:
        for number in [number for number, one in self.kinds.items() if one in kinds]:
            del self.kinds[number]
        for at in [at for at, one in self.spills.items() if one in kinds]:
            del self.spills[at]

    def number(self) -> int:
        """A register with a number."""
        found = self.one_of("number")
        if found is None:
            found = self.target("number")
            self.put(f"r{found} = {self.random.choice(_NUMBERS)}")
        return found

    def scratch(self, size: int) -> int:
        """The offset of `size` bytes of stack (up to 16) that are written."""
        at = -8 * self.random.randrange(2, 12)
        for piece in range(at, at + (size + 7 & ~7), 8):
            if piece not in self.written or self.spills.pop(piece, None):
                if not self.slip():
                    self.put(f"*(u64 *)(r10 {piece}) = {self.random.choice((0, 1, 3, 7))}")
                self.written.add(piece)
        return at


Move = Callable[[Writer], None]


def _constant(w: Writer) -> None:
    number = w.target("number")
    if w.random.random() < 0.15:
        w.put(f"r{number} = {w.random.choice(_WIDE)} ll")
    else:
        w.put(f"{w.random.choice('rrw')}{number} = {w.random.choice(_NUMBERS)}")


def _copy(w: Writer) -> None:
    held = list(w.kinds.items())
    number, kind = w.random.choice(held)
    if kind == "number" and w.random.random() < 0.4:
        to = w.target("number")
        form = w.random.choice(("w{} = w{}", "r{} = (s8)r{}", "r{} = (s16)r{}", "r{} = (s32)r{}", "w{} = (s8)w{}"))
        w.put(form.format(to, number))
    else:
        w.put(f"r{w.target(kind)} = r{number}")


def _arithmetic(w: Writer) -> None:
    number = w.number()
    letter = w.random.choice("rrw")
    operator = w.random.choice(_OPERATORS)
    if w.random.random() < 0.5:
        other = w.one_of("number")
        if other is not None:
            w.put(f"{letter}{number} {operator} {letter}{other}")
            return
    value = w.random.choice(_NUMBERS)
    if operator in ("<<=", ">>=", "s>>="):
        value = w.random.randrange(32 if letter == "w" else 64)
    if "/" in operator or "%" in operator:
        value = value or 3
    w.put(f"{letter}{number} {operator} {value}")


def _swap(w: Writer) -> None:
    number = w.number()
    form = w.random.choice(
        ("r{0} = -r{0}", "w{0} = -w{0}", "r{0} = be16 r{0}", "r{0} = be32 r{0}", "r{0} = bswap64 r{0}")
    )
    w.put(form.format(number))


def _context_load(w: Writer) -> None:
    context = w.one_of("context")
    if context is None:
        return
    offset = w.random.choice(_CONTEXT)
    size = w.random.choice((32, 32, 32, 8, 16))
    w.put(f"r{w.target('number')} = *(u{size} *)(r{context} +{offset + (w.random.randrange(4) if w.slip() else 0)})")


def _context_store(w: Writer) -> None:
    context = w.one_of("context")
    if context is None:
        return
    offset = w.random.choice(_WRITABLE if not w.slip() else _CONTEXT)
    w.put(f"*(u32 *)(r{context} +{offset}) = r{w.number()}")


def _spill(w: Writer) -> None:
    at = -8 * w.random.randrange(1, 20)
    number, kind = w.random.choice(list(w.kinds.items()))
    w.put(f"*(u64 *)(r10 {at}) = r{number}")
    w.spills[at] = kind
    w.written.add(at)


def _fill(w: Writer) -> None:
    if not w.spills:
        return
    at, kind = w.random.choice(list(w.spills.items()))
    w.put(f"r{w.target(kind)} = *(u64 *)(r10 {at})")


def _stack_store(w: Writer) -> None:
    size = w.random.choice((1, 2, 4, 8))
    at = -8 * w.random.randrange(1, 20)
    inside = w.random.randrange(0, 8, size) + (w.slip() and 1)
    w.spills.pop(at, None)
    source = f"r{w.number()}" if w.random.random() < 0.7 else str(w.random.choice((0, 0, 1, -1)))
    w.put(f"*(u{size * 8} *)(r10 {at + inside:+d}) = {source}")
    if size == 8:
        w.written.add(at)


def _stack_load(w: Writer) -> None:
    if not w.written:
        return
    at = w.random.choice(sorted(w.written))
    size = w.random.choice((1, 2, 4, 8))
    sign = w.random.choice("uuus") if size < 8 else "u"
    if w.spills.get(at, "number") != "number" and not w.slip():
        return
    w.put(f"r{w.target('number')} = *({sign}{size * 8} *)(r10 {at + w.random.randrange(0, 8, size)})")


def _variable_stack(w: Writer) -> None:
    number = w.number()
    high = w.random.choice((8, 16, 64))
    w.put(f"r{number} &= {high - 1 - (0 if w.random.random() < 0.5 else 7)}")
    base = w.random.choice((-high, -high - 8, -64, -160))
    to = w.random.choice([one for one in range(1, 6) if one != number] or [5])
    w.put(f"r{to} = r10", f"r{to} += r{number}")
    w.kinds[to] = "bad"
    size = w.random.choice((8, 8, 64))
    if w.random.random() < 0.5:
        w.put(f"*(u{size} *)(r{to} {base}) = {w.random.choice((0, 0, 5))}")
        if w.random.random() < 0.5:
            w.spills.clear()
    else:
        w.put(f"r{to} = *(u{size} *)(r{to} {base})")
        w.kinds[to] = "number"


def _packet(w: Writer) -> None:
    """Read data and data_end, check, and access within."""
    context = w.one_of("context")
    if context is None:
        return
    data, end, limit = w.random.sample((2, 3, 4, 5, 7, 8, 9), 3)
    size = w.random.choice((1, 2, 14, 20, 28, 40, 64))
    w.put(f"r{data} = *(u32 *)(r{context} +76)", f"r{end} = *(u32 *)(r{context} +80)")
    w.kinds.update({data: "packet", end: "end"})
    w.put(f"r{limit} = r{data}", f"r{limit} += {size}")
    w.kinds[limit] = "bad"
    _checked(w, data, end, limit, size)


def _checked(w: Writer, data: int, end: int, limit: int, size: int) -> None:
    past = w.label()
    if w.random.random() < 0.6:
        test = w.random.choice((f"r{limit} > r{end}", f"r{end} < r{limit}"))
        strict = 0
    else:
        test = w.random.choice((f"r{limit} >= r{end}", f"r{end} <= r{limit}"))
        strict = 1
    if not w.slip():
        w.put(f"if {test} goto {past}")
    for _ in range(w.random.randrange(1, 4)):
        width = w.random.choice((1, 1, 2, 4, 8))
        most = size + strict - width + (w.slip() and 1)
        if most < 0:
            continue
        at = w.random.choice((w.random.randrange(most + 1), most))
        if w.random.random() < 0.6:
            w.put(f"r{w.random.choice((0, 1))} = *(u{width * 8} *)(r{data} +{at})")
        else:
            w.put(f"*(u{width * 8} *)(r{data} +{at}) = r{w.number()}")
    w.kinds.pop(0, None)
    w.kinds.pop(1, None)
    w.put(f"{past}:")


def _variable_packet(w: Writer) -> None:
    context = w.one_of("context")
    if context is None:
        return
    data, end, limit, offset = w.random.sample((2, 3, 4, 5, 7, 8, 9), 4)
    w.put(f"r{data} = *(u32 *)(r{context} +76)", f"r{end} = *(u32 *)(r{context} +80)")
    w.put(f"r{offset} = *(u32 *)(r{context} +{w.random.choice((0, 8, 16, 48))})")
    w.kinds.update({data: "packet", end: "end", offset: "number"})
    bound = w.random.choice((15, 63, 255, 1023, 0x7FFF, 0xFFFF))
    past = w.label()
    way = w.random.randrange(4)
    if way == 0:
        w.put(f"r{offset} &= {bound}")
    elif way == 1:
        w.put(f"if r{offset} > {bound} goto {past}")
    elif way == 2:
        w.put(f"w{offset} &= {bound}", f"r{offset} <<= {w.random.choice((0, 1, 2))}")
    elif not w.slip():
        w.put(f"if r{offset} s> {bound} goto {past}", f"if r{offset} s< 0 goto {past}")
    size = w.random.choice((1, 4, 8, 20))
    w.put(f"r{data} += r{offset}", f"r{limit} = r{data}", f"r{limit} += {size}")
    w.kinds[limit] = w.kinds[data] = "bad"
    _checked(w, data, end, limit, size)
    if way in (1, 3):
        w.put(f"{past}:")


def _lookup(w: Writer) -> None:
    name = w.random.choice(list(_VALUES))
    size = _VALUES[name]
    at = w.scratch(_KEYS.get(name, 4))
    w.put("r2 = r10", f"r2 += {at}", f"r1 = map[{name}]")
    w.call("bpf_map_lookup_elem")
    del w.kinds[0]
    past = w.label()
    if not w.slip():
        w.put(w.random.choice((f"if r0 == 0 goto {past}", f"if r0 != 0 goto +1\ngoto {past}")))
    pointer = w.random.choice((0, 0, 7, 8, 9))
    if pointer:
        w.put(f"r{pointer} = r0")
        w.kinds.pop(pointer, None)
    _use(w, pointer, size)
    w.put(f"{past}:")


def _use(w: Writer, pointer: int, size: int) -> None:
    """Access memory of `size` bytes that register `pointer` points to."""
    base, room = 0, size
    if w.random.random() < 0.4:
        number = w.random.choice((1, 2, 3, 4, 5))
        w.put(f"r{number} = *(u32 *)(r6 +{w.random.choice((0, 8, 16, 20))})")
        mask = w.random.choice((3, 7, 15, size // 2 - 1, size - 1))
        way = w.random.randrange(5)
        past = ""
        if way == 0:
            w.put(f"r{number} &= {mask}")
        elif way == 1:
            past = w.label()
            w.put(f"if r{number} > {mask} goto {past}")
        elif way == 2:
            w.put(f"w{number} %= {mask + 1}")
        elif way == 3:
            w.put(f"r{number} >>= {32 - mask.bit_length()}")
        else:
            past = w.label()
            w.put(f"if w{number} s> {mask} goto {past}", f"if w{number} s< 0 goto {past}")
        w.put(f"r{pointer} += r{number}")
        w.kinds.pop(number, None)
        room = max(size - mask, 1)
        _access(w, pointer, base, room)
        if past:
            w.put(f"{past}:")
        return
    _access(w, pointer, base, room)


def _access(w: Writer, pointer: int, base: int, room: int) -> None:
    for _ in range(w.random.randrange(1, 3)):
        width = w.random.choice((1, 2, 4, 8, 8))
        most = room - width + (w.slip() and 1)
        if most < 0:
            width, most = 1, max(room - 1, 0)
        at = base + w.random.choice((0, most, w.random.randrange(most + 1)))
        if not w.slip():
            at -= at % width
        way = w.random.randrange(4)
        memory = f"*(u{width * 8} *)(r{pointer} +{at})"
        if way == 0:
            w.put(f"r{w.random.choice([one for one in (1, 2, 3) if one != pointer])} = {memory}")
        elif way == 1 and width >= 4:
            source = w.random.choice((6, 10)) if w.slip() else w.number()
            w.put(f"lock {memory} {w.random.choice(('+=', '|=', '&=', '^='))} r{source}")
        else:
            w.put(f"{memory} = {w.random.choice((0, 1, -1))}")
    for number in (1, 2, 3):
        w.kinds.pop(number, None)


def _update(w: Writer) -> None:
    name = w.random.choice(("array", "hash", "percpu", "lru"))
    key = w.scratch(_KEYS.get(name, 4))
    value = w.scratch(16)
    w.put(
        "r2 = r10",
        f"r2 += {key}",
        "r3 = r10",
        f"r3 += {value}",
        f"r4 = {w.random.choice((0, 1, 2))}",
        f"r1 = map[{name}]",
    )
    w.call("bpf_map_update_elem")


def _record(w: Writer) -> None:
    """A record of a ring buffer: reserved, written, given back."""
    size = w.random.choice((8, 16, 64))
    w.put("r1 = map[ring]", f"r2 = {size}", "r3 = 0")
    w.call("bpf_ringbuf_reserve")
    del w.kinds[0]
    past = w.label()
    w.put(f"if r0 == 0 goto {past}")
    w.put("r9 = r0")
    w.kinds.pop(9, None)
    w.put("r8 = r9")
    w.kinds.pop(8, None)
    if w.random.random() < 0.3:
        _use(w, 8, size)
    else:
        _access(w, 8, 0, size)
    if not w.slip():
        w.put("r1 = r9", "r2 = 0")
        w.call(w.random.choice(("bpf_ringbuf_submit", "bpf_ringbuf_discard")))
        del w.kinds[0]
    w.put(f"{past}:")
    w.kinds.pop(8, None)
    w.kinds.pop(9, None)


def _helper(w: Writer) -> None:
    way = w.random.randrange(9)
    if way == 0:
        w.call(w.random.choice(_SIMPLE))
    elif way == 1:
        w.put("r1 = r6")
        w.call(w.random.choice(_WITH_CONTEXT))
    elif way == 2:
        w.put("r1 = r6", f"r2 = {w.random.choice((0, 14, 34, 200))}", "r3 = 0")
        w.call(w.random.choice(_MOVES_PACKET))
        if not w.slip():
            w.forget("packet", "end")
    elif way == 3:
        size = w.random.choice((1, 4, 8, 16))
        at = w.scratch(16)
        w.put("r1 = r6", f"r2 = {w.random.choice((0, 9, 16))}", "r3 = r10", f"r3 += {at}")
        w.put(f"r4 = {size + (w.slip() and 200)}")
        w.call(w.random.choice(("bpf_skb_load_bytes", "bpf_skb_load_bytes")))
    elif way == 4:
        at = w.scratch(16)
        w.put(
            "r1 = r6",
            f"r2 = {w.random.choice((0, 9, 16))}",
            "r3 = r10",
            f"r3 += {at}",
            f"r4 = {w.random.choice((1, 4, 16))}",
            "r5 = 0",
        )
        w.call("bpf_skb_store_bytes")
        w.forget("packet", "end")
    elif way == 5:
        at = w.scratch(16)
        w.put("r1 = r10", f"r1 += {at}", "r2 = 8", "r3 = r10", f"r3 += {at}", "r4 = 16", "r5 = 0")
        w.call("bpf_csum_diff")
    elif way == 6:
        number = w.number()
        at = w.scratch(16)
        w.put(f"r2 = r{number}", f"r2 &= {w.random.choice((7, 15, 31))}", "r1 = r10", f"r1 += {at}")
        w.put("r3 = 0", "r4 = 0", "r5 = 0")
        w.call("bpf_csum_diff")
    elif way == 7:
        w.put(f"r1 = {w.random.choice((1, 2))}", "r2 = 0")
        w.call("bpf_redirect")
    else:
        at = w.scratch(8)
        w.put("r1 = map[ring]", "r2 = r10", f"r2 += {at}", f"r3 = {w.random.choice((8, 4))}", "r4 = 0")
        w.call("bpf_ringbuf_output")


def _branch(w: Writer) -> None:
    """A block that is left out on a condition, or two of them."""
    number = w.number()
    letter = w.random.choice("rrw")
    comparison = w.random.choice(_COMPARISONS)
    other = w.one_of("number") if w.random.random() < 0.35 else None
    right = f"{letter}{other}" if other is not None else str(w.random.choice(_NUMBERS))
    other_way, out = w.label(), w.label()
    w.put(f"if {letter}{number} {comparison} {right} goto {other_way}")
    before = w.kinds.copy(), w.spills.copy(), w.written.copy()
    _block(w, w.random.randrange(1, 4))
    first = w.kinds, w.spills, w.written
    if w.random.random() < 0.4:
        w.put(f"goto {out}", f"{other_way}:")
        w.kinds, w.spills, w.written = before
        _block(w, w.random.randrange(1, 3))
        before = w.kinds, w.spills, w.written
        w.put(f"{out}:")
    else:
        w.put(f"{other_way}:")
    w.kinds = {number: kind for number, kind in first[0].items() if before[0].get(number) == kind}
    w.spills = {at: kind for at, kind in first[1].items() if before[1].get(at) == kind}
    w.written = first[2] & before[2]


def _loop(w: Writer) -> None:
    counter = w.random.choice((7, 8, 9))
    again, out = w.label(), w.label()
    limit = w.random.choice((2, 3, 5, 10))
    w.put(f"r{counter} = 0")
    w.kinds.pop(counter, None)
    before = w.kinds.copy(), w.spills.copy(), w.written.copy()
    w.put(f"{again}:")
    if w.random.random() < 0.2:
        w.put(f"may_goto {out}")
    _block(w, w.random.randrange(1, 3))
    w.kinds = {number: kind for number, kind in before[0].items() if w.kinds.get(number) == kind}
    w.spills = {at: kind for at, kind in before[1].items() if w.spills.get(at) == kind}
    w.written &= before[2]
    w.put(
        f"{w.random.choice('rrw')}{counter} += {1 if not w.slip() else 0}",
        f"if {w.random.choice('rrw')}{counter} {w.random.choice(('<', '<', '!=', 's<'))} {limit} goto {again}",
    )
    w.put(f"{out}:")
    w.kinds[counter] = "number"


def _function_call(w: Writer) -> None:
    if not w.functions or w.name:
        return
    number = w.random.randrange(w.functions)
    if number % 2:
        w.put("r1 = r6", f"r2 = r{w.number()}")
    else:
        w.put(f"r2 = r{w.number()}", "r1 = r10", f"r1 += {w.scratch(16)}")
    w.call(f"f{number}")


_MOVES: tuple[tuple[int, Move], ...] = (
    (6, _constant),
    (5, _copy),
    (10, _arithmetic),
    (2, _swap),
    (4, _context_load),
    (2, _context_store),
    (5, _spill),
    (5, _fill),
    (4, _stack_store),
    (4, _stack_load),
    (2, _variable_stack),
    (5, _packet),
    (3, _variable_packet),
    (6, _lookup),
    (3, _update),
    (2, _record),
    (6, _helper),
    (7, _branch),
    (3, _loop),
    (3, _function_call),
)
_WEIGHTS = [weight for weight, _ in _MOVES]
_CHOICES = [move for _, move in _MOVES]


def _block(w: Writer, length: int) -> None:
    w.depth += 1
    for _ in range(length):
        move = w.random.choices(_CHOICES, _WEIGHTS)[0]
        if w.depth > 3 and move in (_branch, _loop):
            move = _arithmetic
        move(w)
    w.depth -= 1


def program(random: Random) -> str:
    """The text of a program."""
    functions = random.choice((0, 0, 0, 1, 2))
    slips = random.choice((0.0, 0.01, 0.03, 0.08))
    main = Writer(random, functions=functions, slips=slips)
    main.put("r6 = r1")
    main.kinds = {6: "context", 1: "context", 10: "stack"}
    del main.kinds[10]
    _block(main, random.randrange(2, 12))
    main.put(
        f"r0 = {random.choice((0, 2, 7, 128))}" if 0 not in main.kinds or random.random() < 0.7 else "r0 = r0", "exit"
    )
    if functions and not any(f"call f{number}" in main.lines for number in range(functions)):
        functions = 0
    called = [number for number in range(functions) if f"call f{number}" in main.lines]
    lines = list(main.lines)
    for number in called:
        lines += [f"f{number}:", *_function(random, number, slips)]
    return "\n".join(lines)


def _function(random: Random, number: int, slips: float) -> list[str]:
    inner = Writer(random, slips=slips, name=f"f{number}_")
    if number % 2:
        inner.put("r6 = r1")
        inner.kinds = {6: "context", 2: "number"}
    else:
        inner.put("r7 = r1", "r8 = *(u64 *)(r7 +0)")
        inner.kinds = {2: "number", 8: "number"}
        for _ in range(random.randrange(1, 4)):
            _arithmetic(inner)
        inner.put(f"*(u64 *)(r7 +{random.choice((0, 8))}) = r8", f"r0 = r{inner.number()}", "exit")
        return inner.lines
    _block(inner, random.randrange(1, 5))
    inner.put(f"r0 = {random.choice((0, 1, 5))}" if random.random() < 0.4 else f"r0 = r{inner.number()}", "exit")
    return inner.lines
