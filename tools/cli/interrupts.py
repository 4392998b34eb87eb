"""How a command ends when it is told to: at once where it can, within a second anyway, and leaving nothing.

The first signal raises an exception wherever the program is, so that everything is put
away on the way out; further ones change nothing. A call into a library may be long, and
an exception may be lost in it: then a thread that waits for signals puts away what is
unfinished, and ends the process.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

from secateur.ir.support.unfinished import abandon

GRACE = 1.0  # seconds on the way out
_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def install() -> None:
    """For the main thread of a program; a signal that is ignored already, as by `nohup`, stays so."""
    heeded = [number for number in _SIGNALS if signal.getsignal(number) != signal.SIG_IGN]
    for number in heeded:
        signal.signal(number, _leave)
    told, tell = os.pipe()
    os.set_blocking(tell, False)
    signal.set_wakeup_fd(tell, warn_on_full_buffer=False)
    threading.Thread(target=_watch, args=(told, frozenset(map(int, heeded))), daemon=True).start()


@contextmanager
def telling(*files: Path | None) -> Iterator[None]:
    """A block that writes files, each whole or not at all; where it is interrupted it says which."""
    wanted = [file for file in files if file is not None]
    before = [_stamp(file) for file in wanted]
    try:
        yield
    except (KeyboardInterrupt, SystemExit):
        written = [str(f) for f, stamp in zip(wanted, before, strict=True) if _stamp(f) != stamp]
        print(f"interrupted: {', '.join(written) or 'nothing'} was written", file=sys.stderr)
        raise


def _stamp(file: Path) -> tuple[int, int] | None:
    """Changes when the file is written; None where there is none."""
    try:
        found = file.stat()
    except OSError:
        return None
    return found.st_ino, found.st_mtime_ns


def exit_code(number: int) -> int:
    return 128 + number


def _leave(number: int, _frame: FrameType | None) -> None:
    for other in _SIGNALS:
        signal.signal(other, signal.SIG_IGN)
    if number == signal.SIGINT:
        raise KeyboardInterrupt
    raise SystemExit(exit_code(number))


def _watch(told: int, heeded: frozenset[int]) -> None:
    """Waits for a signal, even while the main thread is in a library, and for the main thread to end."""
    while True:
        number = os.read(told, 1)[0]
        if number in heeded:
            break
    time.sleep(GRACE)
    abandon()
    os._exit(exit_code(number))
