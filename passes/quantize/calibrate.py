"""What one pass over the calibration data tells: ranges, mean inputs of linear operators, a few images."""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from secateur.ir.errors import SecateurError
from secateur.ir.graph import Graph, Operator, Value
from secateur.ir.support.progress import Progress, silent
from secateur.ir.types import Quant

from ..fuse.affine import LINEAR
from ..tflite.fixed_scales import fixed_quant
from .calibration.correction import Mean, weight_correction
from .calibration.executor import Arrays, Executor, interpreted
from .calibration.histogram import Histogram
from .calibration.ranges import Ranges, choose, quant_of
from .calibration.statistics import Statistics, quantizable, stream, value_names
from .insert import Floats, Rounder, real_bias, round_weights
from .measure import Labelled
from .plan import Plan, shared_groups

KEPT_IMAGES = 32
"""Images kept to measure errors with."""


@dataclass(frozen=True)
class _Anew:
    """An iterable of what `read` gives, however often it is wanted."""

    read: Callable[[], Labelled]

    def __iter__(self) -> Iterator[tuple[Arrays, NDArray[np.int64]]]:
        return iter(self.read())


@dataclass(frozen=True, eq=False)
class CalibrationData:
    """Live objects that calibration needs, handed to the pass as a cost table is to `select`.

    `batches` are arrays by input name, read once; `execute` runs graphs. With
    `ranges` (from a file, say) nothing is chosen from statistics. `labelled`
    gives batches with their classes, for a limit on accuracy.
    """

    batches: Iterable[Arrays]
    ranges: Ranges | None = None
    labelled: Callable[[], Labelled] | None = None
    execute: Executor = interpreted
    progress: Progress = silent

    def labels(self) -> Labelled:
        """The labelled data, read anew each time; SecateurError where there is none."""
        if self.labelled is None:
            raise SecateurError("a limit on accuracy (max_drop) needs labelled calibration data")
        return _Anew(self.labelled)


@dataclass(frozen=True, eq=False)
class Calibration:
    """Ranges and mean inputs by value name, and the first few batches."""

    ranges: Ranges
    means: Mapping[str, Floats]
    samples: tuple[Arrays, ...]


@dataclass(eq=False)
class _Seen:
    """What is remembered of a value."""

    mean: Mean | None = None
    histogram: Histogram = field(default_factory=Histogram)

    def add(self, array: NDArray[Any]) -> None:
        self.histogram.add(array)
        if self.mean is not None:
            with np.errstate(invalid="ignore"):  # the histogram counts infinities, and ranges refuse them
                self.mean.add(array)


@dataclass(eq=False)
class _Remembering:
    """Batches as they come, of which the first few are kept."""

    batches: Iterable[Arrays]
    kept: list[Arrays] = field(default_factory=list)

    def __iter__(self) -> Iterator[Arrays]:
        for batch in self.batches:
            if len(self.kept) < KEPT_IMAGES:
                self.kept.append({name: np.array(array) for name, array in batch.items()})
            yield batch

    def __length_hint__(self) -> int:
        return operator.length_hint(self.batches)


def _linear_inputs(graph: Graph) -> set[Value]:
    return {op.operands[0] for op in graph.operators if op.name in LINEAR}


def calibrate(
    graph: Graph, data: CalibrationData, method: str, percent: float, equalized: bool
) -> Calibration:
    """Streams the data through `graph` once; SecateurError: no data, infinite, or ranges of another model."""
    names, inputs = value_names(graph), _linear_inputs(graph)
    with_mean = {names[v] for v in inputs}
    found, images, kept = _observed(graph, data, with_mean)
    ranges = data.ranges
    if ranges is None:
        statistics = Statistics(images, {name: seen.histogram for name, seen in found.items()})
        ranges = choose(statistics, method, percent, equalized)
    _check(ranges, names, equalized)
    if strange := [names[v] for v in graph.inputs if names[v] in ranges.unbounded]:
        raise SecateurError(
            f"input {strange[0]!r} is NaN or infinite in the calibration images; check how they are prepared"
        )
    means = {n: np.asarray(s.mean.mean) for n, s in found.items() if s.mean is not None}
    return Calibration(ranges, means, kept)


def _observed(
    graph: Graph, data: CalibrationData, with_mean: set[str]
) -> tuple[dict[str, _Seen], int, tuple[Arrays, ...]]:
    batches = _Remembering(data.batches)
    wanted = None if data.ranges is None else with_mean & quantizable(graph).keys()
    found, images = stream(graph, batches, wanted, _with_mean, execute=data.execute, progress=data.progress)
    for name, seen in found.items():
        if name not in with_mean:
            seen.mean = None
    return found, images, tuple(batches.kept)


def _with_mean() -> _Seen:
    return _Seen(Mean())


def _check(ranges: Ranges, names: Mapping[Value, str], equalized: bool) -> None:
    ranges.check_names(set(names.values()))
    if ranges.equalized != equalized:
        was, now = ("equalized", "not") if ranges.equalized else ("not equalized", "equalized")
        raise SecateurError(f"the ranges were found with channels {was}, this network's are {now}")


def quantizations(graph: Graph, plan: Plan, ranges: Ranges) -> dict[Value, Quant]:
    """The quantization of each planned value; values that moves tie together get the widest range."""
    names, found = value_names(graph), dict[Value, Quant]()
    for group in shared_groups(plan):
        bounds = [ranges[names[v]] for v in group]
        quant = quant_of(min(low for low, _ in bounds), max(high for _, high in bounds))
        found |= dict.fromkeys(group, _only(group, plan) or quant)
    return found


def _only(group: Sequence[Value], plan: Plan) -> Quant | None:
    """The one quantization that TFLite gives what makes a group's values, moves aside; None: it is free."""
    makers = [v.producer for v in group if not _moved(v, plan)] if plan.whole else []
    found = {fixed_quant(op) if op is not None else None for op in makers}
    return found.pop() if len(found) == 1 else None


def _moved(value: Value, plan: Plan) -> bool:
    return value.producer is not None and plan.kinds.get(value.producer) == "move"


def corrections(
    graph: Graph,
    plan: Plan,
    quants: Mapping[Value, Quant],
    calibration: Calibration,
    rounder: Rounder = round_weights,
) -> dict[Operator, Floats]:
    """For each linear operator, what its bias gains so that rounding its weights moves no mean."""
    names, found = value_names(graph), dict[Operator, Floats]()
    for op, kind in plan.kinds.items():
        mean = calibration.means.get(names[op.operands[0]])
        if kind == "linear" and mean is not None:
            rounded = rounder(op, quants[op.operands[0]].scales[0], real_bias(op))
            found[op] = weight_correction(op, rounded.real, mean)
    return found
