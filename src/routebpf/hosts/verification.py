"""The verification of a program file: the verdict on each of its programs, by our verifier and by the running kernel's.

Our verifier needs neither root nor Linux. The kernel's is asked only on request.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from routebpf.errors import RejectedError
from routebpf.objects.btf import Btf
from routebpf.objects.model import PROG_ARRAY, Object, Program
from routebpf.verifier.explain import Explanation, explain, place_of
from routebpf.verifier.explain_steps import Step, Steps
from routebpf.verifier.oldest_kernel import Need, Version, needs_of, oldest_kernel
from routebpf.verifier.verify import DEFAULT_KERNEL, Rejected, Verified, verify

StepSink = Callable[[Program, Step], None]


@dataclass(frozen=True, slots=True)
class KernelVerdict:
    """What the running kernel says of a program: `message` is why it refuses it, None if it takes it; `log` all that
    its verifier wrote."""

    message: str | None
    log: str = ""

    @property
    def is_accepted(self) -> bool:
        return self.message is None


@dataclass(frozen=True, slots=True)
class ProgramVerdict:
    """The verdict on a program. `verified` is None if it is refused, and then `refusal` says why; `newer`: what a
    kernel version that was asked for does not have. `needs`: what it needs of the kernel, the newest first; empty if
    it is refused. `kernel` is None if the kernel was not asked."""

    program: Program
    verified: Verified | None
    refusal: Explanation | None
    needs: tuple[Need, ...]
    newer: tuple[Explanation, ...]
    kernel: KernelVerdict | None

    @property
    def is_accepted(self) -> bool:
        """By our verifier, whatever kernel version was asked for."""
        return self.verified is not None

    @property
    def oldest_kernel(self) -> Version | None:
        return oldest_kernel(self.needs) if self.is_accepted else None

    @property
    def is_agreed(self) -> bool:
        """Whether the running kernel, if it was asked, says the same."""
        return self.kernel is None or self.kernel.is_accepted == self.is_accepted

    @property
    def is_good(self) -> bool:
        return self.is_accepted and not self.newer and self.is_agreed


def read_program_file(
    path: str, *, program_type: str | None = None, ask_kernel: bool = False, kernel_version: Version | None = None
) -> Object:
    """The object to verify: relocated for the running kernel if that is asked, too. `kernel_version` is what the
    program finds LINUX_KERNEL_VERSION to be."""
    if ask_kernel:
        from routebpf.kernel.object import read_for_kernel

        return read_for_kernel(path, program_type=program_type)
    from routebpf.objects.source import load_program_file

    version = (*kernel_version, 0) if kernel_version else None
    return load_program_file(path, program_type=program_type, kernel_version=version)


def verify_programs(
    source: Object,
    selector: str | None = None,
    *,
    ask_kernel: bool = False,
    kernel_version: Version | None = None,
    privileged: bool = True,
    on_step: StepSink | None = None,
) -> Iterator[ProgramVerdict]:
    """The verdict on each program of an object, or on the one that `selector` names.

    `kernel_version`: what a kernel of that version lacks is refused, too. `privileged` False: as for a process without
    CAP_PERFMON. `on_step` is told of each step of our verifier. Raises MissingError if the kernel cannot be asked.
    """
    programs = [source.program(selector)] if selector else list(source.programs.values())
    kernel_btf = _kernel_types()
    version = DEFAULT_KERNEL
    if ask_kernel:
        from routebpf.kernel.permission import has_capability
        from routebpf.kernel.running import kernel_version as running

        privileged = has_capability("CAP_PERFMON")
        version = running()[:2]
    for program in programs:
        verified, refusal = _verify(source, program, kernel_btf, version, privileged, on_step)
        needs = tuple(needs_of(program, [source.maps[name] for name in program.maps], verified))
        newer = tuple(_too_new(program, need, kernel_version) for need in needs if _is_newer(need, kernel_version))
        yield ProgramVerdict(
            program,
            verified,
            refusal,
            needs if verified is not None else (),
            newer,
            _ask_kernel(source, program) if ask_kernel else None,
        )


def _kernel_types() -> Btf | None:
    """Those of the running kernel, if it tells them; read when something asks for one."""
    from routebpf.kernel.kernel_btf import has_kernel_btf, kernel_btf

    return kernel_btf() if has_kernel_btf() else None


def _verify(
    source: Object,
    program: Program,
    kernel_btf: Btf | None,
    version: Version,
    privileged: bool,
    on_step: StepSink | None,
) -> tuple[Verified | None, Explanation | None]:
    steps = Steps(lambda step: on_step(program, step)) if on_step is not None else None
    try:
        verified = verify(
            program,
            [source.maps[name] for name in program.maps],
            license=source.license,
            btf=source.btf,
            kernel_btf=kernel_btf,
            kernel_version=version,
            privileged=privileged,
            observer=steps,
        )
    except Rejected as refused:
        return None, explain(program, refused.finding, license=source.license, kernel_btf=kernel_btf)
    finally:
        if steps is not None:
            steps.finish()
    return verified, None


def _is_newer(need: Need, version: Version | None) -> bool:
    return version is not None and need.since > version


def _too_new(program: Program, need: Need, version: Version | None) -> Explanation:
    """The refusal of a kernel that does not have something yet."""
    assert version is not None
    wanted, since = (".".join(map(str, one)) for one in (version, need.since))
    place = place_of(program, need.at)
    function = program.function_at(need.at) if need.at is not None else None
    return Explanation(
        kind="newer-than-kernel",
        program=program.name,
        title=f"Linux {wanted} does not have {need.what}",
        at=need.at,
        instruction="",
        function=function.name if function is not None and function.start else "",
        place=place,
        values=(),
        path=(),
        why=f"They came with Linux {since}." if not need.what.endswith("()") else f"It came with Linux {since}.",
        notes=(),
        todo=need.instead,
        kernel=need.kernel,
    )


def _ask_kernel(source: Object, program: Program) -> KernelVerdict:
    """Only of this program: what a program array holds from the start has a verdict of its own."""
    from routebpf.kernel.object import load_in_kernel

    maps = {
        name: one._replace(initial_slots={}) if one.type == PROG_ARRAY else one for name, one in source.maps.items()
    }
    try:
        load_in_kernel(source._replace(maps=maps), programs=[program.name]).close()
    except RejectedError as error:
        return KernelVerdict(_reasons(error), error.log)
    return KernelVerdict(None)


def _reasons(error: RejectedError) -> str:
    """The kernel's own words: those at the end of its log, or all of the error if it wrote none."""
    from routebpf.kernel.verifier_log import read_reasons

    return "\n".join(read_reasons(error.log)) or str(error).splitlines()[0]
