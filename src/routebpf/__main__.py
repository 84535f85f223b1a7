"""`python -m routebpf`, and the command `routebpf`."""

from __future__ import annotations

import gc
import os
import signal

_NEW_OBJECTS = 200_000  # before garbage is looked for among them; Python's own 700 come with every module


def main() -> None:
    """Run the command line. Ctrl-C while its modules are still read ends the process without a traceback."""
    gc.set_threshold(_NEW_OBJECTS)
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    from routebpf.cli.main import main as run

    try:
        code = run()
    except KeyboardInterrupt:  # another one, while the first was told
        code = 128 + signal.SIGINT
    # All that is left goes with the process: nobody needs to free it object by object, which takes up to 4 ms.
    os._exit(code)


if __name__ == "__main__":
    main()
