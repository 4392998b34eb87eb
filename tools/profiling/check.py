"""A cost table against a network: what it predicts for each operator, and what that takes when run."""

from __future__ import annotations

import math
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from secateur.codegen.artifact import write_artifact
from secateur.codegen.build import Progress
from secateur.codegen.cache import cache_folder
from secateur.compiler import build_program
from secateur.ir.graph import Graph, Operator
from secateur.runtime.session import Session, load

from ..choices import Choices
from ..report import duration, node_text, table
from .samples import Timing, timing

if TYPE_CHECKING:
    from secateur.runtime.session import OperatorTime

    from .costs import TableCosts

RUNS = 15
_WORST = 3


@dataclass(frozen=True)
class Row:
    """An operator as compiled: seconds by the table (None where that is not asked for it) and as run.

    One that is not run, since its bytes are in place, takes no time.
    """

    operator: str
    node: str
    primitive: str
    predicted: float | None
    measured: float

    @property
    def miss(self) -> float:
        """Seconds that the table is off."""
        return abs((self.predicted or 0.0) - self.measured)


@dataclass(frozen=True)
class Check:
    """All operators in order, and the whole network timed apart from them."""

    rows: tuple[Row, ...]
    whole: Timing

    @property
    def predicted(self) -> float:
        return math.fsum(row.predicted or 0.0 for row in self.rows)

    @property
    def ratio(self) -> float:
        """Predicted over measured, of the whole network."""
        return self.predicted / self.whole.seconds

    @property
    def worst(self) -> list[Row]:
        """The operators of which the table is off by most seconds."""
        return sorted(self.rows, key=lambda row: -row.miss)[:_WORST]

    def within(self, percent: float) -> bool:
        """Whether the prediction is as near as that."""
        return abs(self.ratio - 1) * 100 <= percent


def check(graph: Graph, costs: TableCosts, progress: Progress) -> Check:
    """Compiles a graph as read by `costs` for this machine, and runs it: whole and by operator in turn."""
    choices = Choices()
    program, outcome = build_program(
        graph, target=costs.target.name, costs=costs, observers=(choices,), progress=progress
    )
    operators = [op for op in outcome.graph.operators if op.name != "nn.constant"]
    predicted = [row.get("seconds") for row in choices.rows(operators)]
    with tempfile.TemporaryDirectory(prefix="secateur-profile-") as folder:
        path = write_artifact(program, Path(folder) / "network.so", "so", {}, cache_folder())
        with load(path) as session:
            whole, profiles = _run(session, progress)
    return Check(tuple(_rows(operators, predicted, profiles)), whole)


def _run(session: Session, progress: Progress) -> tuple[Timing, list[list[OperatorTime]]]:
    """The whole network's time is what its operators take together, without the call from Python."""
    inputs = _inputs(session)
    session.profile(inputs)
    profiles = []
    for done in range(RUNS):
        profiles.append(session.profile(inputs))
        progress("runs", done + 1, RUNS)
    return timing([sum(row.ns for row in profile) * 1e-9 for profile in profiles]), profiles


def _inputs(session: Session) -> Mapping[str, Any]:
    from ..commands.common import random_array

    return {p.name: random_array(p.shape, p.dtype, i) for i, p in enumerate(session.inputs)}


def _rows(
    operators: Sequence[Operator], predicted: Sequence[float | None], profiles: Sequence[list[OperatorTime]]
) -> Iterator[Row]:
    """Operators that stay in place have no call; all others have theirs in order."""
    calls = [(same[0], timing([t.ns * 1e-9 for t in same]).seconds) for same in zip(*profiles, strict=True)]
    for op, seconds in zip(operators, predicted, strict=True):
        called = bool(calls) and (calls[0][0].label, calls[0][0].operator) == (op.loc or op.name, op.name)
        measured = calls.pop(0)[1] if called else 0.0
        yield Row(op.name, op.loc, op["primitive"], seconds, measured)
    assert not calls, "calls are operators in order"


# For people and programs ---------------------------------------------------------------------------


def text_of(found: Check) -> str:
    """A row an operator, the whole network, and where the table is off by most."""
    headings = ("predicted", "measured", "ratio", "operator", "primitive", "node")
    rows = [*map(_cells, found.rows)]
    low, high = found.whole.quartiles
    network = (
        f"network: predicted {duration(found.predicted)}, measured {duration(found.whole.seconds)} "
        f"(quartiles {duration(low)} to {duration(high)} of {found.whole.repeats} runs), "
        f"ratio {found.ratio:.2f}"
    )
    return "\n".join([table(headings, rows, right=headings[:3]), "", network, *map(_worst, found.worst)])


def _cells(row: Row) -> tuple[str | None, ...]:
    predicted = None if row.predicted is None else duration(row.predicted)
    ratio = f"{row.predicted / row.measured:.2f}" if row.predicted and row.measured else None
    return predicted, duration(row.measured), ratio, row.operator, row.primitive, node_text(row.node) or None


def _worst(row: Row) -> str:
    off = (row.predicted or 0.0) - row.measured
    return f"off by {'+' if off > 0 else '-'}{duration(abs(off))}: {row.operator} {node_text(row.node)}"


def json_data(found: Check) -> dict[str, Any]:
    """For JSON, times in seconds."""
    return {
        "predicted": found.predicted,
        "measured": found.whole.seconds,
        "quartiles": found.whole.quartiles,
        "runs": found.whole.repeats,
        "ratio": found.ratio,
        "operators": [
            {
                "operator": row.operator,
                "node": row.node,
                "primitive": row.primitive,
                "predicted": row.predicted,
                "measured": row.measured,
            }
            for row in found.rows
        ],
    }
