"""`berth up` that ends when nobody uses it any more: `python -m runtime.testing.watched DIRECTORY up …`.

Who uses it holds a lock on the file `alive` in the directory, which comes free however they end.
"""

import fcntl
import os
import signal
import sys
import threading
from pathlib import Path

from runtime.cli import main

ALIVE = "alive"


def _end_with(path: Path) -> None:
    """Wait until no process holds the file, then end this one as `berth down` does."""
    descriptor = os.open(path, os.O_RDWR)
    fcntl.flock(
        descriptor, fcntl.LOCK_EX
    )  # held from now on: who comes late waits until this process has ended
    os.kill(os.getpid(), signal.SIGTERM)


if __name__ == "__main__":
    alive = Path(sys.argv[1]) / ALIVE
    threading.Thread(target=_end_with, args=(alive,), name="alive", daemon=True).start()
    sys.exit(main(sys.argv[2:]))
