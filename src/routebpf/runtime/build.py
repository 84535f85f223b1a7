"""Compiles every native function to bitcode and puts it into the package, so that no user's run has to.

    python -m routebpf.runtime.build

`make` runs it; what is already there is kept, what nothing uses any more goes.
"""

from __future__ import annotations

import pkgutil
import sys
import time
from importlib import import_module

from routebpf.runtime import cache
from routebpf.runtime.bitcode import bitcode, cached_name
from routebpf.runtime.native import Native

_PACKAGES = ("routebpf.runtime", "routebpf.datapath")


def native_functions() -> list[Native]:
    """Every native function of the package, by symbol."""
    found: dict[str, Native] = {}
    for name in _PACKAGES:
        package = import_module(name)
        for module in pkgutil.iter_modules(package.__path__, f"{name}."):
            values = vars(import_module(module.name)).values()
            found.update((one.symbol, one) for one in values if isinstance(one, Native))
    return [found[symbol] for symbol in sorted(found)]


def build() -> tuple[int, int]:
    """Fill the package's folder of bitcode: how many functions there are, and how many were compiled."""
    functions = native_functions()
    wanted = {cached_name(one): one for one in functions}
    cache.SHIPPED.mkdir(exist_ok=True)
    present = {path.name for path in cache.SHIPPED.glob("*.bc")}
    for name in present - wanted.keys():
        (cache.SHIPPED / name).unlink()
    missing = [one for name, one in wanted.items() if name not in present]
    for one in missing:
        cache.write(cached_name(one), bitcode(one), cache.SHIPPED)
    return len(functions), len(missing)


def main() -> None:
    start = time.monotonic()
    functions, compiled = build()
    print(f"{functions} native functions, {compiled} compiled in {time.monotonic() - start:.1f} s", file=sys.stderr)


if __name__ == "__main__":
    main()
