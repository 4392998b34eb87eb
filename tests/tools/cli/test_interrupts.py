"""Signals: a command that is told to end does so soon, and leaves no file, no folder and no process."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.sampled import sampled_rows
from tests.shorter import shorter

SOON = 15.0  # seconds; a busy machine may take longer than the two that are promised
START = "from secateur.tools.cli.main import main; main()"


def _running(mark: str) -> list[str]:
    """The processes whose environment has `mark`, zombies left out."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            if mark.encode() in (folder / "environ").read_bytes():
                found.append((folder / "cmdline").read_text().replace("\0", " "))
        except OSError:
            continue
    return found


def _until(condition: Callable[[], object], process: subprocess.Popen[bytes]) -> None:
    limit = time.monotonic() + 300
    while not condition():
        assert process.poll() is None, "ended before the signal"
        assert time.monotonic() < limit
        time.sleep(0.02)


def _default() -> None:
    """A shell has the programs it starts in the background ignore SIGINT, and they hand that on."""
    for number in (signal.SIGINT, signal.SIGHUP, signal.SIGTERM):
        signal.signal(number, signal.SIG_DFL)


MOMENTS: dict[str, Callable[[Path], bool]] = {
    "start": lambda place: (place / "tmp").exists(),
    "kernels": lambda place: any((place / "cache" / "kernels").glob("*")),
    "linking": lambda place: any((place / "tmp").glob("secateur-*/*model_table.o")),
}
CASES = [
    ("start", "INT", 130),
    ("start", "HUP", 129),
    ("kernels", "INT group", 130),
    ("kernels", "TERM TERM INT", 143),
    ("kernels", "HUP", 129),
    ("linking", "INT group", 130),
    ("linking", "TERM group TERM", 143),
]
LIKE_OTHERS = [("kernels", "TERM TERM INT", 143), ("kernels", "HUP", 129), ("linking", "INT group", 130)]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("moment", "signals", "code"),
    sampled_rows(CASES, lambda *case: case not in LIKE_OTHERS),
    ids=[f"{m}-{s}" for m, s, _ in CASES],
)
def test_a_signal_ends_it_and_leaves_nothing(tmp_path: Path, moment: str, signals: str, code: int) -> None:
    (tmp_path / "tmp").mkdir()
    (tmp_path / "out").mkdir()
    environment = os.environ | {
        "SECATEUR_CACHE": str(tmp_path / "cache"),
        "SECATEUR_JOBS": "2",
        "TMPDIR": str(tmp_path / "tmp"),
    }
    words = [sys.executable, "-c", START, "compile", str(shorter("digits")), "-o", f"{tmp_path}/out/m.so"]
    with subprocess.Popen(
        words, env=environment, stderr=subprocess.PIPE, start_new_session=True, preexec_fn=_default
    ) as process:
        assert process.stderr is not None
        _until(lambda: MOMENTS[moment](tmp_path), process)
        if moment == "start":
            time.sleep(1.5)
        sent = time.monotonic()
        for number, group in _parsed(signals):
            (os.killpg if group else os.kill)(process.pid, number)
            time.sleep(0.05)
        told = process.stderr.read().decode()
        process.wait()
        took = time.monotonic() - sent
    assert process.returncode == code, told
    assert "Traceback" not in told
    assert took < SOON
    assert _running(f"TMPDIR={tmp_path}/tmp") == []
    assert list((tmp_path / "tmp").iterdir()) == []
    assert list((tmp_path / "out").iterdir()) == []
    partial = [p.name for p in (tmp_path / "cache").glob("kernels/*") if "." in p.name]
    assert partial == []


def _parsed(signals: str) -> list[tuple[signal.Signals, bool]]:
    """`INT group TERM`: SIGINT to the whole group, then SIGTERM to the process."""
    words = signals.split()
    return [
        (signal.Signals[f"SIG{word}"], words[i + 1 : i + 2] == ["group"])
        for i, word in enumerate(words)
        if word != "group"
    ]


STUCK = """
import ctypes, sys
from secateur.ir.support.unfinished import child, temporary_folder
from secateur.tools.cli.interrupts import install
install()
libc, lock = ctypes.CDLL(None), ctypes.create_string_buffer(64)
with temporary_folder("stuck-") as folder, child([sys.executable, "-c", "import time; time.sleep(300)"]):
    (folder / "half").touch()
    print("ready", flush=True)
    libc.pthread_mutex_lock(lock)
    libc.pthread_mutex_lock(lock)  # never comes back, and no signal interrupts it
"""


def test_a_program_that_is_deep_in_a_library_ends_too(tmp_path: Path) -> None:
    """Python's signal handlers wait until the library comes back."""
    environment = os.environ | {"TMPDIR": str(tmp_path)}
    with subprocess.Popen(
        [sys.executable, "-c", STUCK], env=environment, stdout=subprocess.PIPE, preexec_fn=_default
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"ready\n"
        sent = time.monotonic()
        process.terminate()
        assert process.wait() == 143
        assert time.monotonic() - sent < SOON
    assert list(tmp_path.iterdir()) == []
    assert _running(f"TMPDIR={tmp_path}") == []
