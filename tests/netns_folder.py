"""A folder of network namespaces of a test's own: no other process sweeps what is left in it."""

from __future__ import annotations

import ctypes
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from routebpf.kernel import namespaces

_MNT_DETACH = 2
_libc = ctypes.CDLL(None, use_errno=True)


@contextmanager
def own_folder(path: Path) -> Iterator[Path]:
    """The namespaces of this process stand in `path` meanwhile. A child has to be told: `namespaces.FOLDER`."""
    path.mkdir()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(namespaces, "FOLDER", path)
        try:
            yield path
        finally:
            for one in path.iterdir():
                namespaces.remove_namespace(namespaces.Namespace(one.name))
            _libc.umount2(bytes(path), _MNT_DETACH)
