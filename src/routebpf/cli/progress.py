"""A progress bar on a terminal, for what lasts over a second."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

_PATIENCE_SECONDS = 1.0


@contextmanager
def progress_bar(what: str, *, is_alone: bool) -> Iterator[Callable[[int, int], None] | None]:
    """Gives what to call with (bytes done, bytes in all); None where the error output is no terminal.

    `is_alone`: nothing else is printed in the meantime; else there is no bar either.
    """
    if not is_alone or sys.stderr is None or not sys.stderr.isatty():
        yield None
        return
    bar = _Bar(what)
    try:
        yield bar.show
    finally:
        bar.close()


class _Bar:
    def __init__(self, what: str) -> None:
        self._what = what
        self._start = time.monotonic()
        self._progress: Any = None
        self._task: Any = None

    def show(self, done: int, total: int) -> None:
        if self._progress is None:
            if time.monotonic() - self._start < _PATIENCE_SECONDS:
                return
            self._open(total)
        self._progress.update(self._task, completed=done, total=total or None)

    def _open(self, total: int) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn

        self._progress = Progress(
            TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TimeRemainingColumn(),
            console=Console(stderr=True), transient=True, redirect_stdout=False, redirect_stderr=False,
        )  # fmt: skip
        self._task = self._progress.add_task(self._what, total=total or None)
        self._progress.start()

    def close(self) -> None:
        if self._progress is not None:
            self._progress.stop()
