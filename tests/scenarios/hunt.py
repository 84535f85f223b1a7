"""Random scenarios on both hosts and engines: `python tests/scenarios/hunt.py --first 0 --count 500 --jobs 2`, as root.

The JIT plays one in four: it takes longer to compile than all else. Prints what was found, each time made as small as
it can be: a scenario file, and what differs. --keep FOLDER writes them there. --packets is how many packets each has.
"""

from __future__ import annotations

import argparse
import contextlib
import re
import sys
import time
import traceback
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from pathlib import Path

if __name__ == "__main__":
    sys.path[:0] = [str(Path(__file__).parents[1])]

from routebpf.errors import Error
from routebpf.hosts.embedded import EmbeddedHost
from routebpf.hosts.kernel import KernelHost
from scenarios.generate import PACKETS, Plan, plan
from scenarios.play import disagreements

Kind = type[EmbeddedHost] | type[KernelHost]
JIT_EVERY = 4
SECONDS = 60  # to make one smaller


def toml(made: Plan) -> str:
    """The scenario as the text of a file."""
    scenario = made.scenario()
    programs = "".join(f"\"{name}\" = '''\n{text}'''\n" for name, text in scenario.programs.items())
    packets = "".join(
        f'    {{ hex = "{one.data.hex()}"'
        + (f", mark = {one.mark}" if one.mark else "")
        + (f', receive = "{one.receive}"' if one.receive else "")
        + " },\n"
        for one in scenario.packets
    )
    return (
        f'description = "{made.name}"\n\ntopology = """\n{scenario.topology}"""\n\npackets = [\n{packets}]\n\n'
        f"[programs]\n{programs}"
    )


def found_in(made: Plan, *others: Kind) -> Iterator[str]:
    """What the hosts do not agree on; nothing where it cannot be played."""
    with contextlib.suppress(Error):
        yield from disagreements(made.scenario(), *others)


def kind_of(text: str) -> str:
    """What a difference is about: hex and the numbers of packets left out."""
    text = re.sub(r"[0-9a-f]{24,}", "…", text)
    return re.sub(r"(packet|frame) \d+|\[\w+\]", r"\1", text)


def smaller(made: Plan, kind: str, *others: Kind) -> Plan:
    """The smallest plan that is found and still has a difference of that kind."""
    end = time.monotonic() + SECONDS
    is_done = False
    while not is_done:
        is_done = True
        for one in made.smaller():
            if time.monotonic() > end:
                return made
            if any(kind_of(text) == kind for text in found_in(one, *others)):
                made, is_done = one, False
                break
    return made


def hunted(number: int, packets: int) -> tuple[int, str, list[str], str]:
    """The number, what kind of difference there is (none: ""), the differences of the small scenario, its file."""
    made = plan(number, packets)
    try:
        found = list(disagreements(made.scenario(), *(() if number % JIT_EVERY == 0 else (KernelHost,))))
    except Error as error:
        return number, "not played", [str(error)], ""
    except Exception:
        return number, "crashed", [traceback.format_exc()], ""
    if not found:
        return number, "", [], ""
    kind = kind_of(found[0])
    other = KernelHost if kind.startswith(KernelHost.__name__) else EmbeddedHost
    made = smaller(made, kind, other)
    return number, kind, list(found_in(made, other)), toml(made)


def main() -> None:
    asked = argparse.ArgumentParser(description=__doc__)
    asked.add_argument("--first", type=int, default=0)
    asked.add_argument("--count", type=int, default=100)
    asked.add_argument("--packets", type=int, default=PACKETS)
    asked.add_argument("--jobs", type=int, default=2)
    asked.add_argument("--keep", type=Path)
    options = asked.parse_args()
    kinds: Counter[str] = Counter()
    numbers = range(options.first, options.first + options.count)
    with ProcessPoolExecutor(options.jobs) as pool:
        for done in as_completed([pool.submit(hunted, number, options.packets) for number in numbers]):
            number, kind, found, text = done.result()
            kinds[kind or "agreed"] += 1
            if kinds.total() % 10 == 0:
                print(f"{kinds.total()} played, {kinds['agreed']} agreed", file=sys.stderr, flush=True)
            if kind:
                print(f"== {number}: {kind}", *found[:8], sep="\n", flush=True)
            if text and options.keep:
                (options.keep / f"{number}.toml").write_text(text)
    print(*(f"{count:6} {kind}" for kind, count in kinds.most_common()), sep="\n")


if __name__ == "__main__":
    main()
