"""`python -m routebpf`, and the command `routebpf`."""

from __future__ import annotations

import signal


def main() -> None:
    """Run the command line. Ctrl-C while its modules are still read ends the process without a traceback."""
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    from routebpf.cli.main import main as run

    run()


if __name__ == "__main__":
    main()
