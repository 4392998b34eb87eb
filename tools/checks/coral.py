"""Our verdict on what the Edge TPU maps, against files that its closed compiler made.

    python -m secateur.tools.checks.coral FOLDER

FOLDER holds pairs `X.tflite` and `X_edgetpu.tflite`, such as github.com/google-coral/test_data does. What the
compiler left on the CPU still stands in its file, beside the one operator that holds the chip's part.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from secateur.codegen.backends.tflite.contents import read_contents
from secateur.codegen.backends.tflite.partition import mapping
from secateur.ir.errors import SecateurError
from secateur.tools.tables import table

COMPILED = "_edgetpu.tflite"
CHIP = "CUSTOM edgetpu-custom-op"


@dataclass(frozen=True)
class Row:
    """One model: its operators, and those left on the CPU by the compiler and by our table."""

    model: str
    operators: int
    compiler: dict[str, int]
    ours: dict[str, int]
    reason: str  # of the first operator that our table leaves, where they differ

    @property
    def agrees(self) -> bool:
        return self.compiler == self.ours


def rows_of(folder: Path) -> Iterator[Row]:
    """The models below a folder that stand there with what the compiler made of them, by name."""
    for compiled in sorted(folder.rglob(f"*{COMPILED}")):
        source = compiled.with_name(compiled.name.removesuffix(COMPILED) + ".tflite")
        if source.exists():
            yield _row(str(source.relative_to(folder)), source, compiled)


def _row(name: str, source: Path, compiled: Path) -> Row:
    rows = mapping(read_contents(source).operators)
    left = [op.kind for op in read_contents(compiled).operators if op.kind != CHIP]
    ours = [row for row in rows if row.reason is not None]
    compiler, mine = dict(Counter(left)), dict(Counter(row.operator.kind for row in ours))
    reason = "" if compiler == mine or not ours else f"{ours[0].operator.kind}: {ours[0].reason}"
    return Row(name.removesuffix(".tflite"), len(rows), compiler, mine, reason)


def _listed(counts: dict[str, int]) -> str:
    return ", ".join(f"{n} {kind}" for kind, n in sorted(counts.items())) or "none"


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="coral", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args(arguments)
    try:
        rows = list(rows_of(options.folder))
    except SecateurError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    if not rows:
        print(f"error: {options.folder}: no X.tflite lies beside an X{COMPILED}", file=sys.stderr)
        return 2
    if options.json:
        print(json.dumps([asdict(row) for row in rows], indent=2))
        return 0
    cells = [(r.model, str(r.operators), _listed(r.compiler), _listed(r.ours), r.reason) for r in rows]
    print(table(("model", "operators", "left by the compiler", "left by ours", "first reason"), cells))
    print(f"{sum(row.agrees for row in rows)} of {len(rows)} agree.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
