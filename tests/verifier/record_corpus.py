"""Ask both verifiers about every program of the corpus and write down what they say; as root.

Prints every program whose recorded verdict is another one now, and what the two agree on. Writes the page of the
differences, docs/verifier-differences.md.
"""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

if __name__ == "__main__":
    sys.path[:0] = [str(Path(__file__).parents[1]), str(Path(__file__).parent)]

from against_kernel import kernels, ours
from corpus import Case, comment_of, files, read_cases, write_cases


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


def main() -> None:
    cases = [case for path in files() for case in record(path)]
    accepted = [case for case in cases if case.kernel is None]
    refused = [case for case in cases if case.kernel is not None]
    print(f"{len(cases)} programs; the kernel accepts {len(accepted)} and refuses {len(refused)}")
    print(f"of those accepted, we accept {sum(case.ours is None for case in accepted)}")
    print(f"of those refused, we refuse {sum(case.ours is not None for case in refused)},")
    print(f"in the same words {sum(case.ours == case.kernel for case in refused)}")


if __name__ == "__main__":
    main()
