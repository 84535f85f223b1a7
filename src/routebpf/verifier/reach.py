"""What can be reached from where, inside a function."""

from __future__ import annotations

from routebpf.isa import FORMS, Kind
from routebpf.objects.model import Program
from routebpf.verifier.flow import jump_target

_NOT_ON = (Kind.JA, Kind.GOTOL, Kind.EXIT)  # what follows them is not next


def leads_to(program: Program, start: int, goal: int) -> bool:
    """Whether some path inside the function of `goal` leads from instruction `start` to it."""
    function = program.function_at(goal)
    first, end = (function.start, function.end) if function else (0, len(program.instructions))
    seen = {start}
    waiting = [start]
    while waiting:
        at = waiting.pop()
        if at == goal:
            return True
        if not first <= at < end:
            continue
        one = program.instructions[at]
        form = FORMS[one.opcode]
        target = jump_target(at, one, form.kind) if form is not None else None
        following = [] if target is None else [target]
        if form is None or form.kind not in _NOT_ON:
            following.append(at + 2 if one.is_wide else at + 1)
        waiting += [one for one in following if one not in seen]
        seen.update(following)
    return False
