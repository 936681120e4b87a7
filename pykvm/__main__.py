"""The command `pykvm`, also as `python -m pykvm`.

Most of a short run is imports, and Ctrl-C then has nothing to leave in order: it ends the process
at once, with one line, until the command itself listens.
"""

from __future__ import annotations

import os
import signal
from types import FrameType


def _leave(number: int, _frame: FrameType | None) -> None:
    os.write(2, b"pykvm: interrupted\n")
    os._exit(128 + number)


if signal.getsignal(signal.SIGINT) is signal.default_int_handler:  # else somebody ignores it
    signal.signal(signal.SIGINT, _leave)

from pykvm.cli import main  # noqa: E402 - this is what takes its time

if __name__ == "__main__":
    raise SystemExit(main())
