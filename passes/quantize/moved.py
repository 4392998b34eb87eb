"""Weights moved to values that take fewer bits in a coded file, as far as the outputs allow.

One number, the strength, says what a bit is worth in noise, in all layers (`cheaper.py`); the layers' noise,
each in shares of its own power, counts as the network's. The largest strength is sought whose network keeps
the wanted SQNR on calibration data.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from secateur.ir.graph import Graph, Operator, constant_of
from secateur.ir.types import DType

from .calibration.executor import Arrays, Executor
from .cheaper import cheaper, entropy_bits, step_of
from .curvature import Curvature, Moments
from .insert import Floats, Rounder, Weights, round_weights
from .options import WeightForm
from .plan import make_plan

CLOSE = 0.1  # dB above the limit that no further run of the network is worth
RUNS = 8  # of the network, at most
_FASTER = 8.0
_MOVED = ("nn.conv", "nn.matmul")

Curvatures = Mapping[int, Curvature]
"""By the number of the operator in its graph."""


def curvatures(graph: Graph, samples: Sequence[Arrays], execute: Executor, whole: bool) -> Curvatures:
    """Of the operators of a float graph that a plan gives rounded weights."""
    planned = make_plan(graph, whole=whole).kinds
    linear = {i: op for i, op in enumerate(graph.operators) if op in planned and op.name in _MOVED}
    moments = {i: Moments(op, len(samples)) for i, op in linear.items() if op.operands[1].type.elements}
    values = list(dict.fromkeys(v for i in moments for v in (linear[i].operands[0], linear[i].result)))
    for arrays in execute(graph, samples, values) if values else ():
        found = dict(zip(values, arrays, strict=True))
        for i, gathered in moments.items():
            gathered.add(found[linear[i].operands[0]], found[linear[i].result])
    return {i: gathered.curvature() for i, gathered in moments.items()}


@dataclass(frozen=True, eq=False)
class Mover:
    """Rounds the weights of a graph's operators at one strength; each layer once."""

    curvatures: Curvatures
    form: WeightForm
    strength: float
    known: dict[int, Weights] = field(default_factory=dict)

    def rounder(self, graph: Graph) -> Rounder:
        """For the operators of a copy of the graph, as it is before they are quantized."""
        numbers = {op: i for i, op in enumerate(graph.operators)}

        def moved(op: Operator, input_scale: float, bias: Floats) -> Weights:
            number = numbers[op]
            if number not in self.known:
                usual = round_weights(op, input_scale, bias, self.form)
                found = self.curvatures.get(number)
                self.known[number] = self._moved(op, usual, found) if found is not None else usual
            return self.known[number]

        return moved

    def _moved(self, op: Operator, usual: Weights, curvature: Curvature) -> Weights:
        """Scales are no smaller than the usual ones, and one for all filters where those are."""
        real = constant_of(op.operands[1])
        assert real is not None, "a planned operator's weights are constant"
        scales = np.maximum(usual.scales, np.float32(step_of(curvature, self.strength)))
        cut = curvature.cut
        units = cut.filters(scales.astype(np.float64))
        matrices = cut.matrices(op, real.astype(np.float64))
        stored = cheaper(matrices, units, curvature, self.strength, self.form.largest)
        return Weights(cut.weights(op, stored), scales, usual.axis)


def strongest(sqnr_of: Callable[[float], float], limit: float, plain: float, first: float) -> float:
    """The largest strength found at which `sqnr_of` is `limit` dB at least; 0 where none is.

    `plain` dB is what there is without, `first` a strength to begin with. The noise is taken to grow in
    proportion to the strength, from what is known on both sides.
    """
    wanted = _noise(limit + CLOSE / 2)
    passed, failed = (0.0, _noise(plain)), None
    strength = first
    for _ in range(RUNS):
        sqnr = sqnr_of(strength)
        here = (strength, _noise(sqnr))
        passed, failed = (here, failed) if sqnr >= limit else (passed, here)
        if limit <= sqnr < limit + CLOSE:
            break
        strength = _next(passed, failed, wanted)
    return passed[0]


def _noise(sqnr: float) -> float:
    return float(10 ** (-sqnr / 10))


def _next(passed: tuple[float, float], failed: tuple[float, float] | None, wanted: float) -> float:
    """A strength between the two, or beyond the first where none has failed."""
    if failed is None:
        return passed[0] * min(max(wanted / max(passed[1], 1e-30), 1.25), _FASTER)
    share = (wanted - passed[1]) / max(failed[1] - passed[1], 1e-30)
    return passed[0] + min(max(share, 0.1), 0.9) * (failed[0] - passed[0])


def first_strength(found: Curvatures, graph: Graph, plain: float, limit: float) -> float:
    """That of which the layers' noise should add up to what the limit leaves."""
    weights = sum(graph.operators[i].operands[1].type.elements for i in found)
    return 12 * max(_noise(limit) - _noise(plain), 1e-12) / max(weights, 1)


def weight_bits(graph: Graph) -> tuple[float, int]:
    """By their entropy, layer by layer, of a graph's 8-bit weights; and how many there are."""
    bits, count = 0.0, 0
    for op in graph.operators:
        if op.name == "nn.constant" and op.result.type.dtype == DType.I8 and op.result.type.rank > 1:
            bits, count = bits + entropy_bits(op["value"]), count + op["value"].size
    return bits, count
