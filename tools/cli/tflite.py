"""What `inspect` says of a TFLite file: its operators, and which of them the Edge TPU's compiler maps."""

from __future__ import annotations

from collections import Counter
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..report import amount, duration, print_json, shape_text, size
from ..tables import table
from .common import refuse

if TYPE_CHECKING:
    from secateur.codegen.backends.tflite.compiler import Log
    from secateur.codegen.backends.tflite.coral import Mapped

    from ..pages.mapping import Mapping

HEADINGS = ("", "operator", "version", "result", "MAC", "weights", "Edge TPU")


def print_tflite(path: Path, json: bool, report: Path | None = None, compiles: bool = False) -> None:
    """Prints a table of operators and what is said of the chip's part, or JSON; writes the page asked for."""
    from ..pages.mapping import found_in
    from ..pages.mapping_page import check_page, write_page

    check_page(report)
    found = found_in(path, _compiled(path) if compiles else None)
    if report is not None:
        write_page(found, report)
    if json:
        print_json(_data(found))
        return
    cells = [(str(i), *cells_of(row)) for i, row in enumerate(found.rows)]
    print(table(HEADINGS, cells, right=("", "MAC", "weights"), shorten=("Edge TPU",)))
    print("\n".join(_verdict(found)))
    if found.log is not None:
        print(_beside(found))
    if report is not None:
        print(f"report: {report}")


def _compiled(path: Path) -> Log:
    """The log of Google's compiler, whose file lies beside the given one; refused where there is none."""
    from secateur.codegen.backends.tflite.compiler import PROGRAM, VARIABLE, find_compiler, run_compiler

    program = find_compiler()
    if program is None:
        raise refuse(
            f"{PROGRAM} is neither in PATH nor named by ${VARIABLE}; it is Google's, for x86-64 Debian: "
            "https://coral.ai/docs/edgetpu/compiler"
        )
    return run_compiler(program, path, path.parent)


def _data(found: Mapping) -> dict[str, Any]:
    compiler = {} if found.log is None else {"compiler": _logged(found.log)}
    rows = [*map(_row, found.rows)]
    return {"file": str(found.path), "operators": rows, "edgetpu_seconds": found.seconds, **compiler}


def _logged(log: Log) -> dict[str, Any]:
    return {"version": log.version, "statuses": [asdict(s) for s in log.statuses], **log.sizes}


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


def cells_of(row: Mapped) -> tuple[str, ...]:
    """An operator's cells under the headings but the first."""
    op = row.operator
    result = f"{shape_text(op.outputs[0].shape)} {op.outputs[0].dtype}"
    macs, weights = (amount(op.macs) if op.macs else "-"), (size(op.weight_bytes) if op.weight_bytes else "-")
    return op.kind, str(op.version), result, macs, weights, row.reason or "maps"


def _verdict(found: Mapping) -> list[str]:
    """How many operators the chip computes, and how long at the least."""
    weights, cached = found.weights, found.cached
    streamed = (
        f", of which {size(weights - cached)} stream" if weights > cached else ", which stay on the chip"
    )
    lines = [
        f"By the table of its documentation, the Edge TPU computes {found.mapped} of {len(found.rows)} "
        f"operators, with {size(weights)} of weights{streamed}; {duration(found.seconds)} at the least (an "
        "estimate from 64x64 multipliers at 480 MHz and USB 3).",
    ]
    left = Counter(row.operator.kind for row in found.rows if row.reason is not None)
    if left:
        lines.append(f"On the CPU: {', '.join(f'{n} {kind}' for kind, n in left.items())}.")
    if found.gains:
        lines.append(found.gains)
    if found.log is None:
        lines.append(f"What its compiler says: edgetpu_compiler -s {found.path.name} (or --compile here)")
    return lines


def _beside(found: Mapping) -> str:
    """The compiler's verdict beside ours, kind by kind."""
    log = found.log
    assert log is not None, "asked where there is one"
    cells = [
        (kind, f"{ours.mapped} of {ours.count}", f"{theirs.mapped} of {theirs.count}", theirs.words)
        for kind, ours, theirs in found.beside
    ]
    heading = (
        f"\nedgetpu_compiler {log.version}: {log.on_chip} operators on the chip, {log.on_cpu} on the CPU"
    )
    sizes = "; ".join(f"{name} {value}" for name, value in log.sizes.items())
    return f"{heading} ({sizes})\n{table(('operator', 'ours', 'the compiler', 'its words'), cells)}"
