"""The LLVM IR of one BPF function, as text, while it is written.

A register is a slot in memory (`%r1`) that LLVM turns into values; within a block its value is known by name, and the
slot is written at the block's end. A register that is the frame pointer plus a constant is kept as that, so that LLVM
sees which bytes of the frame an access means.
"""

from __future__ import annotations

from collections.abc import Sequence

from routebpf.isa.opcodes import R10

BUDGET = 8_388_608  # kernel: BPF_MAX_LOOPS, how often a frame may go on at its may_goto instructions


class FunctionWriter:
    """Takes the IR of a function, block by block. `frame_bytes` is the size of its stack frame."""

    def __init__(self, name: str, parameters: Sequence[str], registers: Sequence[str], frame_bytes: int) -> None:
        self._frame_bytes = frame_bytes
        self._count = 0
        self._values: dict[int, str] = {}
        self._unsaved: set[int] = set()
        self._frame_offsets: dict[int, int] = {}
        self._lines = [f"define i64 @{name}({', '.join(f'i64 {one}' for one in parameters)}) nounwind {{", "entry:"]
        self._lines += [f"%r{number} = alloca i64" for number in range(R10)]
        self._lines += [f"store i64 0, ptr %r{number}" for number in range(R10)]
        self._lines += [f"store i64 {value}, ptr %r{number}" for number, value in enumerate(registers, start=1)]
        if frame_bytes:
            self._lines.append(f"%frame = alloca [{frame_bytes} x i8], align 16")
            # What the program leaves out reads as 0: nothing depends on what the machine's stack held.
            self._lines.append(f"call void @llvm.memset.p0.i64(ptr align 16 %frame, i8 0, i64 {frame_bytes}, i1 false)")

    def text(self) -> str:
        """All of the function."""
        return "\n".join([*self._lines, "}", ""])

    def line(self, text: str) -> None:
        self._lines.append(text)

    def value(self, text: str) -> str:
        """An instruction that gives a value: its name."""
        self._count += 1
        name = f"%v{self._count}"
        self._lines.append(f"{name} = {text}")
        return name

    def label(self) -> str:
        """The name of a new block within an instruction."""
        self._count += 1
        return f"l{self._count}"

    def need_budget(self) -> None:
        """Give the frame its counter for may_goto."""
        self._lines += ["%budget = alloca i64", f"store i64 {BUDGET}, ptr %budget"]

    def start(self, block: str) -> None:
        """Begin a block that other blocks jump to."""
        self._lines.append(f"{block}:")
        self._values.clear()
        self._unsaved.clear()
        self._frame_offsets.clear()
        self._frame_offsets[R10] = 0

    def save(self) -> None:
        """Put what the block changed into the registers' slots: before every jump out of it."""
        for number in sorted(self._unsaved):
            self._lines.append(f"store i64 {self.read(number)}, ptr %r{number}")
        self._unsaved.clear()

    def read(self, register: int) -> str:
        """The value of a register: an i64."""
        known = self._values.get(register)
        if known is None:
            offset = self._frame_offsets.get(register)
            if offset is None:
                known = self.value(f"load i64, ptr %r{register}")
            else:
                known = self.value(f"ptrtoint ptr {self._frame_address(offset)} to i64")
            self._values[register] = known
        return known

    def read32(self, register: int) -> str:
        """The low half of a register: an i32."""
        return self.value(f"trunc i64 {self.read(register)} to i32")

    def write(self, register: int, value: str) -> None:
        """Put an i64 into a register."""
        self._values[register] = value
        self._frame_offsets.pop(register, None)
        self._unsaved.add(register)

    def write32(self, register: int, value: str) -> None:
        """Put an i32 into a register: its upper half becomes 0."""
        self.write(register, self.value(f"zext i32 {value} to i64"))

    def frame_offset(self, register: int) -> int | None:
        """How far the register is from the frame pointer, if that is known here."""
        return self._frame_offsets.get(register)

    def write_frame_offset(self, register: int, offset: int) -> None:
        """Put the frame pointer plus a constant into a register."""
        self._values.pop(register, None)
        self._frame_offsets[register] = offset
        self._unsaved.add(register)

    def forget(self, registers: Sequence[int]) -> None:
        """The registers hold nothing that may be read."""
        for register in registers:
            self._values.pop(register, None)
            self._frame_offsets.pop(register, None)
            self._unsaved.discard(register)

    def address(self, register: int, offset: int) -> str:
        """A pointer to what is `offset` bytes from the address in a register."""
        base = self._frame_offsets.get(register)
        if base is not None:
            return self._frame_address(base + offset)
        pointer = self.value(f"inttoptr i64 {self.read(register)} to ptr")
        return self.value(f"getelementptr i8, ptr {pointer}, i64 {offset}") if offset else pointer

    def _frame_address(self, offset: int) -> str:
        if not self._frame_bytes:
            return "null"  # only ever copied: the frame holds nothing
        return self.value(f"getelementptr i8, ptr %frame, i64 {self._frame_bytes + offset}")
