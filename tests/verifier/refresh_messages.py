"""Writes what is said of the programs in `messages/` beside them: to be read before it is committed.

python tests/verifier/refresh_messages.py [NAME…]
"""

from __future__ import annotations

import sys
from pathlib import Path


def main() -> None:
    sys.path.insert(0, str(Path(__file__).parent.parent))
    from refusals import FOLDER, NAMES, text

    for name in sys.argv[1:] or NAMES:
        path = FOLDER / f"{name}.txt"
        new = text(name)
        if not path.exists() or path.read_text() != new:
            print(name)
            path.write_text(new)


if __name__ == "__main__":
    main()
