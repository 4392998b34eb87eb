"""Starts the process that has the GPU, and starts it again behind an item that ended it."""

from __future__ import annotations

import argparse
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from .results import FILE, Results, as_markdown
from .work import NO_DRIVER, Worker

STALL = 60.0  # seconds without a result, after which a process is stopped
MOST_LOST = 20  # items; then something else is wrong


def main(arguments: list[str] | None = None) -> int:
    """Does what the index lists as long as there is time; exit code 1 where an answer is wrong.

    What results.json in `--out` has already is not done again.
    """
    parser = argparse.ArgumentParser(
        prog="carried", description="Check and time artifacts on this machine's GPU."
    )
    parser.add_argument("folder", type=Path)
    parser.add_argument("--out", type=Path, help="Folder of the results; default: the same.")
    parser.add_argument("--seconds", type=float, default=480.0)
    parser.add_argument("--no-peers", action="store_true")
    parser.add_argument(
        "--here", action="store_true", help="In this process: a kernel that fails may end it."
    )
    asked = parser.parse_args(arguments)
    out = asked.out or asked.folder
    out.mkdir(parents=True, exist_ok=True)
    if asked.here:
        return Worker(asked.folder, out, asked.seconds, not asked.no_peers).run()
    given = sys.argv[1:] if arguments is None else arguments
    code = supervised([sys.executable, "-m", __package__ or "carried", *given, "--here"], out)
    if code == NO_DRIVER:
        print("no GPU of NVIDIA's with a driver here: take the archive to where there is one")
        return NO_DRIVER
    results = Results(out)
    print(as_markdown(results.data))
    return int(bool(code or results.wrong))


def supervised(command: Sequence[str], out: Path) -> int:
    """The exit code of the last process; what one had begun when it ended is a failure, the rest follows."""
    begin = time.monotonic() - Results(out).data["spent"]
    for _ in range(MOST_LOST):
        code = _ran(command, out / FILE)
        if code in (0, NO_DRIVER):
            break
        _blame(out, code, time.monotonic() - begin)
    return code


def _ran(command: Sequence[str], watched: Path) -> int:
    """The exit code of a process that writes a file after each step; it is stopped where it stops to."""
    process, begin = subprocess.Popen(command), time.time()
    while True:
        try:
            return process.wait(1.0)
        except subprocess.TimeoutExpired:
            written = watched.stat().st_mtime if watched.exists() else begin
            if time.time() - max(begin, written) > STALL:
                process.kill()


def _blame(out: Path, code: int, spent: float) -> None:
    results = Results(out)
    results.data["spent"] = spent
    if begun := results.data["begun"]:
        results.failed(begun["name"], begun["check"], f"its process ended with {code}")
        results.finish(begun["name"])
    results.write()
