"""What a benchmark measured, and how it is shown: table, Markdown, JSON."""

from __future__ import annotations

import json
import os
import platform
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from rich.table import Table

from secateur.ir.support.atomic import write_whole
from secateur.tools.bench.peers import Floats, Secateur, engine
from secateur.tools.bench.worker import Sample

OURS = Secateur.name
REFERENCE = "onnxruntime"
# The fastest peer's time over ours that is asked for, and for networks not named; float32 with one thread.
BARS = {
    "fp32": ({"resnet18": 1.15, "resnet34": 1.15, "vgg16": 1.4}, 0.85),
    "accurate": ({"resnet18": 1.15, "resnet34": 1.2, "vgg16": 1.3}, 1.0),
    "fast": ({"resnet18": 1.3, "resnet34": 1.35, "vgg16": 1.5}, 1.0),
}
NOISY = 0.1  # an interquartile range above this part of the median is marked
WAITED = 0.02  # a run whose threads waited longer than this part of its time is disturbed
ENOUGH = 5  # undisturbed runs
LEGENDS = {
    "fp32": "Medians in milliseconds, float32, batch 1; ratio: fastest peer over Secateur; "
    f"error: of Secateur against {REFERENCE}, relative to the largest output.",
    "int8": "Medians in milliseconds, int8, batch 1, and in parentheses the output's SQNR in dB against "
    f"{REFERENCE} in float32; ratio: fastest peer over Secateur, which in mode accurate is asked for no less "
    "than that peer's SQNR, and in mode fast for 20 dB in every layer.",
}


@dataclass(frozen=True)
class Timing:
    """One engine on one model. Times in milliseconds; `reason` says why there are none.

    `runs` is how many the statistics are over; `disturbed` counts those that waited for a processor.
    `error` is the largest deviation from ONNX Runtime's output over that output's largest magnitude,
    `sqnr` is in dB.
    """

    engine: str
    variant: str = ""
    median: float | None = None
    quartiles: tuple[float, float] | None = None
    best: float | None = None
    runs: int = 0
    disturbed: int = 0
    prepare_s: float | None = None
    error: float | None = None
    sqnr: float | None = None
    reason: str = ""

    @property
    def noisy(self) -> bool:
        if self.median is None or self.quartiles is None:
            return False
        return self.quartiles[1] - self.quartiles[0] > NOISY * self.median


@dataclass(frozen=True)
class Row:
    """All engines on one model with one number of threads.

    `mode` is a key of BARS; `heat` holds the variants of each peer that competed for its place.
    """

    model: str
    threads: int
    timings: tuple[Timing, ...]
    mode: str = "fp32"
    heat: tuple[Timing, ...] = ()

    @property
    def precision(self) -> str:
        return "fp32" if self.mode == "fp32" else "int8"

    def timing(self, name: str) -> Timing | None:
        return next((t for t in self.timings if t.engine == name), None)

    @property
    def fastest_peer(self) -> Timing | None:
        peers = [t for t in self.timings if t.engine != OURS and t.median is not None]
        return min(peers, key=lambda t: t.median or 0.0, default=None)

    @property
    def ratio(self) -> float | None:
        """The fastest peer's median over ours: above 1 we are faster."""
        ours, peer = self.timing(OURS), self.fastest_peer
        if ours is None or peer is None or ours.median is None or peer.median is None:
            return None
        return peer.median / ours.median

    @property
    def bar(self) -> float | None:
        """The ratio asked for; in float32 there is one for a single thread only."""
        if self.mode == "fp32" and self.threads > 1:
            return None
        named, other = BARS[self.mode]
        return named.get(self.model, other)


def relative_error(got: Floats, expected: Floats) -> float:
    """max |got - expected| / max |expected|; infinite where shapes differ or a value is not finite."""
    if got.shape != expected.shape or not np.isfinite(got).all():
        return float("inf")
    return float(np.abs(got - expected).max() / max(float(np.abs(expected).max()), 1e-30))


def summarize(name: str, samples: list[Sample]) -> Timing:
    """Statistics of `samples`, less those disturbed by other programs where enough remain."""
    calm = [s.taken for s in samples if s.waited <= WAITED * s.taken]
    times = calm if len(calm) >= ENOUGH else [s.taken for s in samples]
    low, median, high = (1e3 * float(q) for q in np.quantile(times, (0.25, 0.5, 0.75)))
    return Timing(
        name,
        median=median,
        quartiles=(low, high),
        best=1e3 * min(times),
        runs=len(times),
        disturbed=len(samples) - len(calm),
    )


