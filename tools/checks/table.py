"""A cost table against a network: what it predicts for each operator, and what that takes when run."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from secateur.codegen.backends.registry import backend_of
from secateur.codegen.program import Program
from secateur.compiler import build
from secateur.costs.candidates import Candidate, candidate, data_apart, unique, weight_bytes_of
from secateur.costs.measure import rounds
from secateur.costs.samples import Timing, distance_of, timing
from secateur.ir.graph import Graph, Operator
from secateur.ir.support.progress import Progress
from secateur.ir.support.unfinished import temporary_folder
from secateur.options import Watch
from secateur.prepare import prepare
from secateur.runtime.session import Session, load

from ..cli.choices import Choices
from ..cli.inputs import noise_of

if TYPE_CHECKING:
    from secateur.codegen.program import Call
    from secateur.costs.measured import TableCosts
    from secateur.runtime.session import OperatorTime

RUNS = 15
_WORST = 3
_DRIFT = 0.1  # of the table's times: a machine at another clock, or with other work to do


@dataclass(frozen=True)
class Row:
    """An operator as compiled: seconds by the table, of its kernel alone, and within the network.

    The table is not asked for copies of outputs (None); an operator whose bytes are in place is not run.
    """

    operator: str
    node: str
    primitive: str
    predicted: float | None
    alone: float
    measured: float

    @property
    def miss(self) -> float:
        """Seconds that the table is off."""
        return abs((self.predicted or 0.0) - self.measured)


@dataclass(frozen=True)
class Check:
    """All operators in order, and what they took together."""

    rows: tuple[Row, ...]
    whole: Timing

    @property
    def predicted(self) -> float:
        return math.fsum(row.predicted or 0.0 for row in self.rows)

    @property
    def alone(self) -> float:
        """Of the same kernels timed one by one, in turn with the network."""
        return math.fsum(row.alone for row in self.rows)

    @property
    def ratio(self) -> float:
        """Predicted over measured, of the whole network."""
        return self.predicted / self.whole.seconds

    @property
    def has_drifted(self) -> bool:
        """Whether the kernels alone are as far from the table as the network is."""
        near = abs(self.alone / self.whole.seconds - 1) < abs(self.ratio - 1)
        return near and abs(self.alone / self.predicted - 1) > _DRIFT

    @property
    def worst(self) -> list[Row]:
        """The operators of which the table is off by most seconds."""
        return sorted(self.rows, key=lambda row: -row.miss)[:_WORST]

    def within(self, percent: float) -> bool:
        """Whether the prediction is as near as that."""
        return abs(self.ratio - 1) * 100 <= percent


def check(graph: Graph, costs: TableCosts, progress: Progress) -> Check:
    """Compiles a graph as read by `costs` for this machine, and runs it.

    Its kernels are timed alone in turn with it, as they are for a table: where these times are near the
    network's and the table's are not, the machine has changed since the table was made.
    """
    choices = Choices()
    passes = prepare(backend_of(costs.target).pipeline, costs.target, costs=costs)
    built = build(graph, costs.target, passes, Watch(observers=(choices,), progress=progress))
    program, outcome = built.program, built.outcome
    assert isinstance(program, Program), "of a processor, as this machine is"
    operators = [op for op in outcome.graph.operators if op.name != "nn.constant"]
    predicted = [row.get("seconds") for row in choices.rows(operators)]
    called = list(_called(operators, program.calls))
    kernels = {i: candidate(operators[i], costs.target) for i in called if data_apart(operators[i])}
    distance = distance_of(weight_bytes_of(outcome.graph))
    profiles, alone = _in_turn(program, unique(kernels.values()), distance, progress)
    measured = {i: _median(run[at].ns * 1e-9 for run in profiles) for at, i in enumerate(called)}
    apart = {i: _median(found[kernel.symbol] for found in alone) for i, kernel in kernels.items()}
    rows = (
        Row(op.name, op.loc, op["primitive"], predicted[i], apart.get(i, 0.0), measured.get(i, 0.0))
        for i, op in enumerate(operators)
    )
    return Check(tuple(rows), timing([sum(row.ns for row in run) * 1e-9 for run in profiles]))


def _median(seconds: Iterable[float]) -> float:
    return timing(list(seconds)).seconds


def _called(operators: Sequence[Operator], calls: Sequence[Call]) -> Iterator[int]:
    """The numbers of the operators that are run: those whose bytes are in place have no call."""
    waiting = list(calls)
    for number, op in enumerate(operators):
        if waiting and (waiting[0].label, waiting[0].operator) == (op.loc or op.name, op.name):
            waiting.pop(0)
            yield number
    assert not waiting, "calls are operators in order"


def _in_turn(
    program: Program, kernels: Sequence[Candidate], distance: int, progress: Progress
) -> tuple[list[list[OperatorTime]], list[dict[str, float]]]:
    """Profiles of the network, and the times of its kernels alone by symbol, of each round."""
    with temporary_folder("secateur-profile-") as folder:
        path = backend_of(program.target).write(program, folder / "network.so")
        with load(path) as session, rounds(kernels, program.target, distance, progress) as run:
            inputs, profiles, alone = _inputs(session), [], []
            for done in range(RUNS + 1):  # the first finds memory without pages
                session.profile(inputs)  # so that its weights are where its last run left them
                profiles.append(session.profile(inputs))
                alone.append(run())
                progress("runs", done, RUNS)
    return profiles[1:], alone[1:]


def _inputs(session: Session) -> Mapping[str, Any]:
    return noise_of(session.inputs)
