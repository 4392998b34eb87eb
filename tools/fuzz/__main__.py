"""Mutated models, IR texts and artifacts: each must be refused or work, never crash, hang, or answer wrongly.
Also networks that lose channels, which must answer as if these were zero.

    python -m secateur.tools.fuzz [--cases 12000] [--seed 0] [--family onnx] [--replay onnx:1234]

Cases run in worker processes with limits on memory and time. A failing case is
written to the output folder with the command that runs it again. Exit code 1
where one failed.
"""

from __future__ import annotations

import argparse
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory

from ..progress import progress
from ..report import facts
from .families import families
from .family import PEER
from .worker import FAILED, replay_command, save

SHARES = {
    "large": 0.01, "prune": 0.004, "compile": 0.005, "onnx": 0.466, "ir": 0.3, "artifact": 0.125,
    "streams": 0.07, "coded": 0.02,
}  # fmt: skip
"""Of the cases, by family; what takes long comes first, so that no worker is left alone with it."""


@dataclass
class Findings:
    """What the cases came to, by family; and the failures, each with what happened."""

    outcomes: dict[str, Counter[str]] = field(default_factory=dict)
    failures: list[tuple[str, int, str]] = field(default_factory=list)
    folder: Path = Path("build/fuzz")
    stopped: bool = False

    @property
    def cases(self) -> int:
        return sum(counts.total() for counts in self.outcomes.values())

    def note(self, family: str, seed: int, outcome: str) -> None:
        self.outcomes.setdefault(family, Counter())[outcome] += 1
        if outcome == FAILED:
            self.failures.append((family, seed, self._reason(family, seed)))

    def _reason(self, family: str, seed: int) -> str:
        """The first line of the report that the worker wrote."""
        report = self.folder / f"{family}-{seed}{families()[family].suffix}.txt"
        return report.read_text().splitlines()[0]

    def crash(self, family: str, seed: int, reason: str, in_peer: bool) -> None:
        """A worker that died: ours to answer for, unless a peer's code was running."""
        self.outcomes.setdefault(family, Counter())["peer crashed" if in_peer else FAILED] += 1
        if not in_peer:
            save(families()[family], seed, families()[family].make(seed), reason, self.folder)
            self.failures.append((family, seed, reason))


@dataclass(frozen=True)
class Shard:
    """`count` cases of a family from seed `first` on."""

    family: str
    first: int
    count: int


def shards(cases: int, seed: int, only: str | None = None) -> list[Shard]:
    """The work for `cases` cases of all families, or of one."""
    counts = {only: cases} if only else {name: max(1, round(cases * share)) for name, share in SHARES.items()}
    return [
        Shard(name, seed + done, min(families()[name].shard, count - done))
        for name, count in counts.items()
        for done in range(0, count, families()[name].shard)
    ]


def run_shard(shard: Shard, findings: Findings) -> None:
    """Runs a shard to its end; a worker that dies is replaced by one that begins after its case."""
    begin, end = shard.first, shard.first + shard.count
    while begin < end and not findings.stopped:
        begin = _run_worker(Shard(shard.family, begin, end - begin), findings)


def _run_worker(shard: Shard, findings: Findings) -> int:
    """The seed to go on with."""
    module = f"{__package__}.worker"
    words = [
        sys.executable,
        "-m",
        module,
        shard.family,
        str(shard.first),
        str(shard.count),
        str(findings.folder),
    ]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    state = _WorkerState(shard.first)
    with subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment) as worker:
        for line in _lines(worker):
            state.hear(line, shard.family, findings)
        assert worker.stderr is not None
        errors = worker.stderr.read().decode(errors="replace")
    if worker.returncode == 0:
        return shard.first + shard.count
    if not state.busy:
        raise RuntimeError(f"a worker of family {shard.family} ended between cases:\n{errors[-2000:]}")
    findings.crash(shard.family, state.seed, _death(worker.returncode, shard.family, errors), state.in_peer)
    return state.seed + 1


@dataclass
class _WorkerState:
    """What a worker's lines tell: which case it is at, and whether foreign code runs."""

    seed: int
    busy: bool = False
    in_peer: bool = False

    def hear(self, line: str, family: str, findings: Findings) -> None:
        word, *rest = line.split(" ", 2)
        if word == "begin":
            self.seed, self.busy, self.in_peer = int(rest[0]), True, False
        elif word == PEER:
            self.in_peer = True
        elif word == "end":
            self.busy = False
            findings.note(family, self.seed, rest[1])


def _lines(worker: subprocess.Popen[bytes]) -> Iterator[str]:
    """The worker's lines; it is killed when interrupted."""
    assert worker.stdout is not None
    try:
        for line in worker.stdout:
            yield line.decode().rstrip("\n")
    except BaseException:
        worker.kill()
        raise


def _death(code: int, family: str, errors: str) -> str:
    if code == -signal.SIGALRM:
        return f"no answer within {families()[family].limit_s} s"
    how = f"signal {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"
    return f"the worker died: {how}\n{errors[-4000:]}"


def fuzz(cases: int, seed: int, folder: Path, jobs: int, only: str | None = None) -> Findings:
    """Runs the cases on `jobs` processes."""
    findings = Findings(folder=folder)
    work = shards(cases, seed, only)
    with progress() as show, ThreadPoolExecutor(jobs) as pool:
        try:
            for done, _ in enumerate(pool.map(lambda shard: run_shard(shard, findings), work), 1):
                show("shards of cases", done, len(work))
        except BaseException:  # an interrupt ends the workers too; none is to be replaced
            findings.stopped = True
            pool.shutdown(wait=False, cancel_futures=True)
            raise
    return findings


def replay(text: str) -> str:
    """Runs one case, `FAMILY:SEED`, in this process; exceptions pass through."""
    name, _, seed = text.partition(":")
    if name not in families() or not seed.isdecimal():
        raise SystemExit(f"error: --replay {text}: expected FAMILY:SEED, families: {', '.join(families())}")
    family = families()[name]
    data = family.make(int(seed))
    with TemporaryDirectory() as scratch:
        return family.check(data, int(seed), Path(scratch), lambda _: None)


def report(findings: Findings, seconds: float) -> str:
    """Counts by family, then every failure with the line that replays it."""
    rows = [
        (name, ", ".join(f"{n} {what}" for what, n in counts.most_common()))
        for name, counts in findings.outcomes.items()
    ]
    lines = [facts(rows), f"{findings.cases} cases in {seconds:.0f} s, {len(findings.failures)} failed"]
    for family, seed, reason in findings.failures:
        lines.append(f"\n{family}:{seed}: {reason[:400]}\n  {replay_command(family, seed)}")
    return "\n".join(lines)


def main(arguments: Sequence[str] | None = None) -> int:
    """The program; returns its exit code."""
    parser = argparse.ArgumentParser(prog="secateur.tools.fuzz", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--cases", type=int, default=12000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--family", choices=tuple(SHARES))
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--output", type=Path, default=Path("build/fuzz"))
    parser.add_argument("--replay", metavar="FAMILY:SEED")
    options = parser.parse_args(arguments)
    if options.replay:
        print(replay(options.replay))
        return 0
    print(f"{options.cases} cases, seeds from {options.seed} on")
    start = time.monotonic()
    try:
        findings = fuzz(options.cases, options.seed, options.output, options.jobs, options.family)
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return 130
    print(report(findings, time.monotonic() - start))
    return 1 if findings.failures else 0


if __name__ == "__main__":
    sys.exit(main())
