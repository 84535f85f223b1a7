"""Files that save compiling again: bitcode and machine code, shipped with the package or in the user's cache folder.

A name holds everything that the content depends on, so nothing is ever out of date; two processes may write the same.
A file starts with a digest of the rest: one that is damaged (a machine that lost power) is none, and is written anew.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import tempfile
from functools import cache
from pathlib import Path

SHIPPED = Path(__file__).parent / "bitcode"
_DIGEST_BYTES = 16


@cache
def user_folder() -> Path:
    """The user's cache folder (XDG_CACHE_HOME), or one below the temporary folder where there is no home."""
    base = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
    if not os.path.isabs(base):
        base = os.path.join(tempfile.gettempdir(), f"cache-{os.getuid()}")
    return Path(base) / "routebpf"


def read(name: str) -> bytes | None:
    """The content of the file of that name, or None."""
    found = read_from(SHIPPED, name)
    return read_from(user_folder(), name) if found is None else found


def read_from(folder: Path, name: str) -> bytes | None:
    """The content of the file of that name in a folder, None if there is none that is whole."""
    try:
        content = (folder / name).read_bytes()
    except OSError:
        return None
    data = content[_DIGEST_BYTES:]
    return data if content == _digest(data) + data else None


def _digest(data: bytes) -> bytes:
    return hashlib.blake2b(data, digest_size=_DIGEST_BYTES).digest()


def write(name: str, data: bytes, folder: Path | None = None) -> None:
    """Keep `data` under `name`. A cache that cannot be written is no error: it is compiled again next time."""
    target = (folder or user_folder()) / name
    with contextlib.suppress(OSError):
        target.parent.mkdir(parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(dir=target.parent, prefix=".new-")
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(_digest(data) + data)
            os.replace(temporary, target)
        except OSError:
            os.unlink(temporary)
            raise
