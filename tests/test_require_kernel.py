"""`pytest --require-kernel`: no test of the kernel can be left out unseen."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

SKIPS = """
import pytest

@pytest.mark.kernel
def test_in_its_body():
    pytest.skip("no such device")

@pytest.mark.kernel
@pytest.mark.skipif(True, reason="no such tool")
def test_by_its_mark():
    pass

@pytest.mark.kernel
@pytest.mark.xfail(reason="known")
def test_known_to_fail():
    assert False

def test_that_asks_no_kernel():
    pytest.skip("no such file")
"""


@pytest.fixture
def run(tmp_path: Path) -> subprocess.CompletedProcess[str]:
    """That suite, as if by root."""
    conftest = Path(__file__).with_name("conftest.py")
    (tmp_path / "conftest.py").write_text(conftest.read_text() + "\n_why_no_kernel = lambda: None\n")
    (tmp_path / "pytest.ini").write_text("[pytest]\nmarkers = kernel\n")
    (tmp_path / "test_skips.py").write_text(SKIPS)
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-rfs", "--require-kernel"]
    return subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)


def test_a_kernel_test_that_is_skipped_fails_and_says_why(run: subprocess.CompletedProcess[str]) -> None:
    assert run.returncode == 1
    assert "1 failed, 1 skipped, 1 xfailed, 1 error" in run.stdout  # a skip by a mark comes before the call
    assert "no such device" in run.stdout
    assert "no such tool" in run.stdout
