"""Which numbers mattered: a path may be taken for another only if it is as narrow where that was relied on.

Each number knows which registers and stack slots of the last checkpoint it came from (`Frame.depends`). When its
range is relied on, those are marked as precise there, and what they came from at the checkpoint before, and so on.
kernel: kernel/bpf/verifier.c, mark_chain_precision(), backtrack_insn(), which finds the same going backwards.
"""

from __future__ import annotations

from collections.abc import Iterator

from routebpf.verifier.register import SCALAR_VALUE
from routebpf.verifier.run import Run
from routebpf.verifier.state import FRAME_BITS, SLOT_BIT, State, is_spilled_scalar, register_bit, slot_bit

_REGISTERS = (1 << 10) - 1


def demand(run: Run, register: int) -> None:
    """The range of a register of the innermost frame was relied on (kernel: mark_chain_precision())."""
    mask = run.depends[register]
    if mask:
        mark(run.state, mask)


def mark(state: State, mask: int) -> bool:
    """Mark what `state` came from. Whether anything was not marked before."""
    changed = False
    parent = state.parent
    while mask and parent is not None:
        state = parent.state
        following = 0
        for number, frame in enumerate(state.frames):
            bits = mask >> number * FRAME_BITS & (1 << FRAME_BITS) - 1 & ~frame.precise
            while bits:
                low = bits & -bits
                bits ^= low
                position = low.bit_length() - 1
                if position < SLOT_BIT:
                    if frame.registers[position].type != SCALAR_VALUE:
                        continue
                    following |= frame.depends[position]
                else:
                    if not is_spilled_scalar(frame.stack.get(position - SLOT_BIT)):
                        continue
                    following |= frame.slot_depends.get(position - SLOT_BIT, 0)
                frame.precise |= low
                changed = True
        mask = following
        parent = state.parent
    return changed


def begin(state: State) -> None:
    """A checkpoint was made of `state`: its numbers come from there now."""
    for number, frame in enumerate(state.frames):
        frame.precise = 0
        frame.depends = [register_bit(number, register) for register in range(10)] + [0]
        frame.slot_depends = {
            spi: slot_bit(number, spi) for spi, slot in frame.stack.items() if is_spilled_scalar(slot)
        }


def propagate(old: State, new: State) -> bool:
    """`new` is taken for `old`: what mattered there matters here. Whether that marked anything.

    kernel: propagate_precision().
    """
    mask = 0
    for theirs, mine in zip(old.frames, new.frames, strict=True):
        for position in _bits(theirs.precise):
            if position < SLOT_BIT:
                mask |= mine.depends[position]
            else:
                mask |= mine.slot_depends.get(position - SLOT_BIT, 0)
    return mark(new, mask) if mask else False


def mark_all(state: State) -> None:
    """Every number on the way to `state` matters (kernel: mark_all_scalars_precise())."""
    parent = state.parent
    while parent is not None:
        for frame in parent.state.frames:
            for number, register in enumerate(frame.registers):
                if register.type == SCALAR_VALUE:
                    frame.precise |= 1 << number
            for spi, slot in frame.stack.items():
                if is_spilled_scalar(slot):
                    frame.precise |= 1 << SLOT_BIT + spi
        parent = parent.state.parent


def _bits(mask: int) -> Iterator[int]:
    while mask:
        low = mask & -mask
        mask ^= low
        yield low.bit_length() - 1
