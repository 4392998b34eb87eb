"""Cost tables as files: what kernels take on a target, where that was measured, and how far it spread."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from secateur.codegen.cache import compiler_fingerprint
from secateur.codegen.targets.target import Cuda, Target
from secateur.ir.errors import SecateurError
from secateur.ir.support.atomic import write_whole

from .candidates import Candidate
from .kin import Kin, kin_of
from .samples import Timing

FORMAT = "secateur costs 1"
ANALYTIC = "analytic"
_TEXTS = ("target", "processor", "measured", "compiler")


@dataclass(frozen=True)
class Entry:
    """One kernel; an estimate has no repeats. Tables of earlier versions say nothing of its kin."""

    symbol: str
    label: str
    timing: Timing
    kin: Kin | None = None


@dataclass(frozen=True)
class Table:
    """Entries by label and symbol.

    `target` is its name, `processor` what its code is compiled for; `measured` says where: "host: PROCESSOR",
    "board: NAME" or "analytic". `compiler` tells versions of the kernels apart.
    """

    target: str
    processor: str
    measured: str
    compiler: str
    entries: tuple[Entry, ...]

    @cached_property
    def seconds(self) -> Mapping[str, float]:
        """By symbol."""
        return {entry.symbol: entry.timing.seconds for entry in self.entries}


def compiled_for(target: Target) -> str:
    """What two machines must share for one's kernels to be the other's."""
    if isinstance(target.machine, Cuda):
        return f"{target.host.triple} {target.cuda.architecture.name}"
    return " ".join([target.triple, target.cpu.core, target.isa.name, *target.features])


def kernels_version() -> str:
    """Differs where the kernels of two versions of the compiler may."""
    return compiler_fingerprint()[:24]


def table_of(
    target: Target, measured: str, candidates: Iterable[Candidate], timings: Mapping[str, Timing]
) -> Table:
    """The table of candidates whose times are known by symbol."""
    rows = [Entry(c.symbol, c.label, timings[c.symbol], kin_of(c)) for c in candidates]
    rows.sort(key=lambda entry: (entry.label, entry.symbol))
    return Table(target.name, compiled_for(target), measured, kernels_version(), tuple(rows))


def estimated(candidates: Iterable[Candidate]) -> dict[str, Timing]:
    """The analytic model's times by symbol."""
    return {c.symbol: Timing(c.estimate, (c.estimate, c.estimate), 0) for c in candidates}


# Files ---------------------------------------------------------------------------------------------


def text_of(table: Table) -> str:
    """JSON with a line for each kernel."""
    head = {"format": FORMAT} | {name: getattr(table, name) for name in _TEXTS}
    lines = [f" {json.dumps(name)}: {json.dumps(value)}," for name, value in head.items()]
    rows = ",\n".join(f"  {json.dumps(_row(entry))}" for entry in table.entries)
    return "\n".join(["{", *lines, ' "kernels": [', *([rows] if rows else []), " ]", "}"]) + "\n"


def _row(entry: Entry) -> dict[str, Any]:
    timing, kin = entry.timing, entry.kin
    of = {} if kin is None else {**asdict(kin), "estimate": _rounded(kin.estimate)}
    return {
        "symbol": entry.symbol,
        "label": entry.label,
        "seconds": _rounded(timing.seconds),
        "quartiles": [_rounded(q) for q in timing.quartiles],
        "repeats": timing.repeats,
        **of,
    }


def _rounded(seconds: float) -> float:
    """To a picosecond."""
    return round(seconds, 12)


def write_table(table: Table, path: Path) -> None:
    """Writes `path` whole or not at all."""
    write_whole(path, text_of(table).encode())


def read_table(path: Path) -> Table:
    """The table in a file; SecateurError where it is damaged or no table, OSError where there is none."""
    try:
        return _parsed(path.read_bytes())
    except (ValueError, TypeError, KeyError, RecursionError) as error:
        reason = f": {error}" if isinstance(error, SecateurError) else ""
        raise SecateurError(f"{path}: no cost table, or a damaged one{reason}") from None


def _parsed(data: bytes) -> Table:
    found = json.loads(data)
    if not isinstance(found, dict) or found.get("format") != FORMAT:
        raise SecateurError(f'"format" is not "{FORMAT}"')
    texts = {name: found[name] for name in _TEXTS}
    if not all(isinstance(text, str) for text in texts.values()):
        raise SecateurError(f"{', '.join(_TEXTS)} must be texts")
    entries = tuple(_entry(row) for row in found["kernels"])
    if len({entry.symbol for entry in entries}) < len(entries):
        raise SecateurError("a kernel stands there twice")
    return Table(**texts, entries=entries)


def _entry(row: Mapping[str, Any]) -> Entry:
    symbol, label, repeats = row["symbol"], row["label"], row["repeats"]
    seconds, (low, high) = row["seconds"], row["quartiles"]
    if not isinstance(symbol, str) or not isinstance(label, str):
        raise SecateurError("a kernel's symbol and label must be texts")
    if not all(isinstance(t, int | float) and 0 <= t < math.inf for t in (seconds, low, high, repeats)):
        raise SecateurError(f"{label}: seconds, quartiles and repeats must be numbers from 0 on")
    return Entry(symbol, label, Timing(float(seconds), (float(low), float(high)), int(repeats)), _kin(row))


def _kin(row: Mapping[str, Any]) -> Kin | None:
    """Of a row; None in a table of an earlier version."""
    if "kind" not in row:
        return None
    texts, extents, estimate = (row["kind"], row["variant"]), tuple(row["extents"]), row["estimate"]
    if not all(isinstance(text, str) for text in texts) or not all(
        type(n) is int and n >= 0 for n in extents
    ):
        raise SecateurError(f"{row['label']}: its kind must be a text, and its extents whole numbers")
    if not isinstance(estimate, int | float) or not 0 <= estimate < math.inf:
        raise SecateurError(f"{row['label']}: its estimate must be a number from 0 on")
    return Kin(*texts, extents, float(estimate))
