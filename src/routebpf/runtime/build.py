"""Compiles every native function and puts it into the package, so that no user's run has to.

    python -m routebpf.runtime.build

`make` runs it. There is bitcode of every function, for any processor; and machine code for this one of those that
nothing native calls, or that are operations of a map: Python calls them. What is there already is kept, what nothing
uses any more goes.
"""

from __future__ import annotations

import pkgutil
import sys
import time
from collections.abc import Callable
from functools import partial
from importlib import import_module

from routebpf.runtime import cache
from routebpf.runtime.bitcode import bitcode, cached_name
from routebpf.runtime.machine import compile_object, object_name
from routebpf.runtime.native import Native
from routebpf.runtime.registry import MAP_OPERATIONS

_PACKAGES = ("routebpf.runtime", "routebpf.datapath")  # by name: nothing here needs what is in the second


def native_functions() -> list[Native]:
    """Every native function of the package, by symbol."""
    found: dict[str, Native] = {}
    for name in _PACKAGES:
        package = import_module(name)
        for module in pkgutil.iter_modules(package.__path__, f"{name}."):
            values = vars(import_module(module.name)).values()
            found.update((one.symbol, one) for one in values if isinstance(one, Native))
    return [found[symbol] for symbol in sorted(found)]


def entry_points(functions: list[Native]) -> list[Native]:
    """The functions whose machine code is used by itself."""
    called = {callee.symbol for one in functions for callee in one.calls()}
    return [one for one in functions if one.symbol not in called or one.name in MAP_OPERATIONS]


def build() -> tuple[int, int]:
    """Fill the package's folder: how many files there are, and how many were compiled."""
    functions = native_functions()
    wanted: dict[str, Callable[[], bytes]] = {cached_name(one): partial(bitcode, one) for one in functions}
    wanted |= {object_name(one): partial(compile_object, one) for one in entry_points(functions)}
    cache.SHIPPED.mkdir(exist_ok=True)
    present = {path.name for path in cache.SHIPPED.iterdir()}
    for name in present - wanted.keys():
        (cache.SHIPPED / name).unlink()
    missing = [name for name in wanted if cache.read_from(cache.SHIPPED, name) is None]
    for name in missing:
        cache.write(name, wanted[name](), cache.SHIPPED)
    return len(wanted), len(missing)


def main() -> None:
    start = time.monotonic()
    files, compiled = build()
    print(f"native code: {files} files, {compiled} compiled in {time.monotonic() - start:.1f} s", file=sys.stderr)


if __name__ == "__main__":
    main()
