"""Tests that ask the running kernel: skipped where they cannot run, unless `--require-kernel` says that they must."""

from __future__ import annotations

import os
import sys
from collections.abc import Generator

import pytest
from hypothesis import settings

# The first run of a native function compiles it: no example has a deadline.
settings.register_profile("routebpf", deadline=None)
settings.load_profile("routebpf")
# Commands are run as people run them: Python keeps back what it writes, and writes it as it ends.
os.environ.pop("PYTHONUNBUFFERED", None)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--require-kernel",
        action="store_true",
        help="a test marked `kernel` that is skipped, for whatever reason, is a failure",
    )


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    reason = _why_no_kernel()
    if reason:
        for item in items:
            if item.get_closest_marker("kernel"):
                item.add_marker(pytest.mark.skip(reason=reason))


def _why_no_kernel() -> str | None:
    if not sys.platform.startswith("linux"):
        return "asks the Linux kernel, and this is no Linux"
    return None if os.geteuid() == 0 else "asks the running kernel; needs root"


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    is_skip = report.skipped and not hasattr(report, "wasxfail")
    if is_skip and item.get_closest_marker("kernel") and item.config.getoption("--require-kernel"):
        report.outcome = "failed"
        report.longrepr = f"{item.nodeid}: skipped, and --require-kernel forbids it: {_reason(report)}"
    return report


def _reason(report: pytest.TestReport) -> str:
    return str(report.longrepr[2]) if isinstance(report.longrepr, tuple) else str(report.longrepr)
