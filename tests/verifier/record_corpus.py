"""Ask both verifiers about every program of the corpus and write down what they say; as root.

Prints every program whose recorded verdict is another one now, and what the two agree on. Writes the page of the
differences, docs/verifier-differences.md.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

if __name__ == "__main__":
    sys.path[:0] = [str(Path(__file__).parents[1]), str(Path(__file__).parent)]

from against_kernel import kernels, ours
from corpus import Case, comment_of, files, read_cases, words, write_cases

PAGE = Path(__file__).parents[2] / "docs" / "verifier-differences.md"


def record(path: Path) -> list[Case]:
    """The programs of a file with what the two say now, written down."""
    now = []
    for case in read_cases(path):
        asked = case.subject()
        fresh = replace(case, kernel=kernels(asked).refusal, ours=ours(asked).refusal)
        if (fresh.kernel, fresh.ours) != (case.kernel, case.ours):
            print(f"{case}: kernel {fresh.kernel!r}" + ("" if fresh.kernel == fresh.ours else f", ours {fresh.ours!r}"))
        now.append(fresh)
    write_cases(path, comment_of(path), now)
    return now


def page_text(cases: Sequence[Case]) -> str:
    """The page of the documentation that lists what differs."""
    accepted = [case for case in cases if case.kernel is None]
    refused = [case for case in cases if case.kernel is not None]
    same = sum(case.ours == case.kernel for case in refused)
    verdicts = [case for case in cases if (case.kernel is None) != (case.ours is None)]
    wordings = [case for case in refused if case.ours is not None and case.ours != case.kernel]
    parts = [
        _HEAD.format(
            total=len(cases),
            accepted=len(accepted),
            taken=sum(case.ours is None for case in accepted),
            refused=len(refused),
            turned=sum(case.ours is not None for case in refused),
            same=same,
        ),
        "## Another verdict\n\n",
        *map(_section, verdicts),
        "## The same verdict in other words\n\n",
        *map(_section, wordings),
    ]
    return "".join(parts).rstrip("\n") + "\n"


_HEAD = """# Where our verifier and the kernel's differ

This page is made by `tests/verifier/record_corpus.py` from the programs in `tests/verifier/corpus`, which both
verifiers were asked about: ours, and that of a running Linux 6.18. Of {total:,} programs, the kernel accepts
{accepted}, and we {taken} of these; it refuses {refused}, and we {turned} of these, {same} in the kernel's own words.

Not modelled, because it changes no verdict for a process with CAP_PERFMON: the rules against speculative execution.

"""


def _section(case: Case) -> str:
    code = case.text.replace("\n", "\n    ")
    return (
        f"### {case.name[0].upper()}{case.name[1:]}\n\n"
        f"The kernel: {_quoted(case.kernel)}. We: {_quoted(case.ours)}.\n\n{case.why}\n\n    {code}\n\n"
    )


def _quoted(said: str | None) -> str:
    return "accepted" if said is None else f"`{words(said)}`"


def main() -> None:
    cases = [case for path in files() for case in record(path)]
    PAGE.write_text(page_text(cases))
    accepted = [case for case in cases if case.kernel is None]
    refused = [case for case in cases if case.kernel is not None]
    print(f"{len(cases)} programs; the kernel accepts {len(accepted)} and refuses {len(refused)}")
    print(f"of those accepted, we accept {sum(case.ours is None for case in accepted)}")
    print(f"of those refused, we refuse {sum(case.ours is not None for case in refused)},")
    print(f"in the same words {sum(case.ours == case.kernel for case in refused)}")


if __name__ == "__main__":
    main()