def machine(engines: list[str]) -> dict[str, Any]:
    """The circumstances of a measurement, for the JSON file."""
    return {
        "cpu": cpu_model(),
        "cores": os.cpu_count(),
        "load_average": os.getloadavg()[0],
        "system": platform.platform(),
        "python": platform.python_version(),
        "versions": {name: engine(name).version() for name in engines},
    }


def cpu_model() -> str:
    """The processor's name and, where Linux gives them, its vector extensions."""
    info = Path("/proc/cpuinfo")
    if not info.exists():
        return platform.processor() or platform.machine()
    fields = dict(line.split(":", 1) for line in info.read_text().splitlines() if ":" in line)
    named = {key.strip(): value.strip() for key, value in fields.items()}
    flags = set(named.get("flags", "").split()) & {
        "avx2",
        "avx512f",
        "avx512_vnni",
        "amx_tile",
        "avx512_fp16",
    }
    return " ".join([named.get("model name", platform.machine()), *sorted(flags)])


def _cell(timing: Timing | None) -> str:
    if timing is None or timing.median is None:
        return "–"
    distance = "" if timing.sqnr is None else f" ({timing.sqnr:.1f})"
    return f"{timing.median:.2f}" + ("~" if timing.noisy else "") + distance


def _number(value: float | None, form: str) -> str:
    return "–" if value is None else format(value, form)


def cells(row: Row, engines: list[str]) -> list[str]:
    """One line of the table."""
    ours = row.timing(OURS)
    peer = row.fastest_peer
    is_float = row.precision == "fp32"
    return [
        row.model,
        *([] if is_float else [row.mode]),
        str(row.threads),
        *(_cell(row.timing(name)) for name in engines),
        f"{peer.engine} {peer.variant}".rstrip() if peer else "–",
        _number(row.ratio, ".2f"),
        _number(row.bar, ".2f"),
        *([_number(ours.error if ours else None, ".0e")] if is_float else []),
    ]


def header(engines: list[str], precision: str) -> list[str]:
    numbers = ["threads", *engines, "fastest peer", "ratio", "bar"]
    return ["model", *numbers, "error"] if precision == "fp32" else ["model", "mode", *numbers]


def notes(rows: list[Row]) -> list[str]:
    """Why cells are empty, each reason once, and what the marks mean."""
    reasons: dict[str, dict[str, None]] = {}  # the inner one is an ordered set
    for row in rows:
        for timing in (*row.timings, *row.heat):
            if timing.reason:
                name = f"{timing.engine} {timing.variant}".rstrip()
                reasons.setdefault(f"{name}: {timing.reason}", {})[f"{row.model}/{row.threads}"] = None
    lines = [f"{reason} ({', '.join(places)})" for reason, places in reasons.items()]
    if any(t.noisy for row in rows for t in row.timings):
        lines.append(f"~ interquartile range above {NOISY:.0%} of the median")
    disturbed = sum(t.disturbed for row in rows for t in row.timings)
    if disturbed:
        lines.append(
            f"{disturbed} runs were disturbed by other programs, and left out where {ENOUGH} others remain"
        )
    return lines


def as_markdown(rows: list[Row], engines: list[str], about: dict[str, Any]) -> str:
    head = header(engines, rows[0].precision)
    lines = [
        "| " + " | ".join(head) + " |",
        "|" + "|".join(["---", *["---:"] * (len(head) - 1)]) + "|",
        *("| " + " | ".join(cells(row, engines)) + " |" for row in rows),
    ]
    versions = ", ".join(f"{name} {version}" for name, version in about["versions"].items() if version)
    where = f"{about['cpu']}, {about['cores']} cores; {versions}."
    text = [LEGENDS[rows[0].precision], where, "\n".join(lines)]
    bullets = "\n".join(f"* {note}" for note in notes(rows))
    return "\n\n".join([*text, bullets]).rstrip() + "\n"


def as_json(rows: list[Row], about: dict[str, Any]) -> str:
    results = []
    for row in rows:
        peer = row.fastest_peer
        summary = {"fastest_peer": peer.engine if peer else None, "ratio": row.ratio, "bar": row.bar}
        results.append({**asdict(row), **summary})
    return json.dumps({"machine": about, "results": results}, indent=1) + "\n"


def as_table(rows: list[Row], engines: list[str]) -> Table:
    precision = rows[0].precision
    table = Table(caption=LEGENDS[precision])
    for index, title in enumerate(header(engines, precision)):
        table.add_column(title, justify="left" if index == 0 else "right")
    for row in rows:
        table.add_row(*cells(row, engines))
    return table


def write(path: Path, text: str) -> None:
    """Whole: an interrupted benchmark leaves the last complete table."""
    write_whole(path, text.encode())
