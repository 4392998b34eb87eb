"""What `inspect` says of a TFLite file: its operators, and which of them the Edge TPU's compiler maps."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..report import amount, duration, print_json, shape_text, size
from ..tables import table

if TYPE_CHECKING:
    from secateur.codegen.backends.tflite.coral import Mapped

HEADINGS = ("", "operator", "version", "result", "MAC", "weights", "Edge TPU")


def print_tflite(path: Path, json: bool) -> None:
    """Prints a table of operators and a line on the chip's part, or JSON."""
    from secateur.codegen.backends.tflite.contents import read_contents
    from secateur.codegen.backends.tflite.coral import mapping, seconds
    from secateur.codegen.targets.rows import TARGETS
    from secateur.codegen.targets.tflite import Tflite

    machine = TARGETS["edgetpu"].machine
    assert isinstance(machine, Tflite)
    rows = mapping(read_contents(path))
    least = seconds(rows, machine.cached_bytes)
    if json:
        print_json({"file": str(path), "operators": [*map(_row, rows)], "edgetpu_seconds": least})
        return
    cells = [(str(i), *_cells(row)) for i, row in enumerate(rows)]
    print(table(HEADINGS, cells, right=("", "MAC", "weights"), shorten=("Edge TPU",)))
    print(_verdict(rows, least, machine.cached_bytes))


def _row(row: Mapped) -> dict[str, Any]:
    op = row.operator
    return {
        "operator": op.kind,
        "version": op.version,
        "result": {"shape": list(op.outputs[0].shape), "dtype": op.outputs[0].dtype},
        "macs": op.macs,
        "weights_bytes": op.weight_bytes,
        "mapped": row.reason is None,
        "reason": row.reason,
    }


def _cells(row: Mapped) -> tuple[str, ...]:
    op = row.operator
    result = f"{shape_text(op.outputs[0].shape)} {op.outputs[0].dtype}"
    macs, weights = (amount(op.macs) if op.macs else "-"), (size(op.weight_bytes) if op.weight_bytes else "-")
    return op.kind, str(op.version), result, macs, weights, row.reason or "maps"


def _verdict(rows: list[Mapped], least: float, cached: int) -> str:
    """How many operators the chip computes, and how long at the least."""
    left = [row for row in rows if row.reason is not None]
    weights = sum(row.operator.weight_bytes for row in rows if row.reason is None)
    streamed = (
        f", of which {size(weights - cached)} stream" if weights > cached else ", which stay on the chip"
    )
    lines = [
        f"By the table of its documentation, the Edge TPU computes {len(rows) - len(left)} of {len(rows)} "
        f"operators, with {size(weights)} of weights{streamed}; {duration(least)} at the least (an estimate "
        "from 64x64 multipliers at 480 MHz and USB 3).",
    ]
    if left:
        kinds = Counter(row.operator.kind for row in left)
        lines.append(f"On the CPU: {', '.join(f'{n} {kind}' for kind, n in kinds.items())}.")
    lines.append("What its compiler says: edgetpu_compiler -s FILE.tflite")
    return "\n".join(lines)
