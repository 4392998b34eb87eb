"""Progress where stderr is no terminal: a line for each phase, the first before heavy imports."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from secateur.tools.progress import Phases, progress

from .conftest import Cli

WATCHED = """
import sys
from secateur.tools.cli.main import main

class Watch:
    def __init__(self, stream):
        self.stream, self.heavy = stream, None
    def write(self, text):
        if self.heavy is None:
            self.heavy = [name for name in ("onnx", "networkx", "llvmlite", "tvm") if name in sys.modules]
            self.stream.write(f"heavy: {self.heavy}\\n")
        return self.stream.write(text)
    def __getattr__(self, name):
        return getattr(self.stream, name)

sys.stderr = Watch(sys.stderr)
main()
"""


def phases(text: str) -> list[str]:
    """What the lines of progress tell of; each begins with the time."""
    found = [re.fullmatch(r"\[ *\d+\.\d s\] (\w+)( \(.*\))?", line) for line in text.splitlines()]
    return [line[1] for line in found if line]


def test_each_phase_has_a_line(cli: Cli, model: Path, tmp_path: Path) -> None:
    result = cli("compile", model, "-o", tmp_path / "out.so")
    assert phases(result.err) == ["reading", "passes", "kernels", "linking"]
    assert result.told == ""


@pytest.mark.parametrize(
    "command", ["compile", "inspect", "select", "staircase", "profile", "compare", "run", "bench"]
)
def test_the_first_line_comes_before_anything_heavy(model: Path, tmp_path: Path, command: str) -> None:
    """What comes is refused soon: the first line is all that is looked at."""
    words = [command, str(model), "--shape", "x=9"]
    words += ["--analytic"] if command == "profile" else []
    done = subprocess.run(
        [sys.executable, "-c", WATCHED, *words], cwd=tmp_path, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 2
    first, second = done.stderr.splitlines()[:2]
    assert first == "heavy: []"
    assert phases(second) == ["reading"] or second.startswith("note: ")


def test_counts_are_said_once(capsys: pytest.CaptureFixture[str]) -> None:
    with progress() as show:
        for done in range(3, 12):
            show("kernels", done, 11)
        show("linking", 0, 1)
    lines = capsys.readouterr().err.splitlines()
    assert [line.partition("] ")[2] for line in lines] == ["kernels (11, 3 of them done)", "linking"]


def test_phases_last_until_another_is_told_of() -> None:
    now = iter([0.0, 1.0, 3.5, 4.0, 10.0])
    watch = Phases(lambda *_: None, lambda: next(now))
    for what, done in (("reading", 0), ("passes", 0), ("tiles", 1), ("tiles", 2), ("passes", 1)):
        watch(what, done, 2)
    assert watch.seconds == {"reading": 1.0, "passes": 2.5 + 6.0, "tiles": 0.5}


def test_timings_in_json_name_phases(cli: Cli, model: Path, tmp_path: Path) -> None:
    rows = cli("compile", model, "-o", tmp_path / "out.so", "--json").json["phases"]
    assert [row["phase"] for row in rows] == ["reading", "passes", "kernels", "linking"]
    assert all(row["seconds"] >= 0 for row in rows)
