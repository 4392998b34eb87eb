"""How much of an error in one layer's result reaches the network's outputs.

Noise with a share `SHARE` of each channel's variance is added to one value at a time; what it adds to the
outputs, as a share of their variance, divided by `SHARE`, is the value's sensitivity. Times it, relative
errors of different layers compare as shares of the variance of the network's answer. The noise is the same
at all positions of an image: what pruning loses hardly changes from one position to the next, whereas noise
that does would vanish in the next pool.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from secateur.ir.graph import Graph, Operator, Value
from secateur.ir.registry import create

from ...quantize.calibration.executor import Arrays
from ..linear.matrices import Array, Floats, is_linear
from ..linear.moments import Data
from .branches import find_branches
from .criterion import Evidence

SHARE = 0.01
BATCHES = 4
"""How many batches are run for each value."""


def sensitivities(graph: Graph, values: Sequence[Value], data: Data) -> dict[Value, float]:
    """For each of `values`, results of operators: share of the outputs' variance per share of its own.

    Runs one network, compiled once where the executor compiles, `BATCHES` times for each value and once more.
    """
    noisy, ports = _noisy(graph, values)
    few = Data(data.batches[:BATCHES], data.execute, data.progress)
    plain = list(few.values(graph, [*values, *graph.outputs]))
    spread = [_deviation([arrays[i] for arrays in plain]) for i in range(len(values))]
    answers = [_flat(arrays[len(values) :]) for arrays in plain]
    whole = _power(answers, np.mean(answers, axis=0) if len(answers) > 1 else 0.0)
    noise = _Noise(ports, spread, few.batches)
    found = {}
    for number, value in enumerate(values):
        data.progress("pruning: sensitivity", number, len(values))
        got = [_flat(arrays) for arrays in few.execute(noisy, list(noise.feeds(number)), noisy.outputs)]
        error = sum(float(np.square(a - b).sum()) for a, b in zip(got, answers, strict=True))
        found[value] = error / whole / SHARE if whole > 0 else 1.0
    return found


def weighed(evidence: Evidence) -> Evidence:
    """The evidence with the sensitivities of all linear operators and residual sums."""
    graph = evidence.graph
    linear = [op.result for op in graph.operators if is_linear(op)]
    sums = [branch.sum.result for branch in find_branches(graph)]
    sums += [op.result for op in graph.operators if op.name == "nn.channel_sum"]
    values = list(dict.fromkeys([*linear, *sums]))
    return replace(evidence, sensitivity=sensitivities(graph, values, evidence.data))


def _noisy(graph: Graph, values: Sequence[Value]) -> tuple[Graph, list[Value]]:
    """A copy with an input for each of `values` that is added to it."""
    copy = graph.clone()
    twins = dict(zip(graph.values(), copy.values(), strict=True))
    ports, adds = [], dict[Operator, list[Operator]]()
    for number, value in enumerate(values):
        old = twins[value]
        port = copy.add_input(value.type, f"noise {number}")
        add = create("nn.add", [old, port], loc=f"noise {number}")
        copy.replace_value(old, add.result)
        add.set_operand(0, old)
        assert old.producer is not None, "a result of an operator"
        adds.setdefault(old.producer, [old.producer]).append(add)
        ports.append(port)
    copy.replace_operators(adds)
    return copy, ports


@dataclass(frozen=True, eq=False)
class _Noise:
    """Batches with noise for one of the values and zeros for the others."""

    ports: Sequence[Value]
    spread: Sequence[Floats]
    batches: Sequence[Arrays]

    def feeds(self, chosen: int) -> Iterator[Arrays]:
        zeros = {port.name: np.zeros(port.type.shape, port.type.dtype.numpy) for port in self.ports}
        for seed, batch in enumerate(self.batches):
            port = self.ports[chosen]
            noise = np.random.default_rng(seed).standard_normal(self._alike(port.type.shape))
            added = np.broadcast_to(noise * self.spread[chosen] * np.sqrt(SHARE), port.type.shape)
            yield {**batch, **zeros, port.name: added.astype(port.type.dtype.numpy)}

    def _alike(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        """One number for each image and channel; for a matrix, for each element."""
        return (*shape[:2], *[1] * (len(shape) - 2)) if len(shape) > 3 else shape


def _deviation(arrays: Sequence[Array]) -> Floats:
    """The standard deviation of each channel, shaped to broadcast."""
    stacked = np.stack(arrays).astype(np.float64)
    channel = stacked.ndim - 1 if stacked.ndim == 3 else 2
    axes = tuple(i for i in range(stacked.ndim) if i != channel)
    return np.asarray(stacked.std(axis=axes, keepdims=True)[0])


def _flat(arrays: Sequence[Array]) -> Floats:
    return np.concatenate([a.astype(np.float64).ravel() for a in arrays])


def _power(answers: Sequence[Floats], mean: Floats | float) -> float:
    return sum(float(np.square(a - mean).sum()) for a in answers)
