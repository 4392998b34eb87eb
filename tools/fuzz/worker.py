"""Runs cases of one family in a process of its own, one line on stdout for each.

    python -m secateur.tools.fuzz.worker FAMILY FIRST COUNT FOLDER

Lines: `ready`, then for each case `begin SEED`, `peer` where foreign code runs, and
`end SEED OUTCOME`. A case that takes longer than the family's limit ends the process
(SIGALRM); so does a crash. Failures are written to FOLDER.
"""

from __future__ import annotations

import os
import resource
import signal
import sys
import traceback
import warnings
from pathlib import Path
from tempfile import TemporaryDirectory

from secateur.ir.support.unasked import do_without

from .families import families
from .family import Family

MEMORY_BYTES = 12 << 30
FAILED = "FAILED"


def main(arguments: list[str]) -> None:
    """The process."""
    name, first, count, folder = arguments
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    warnings.simplefilter("ignore")
    do_without("torch")
    family = families()[name]
    family.make(0)  # what all cases share is prepared before the clock starts
    say("ready")
    for seed in range(int(first), int(first) + int(count)):
        say(f"begin {seed}")
        say(f"end {seed} {outcome(family, seed, Path(folder))}")


def say(line: str) -> None:
    """One whole line, at once."""
    os.write(1, f"{line}\n".encode())


def outcome(family: Family, seed: int, folder: Path) -> str:
    """What one case came to, in a word."""
    from ..cli.main import USER_ERRORS

    data = family.make(seed)
    signal.alarm(family.limit_s)
    try:
        with TemporaryDirectory(prefix="secateur-fuzz-") as scratch:
            return family.check(data, seed, Path(scratch), say)
    except USER_ERRORS:
        return "refused"
    except Exception as error:
        summary = f"{type(error).__name__}: {error}".splitlines()[0]
        save(family, seed, data, f"{summary}\n\n{traceback.format_exc()}", folder)
        return FAILED
    finally:
        signal.alarm(0)


def save(family: Family, seed: int, data: bytes, why: str, folder: Path) -> Path:
    """Writes a failing case, and beside it what happened and how to see it again."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{family.name}-{seed}{family.suffix}"
    path.write_bytes(data)
    path.with_name(path.name + ".txt").write_text(f"{why}\nreplay: {replay_command(family.name, seed)}\n")
    return path


def replay_command(family: str, seed: int) -> str:
    """The line that runs one case again with its traceback."""
    return f"python -m secateur.tools.fuzz --replay {family}:{seed}"


if __name__ == "__main__":
    main(sys.argv[1:])
