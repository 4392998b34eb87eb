"""What must go where a process ends in haste: files half written, and processes of ours that still work.

Whoever makes such a thing names it here for as long as it is unfinished, beside
removing it himself. A program that is told to end and cannot wait until it is back
from a long call removes all of it at once.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import tempfile
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any

_MOMENT = 0.2  # seconds that a process may take to die once it is killed
_LOCK = threading.Lock()
_PATHS: set[Path] = set()
_CHILDREN: set[subprocess.Popen[Any]] = set()


@contextmanager
def unfinished(path: Path) -> Iterator[Path]:
    """Names a file or folder that is not to stay; it is gone afterwards."""
    with _LOCK:
        _PATHS.add(path)
    try:
        yield path
    finally:
        _remove(path)
        with _LOCK:
            _PATHS.discard(path)


@contextmanager
def temporary_folder(prefix: str) -> Iterator[Path]:
    """A new folder that only we may enter; gone afterwards."""
    with unfinished(Path(tempfile.mkdtemp(prefix=prefix))) as folder:
        yield folder


@contextmanager
def child(words: Sequence[str], **options: Any) -> Iterator[subprocess.Popen[bytes]]:
    """A process in a group of its own, which no interrupt of ours reaches; killed where it still runs."""
    process: subprocess.Popen[bytes] = subprocess.Popen(words, process_group=0, **options)
    with _LOCK:
        _CHILDREN.add(process)
    try:
        yield process
    finally:
        end(process)
        with _LOCK:
            _CHILDREN.discard(process)


def end(process: subprocess.Popen[Any]) -> None:
    """Kills a process and those that it started, and waits for it."""
    _kill(process)
    process.wait()
    for stream in (process.stdin, process.stdout, process.stderr):
        _close(stream)


def abandon() -> None:
    """Ends every child and removes every file, from whatever thread, in a moment."""
    for process in list(_CHILDREN):
        _kill(process)
    for process in list(_CHILDREN):
        with suppress(subprocess.TimeoutExpired):
            process.wait(_MOMENT)
    for path in list(_PATHS):
        _remove(path)


def _kill(process: subprocess.Popen[Any]) -> None:
    if process.returncode is None:
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, signal.SIGKILL)


def _close(stream: IO[Any] | None) -> None:
    if stream is not None:
        with suppress(OSError):  # a pipe whose reader is gone keeps what was not flushed
            stream.close()


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        with suppress(OSError):
            path.unlink(missing_ok=True)
