"""What `inspect` says of a TFLite file: its operators, and which of them the Edge TPU's compiler maps."""

from __future__ import annotations

from collections import Counter
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..report import duration, print_json, size
from ..tables import table
from .common import refuse

if TYPE_CHECKING:
    from secateur.codegen.backends.tflite.compiler import Log

    from ..pages.mapping import Mapping


def print_tflite(path: Path, json: bool, report: Path | None = None, compiles: bool = False) -> None:
    """Prints a table of operators and what is said of the chip's part, or JSON; writes the page asked for."""
    from ..pages.mapping import found_in
    from ..pages.mapping_page import HEADINGS, NUMBERS, cells_of, check_page, write_page

    check_page(report)
    found = found_in(path, _compiled(path) if compiles else None)
    if report is not None:
        write_page(found, report)
    if json:
        print_json(_data(found))
        return
    rows = zip(found.rows, found.seconds, strict=True)
    cells = [(str(i), *cells_of(*row)) for i, row in enumerate(rows)]
    print(table(("", *HEADINGS), cells, right=("", *NUMBERS), shorten=("Edge TPU",)))
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
    times = found.times
    return {
        "file": str(found.path),
        "operators": [_row(found, i) for i in range(len(found.rows))],
        "estimated_seconds": {link: times.whole(link) for link in times.operators},
        "estimated_computing_seconds": times.computing,
        "streamed_bytes": times.streamed,
        "moved_last": [asdict(gain) for gain in found.gains],
        **compiler,
    }


def _logged(log: Log) -> dict[str, Any]:
    return {"version": log.version, "statuses": [asdict(s) for s in log.statuses], **log.sizes}


def _row(found: Mapping, index: int) -> dict[str, Any]:
    row = found.rows[index]
    op = row.operator
    return {
        "operator": op.kind,
        "version": op.version,
        "result": {"shape": list(op.outputs[0].shape), "dtype": op.outputs[0].dtype},
        "macs": op.macs,
        "activations_bytes": op.activation_bytes,
        "weights_bytes": op.weight_bytes,
        "estimated_seconds": {link: times[index] for link, times in found.times.operators.items()},
        "mapped": row.reason is None,
        "reason": row.reason,
    }


def _verdict(found: Mapping) -> list[str]:
    """How many operators the chip computes, and how long by the estimate."""
    weights, streamed = found.weights, found.times.streamed
    rest = f", of which {size(streamed)} stream" if streamed else ", which stay on the chip"
    lines = [
        f"By the table of its documentation, the Edge TPU computes {found.mapped} of {len(found.rows)} "
        f"operators, with {size(weights)} of weights{rest}.",
        f"Estimated, not measured: {_estimates(found)}; {duration(found.times.computing)} of it computing, "
        "by a model of 64x64 multipliers at 480 MHz. Single operators are over USB 3.",
    ]
    left = Counter(row.operator.kind for row in found.rows if row.reason is not None)
    if left:
        lines.append(f"On the CPU: {', '.join(f'{n} {kind}' for kind, n in left.items())}.")
    lines += found.behind
    if found.log is None:
        lines.append(f"What its compiler says: edgetpu_compiler -s {found.path.name} (or --compile here)")
    return lines


def _estimates(found: Mapping) -> str:
    times = found.times
    return ", ".join(f"{duration(times.whole(link))} over {link}" for link in times.operators)


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
