"""Repair without training: what is left of a pruned network learns from calibration data what it was for.

Layer by layer in order, on inputs as the pruned and repaired network so far computes them:

* a convolution or matrix product whose input changed gets new weights by least squares (`regression.py`),
  towards the results that it had; in front of a residual sum also towards what the sum has lost;
* a batch norm gets the mean that its input has now, the bias that makes the mean of its result what it was,
  and the variance that makes its result vary as it did (Jordan et al., "REPAIR: REnormalizing Permuted
  Activations for Interpolation Repair", 2023).

Left alone but for the batch norm behind them: transposed convolutions whose taps overlap, since a result
is then a sum over several windows, and operators with weights that are no constants. A depthwise or grouped
convolution is solved group by group.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np

from secateur.ir.channels import Channels, Cut, Place, find_channels
from secateur.ir.errors import SecateurError
from secateur.ir.graph import Graph, Operator, Value, constant_of
from secateur.ir.registry import create
from secateur.ir.support.unfinished import temporary_folder

from ...fuse.affine import BIAS, bias_of, channel_axis, channel_shape
from ...quantize.calibration.statistics import value_names
from ..linear.matrices import Array, Floats, Indices, is_depthwise, is_linear, overlaps, restored
from ..linear.moments import Data
from ..linear.samples import Windows, at, columns, positions
from ..remove import Gone
from .compensation import Sum, inverse, sum_behind
from .regression import Sample, Solution, solve
from .replay import Replay


@dataclass(frozen=True)
class Options:
    """What repair does: weights by least squares, variances of batch norms, what residual sums have lost."""

    weights: bool = True
    variance: bool = True
    compensate: bool = True


def repair(
    original: Graph,
    pruned: Graph,
    gone: Gone,
    data: Data,
    options: Options = Options(),
    channels: Channels | None = None,
) -> Graph:
    """A copy of `pruned` with weights and statistics repaired; names, types and operators stay.

    `gone` are the units that `pruned` lacks of each group of `original`, whose `channels` are found where
    they are not given; whole operators may be missing too. Operators of both belong together by the names
    of their results. Raises SecateurError where there is no data, or a group or unit is unknown.
    """
    if not data.batches:
        raise SecateurError("repair needs calibration data, and there is none")
    cut, copy = Cut(channels or find_channels(original), gone), pruned.clone()
    with temporary_folder("secateur-repair-") as folder:
        before, now = (Replay(graph, data.batches, folder) for graph in (original, copy))
        _Repair(before, now, cut, options).all(data)
    copy.remove_dead()
    return copy


def _names(graph: Graph) -> dict[str, Value]:
    """The values that are of use by name; what is dead would shift the numbers of unnamed ones."""
    copy = graph.clone()
    back = dict(zip(copy.values(), graph.values(), strict=True))
    copy.remove_dead()
    return {name: back[value] for value, name in value_names(copy).items()}


@dataclass(eq=False)
class _Repair:
    """The two networks as they are run side by side."""

    before: Replay
    now: Replay
    cut: Cut
    options: Options
    changed: set[Value] = field(default_factory=set)
    twins: dict[Value, Value | None] = field(default_factory=dict)
    added: dict[Operator, list[Operator]] = field(default_factory=dict)

    def all(self, data: Data) -> None:
        before, named = _names(self.before.graph), _names(self.now.graph)
        self.twins = {value: named.get(name) for name, value in before.items()}
        pairs = [
            (old.producer, new.producer)
            for old, new in self.twins.items()
            if new is not None and old.producer is not None and new.producer is not None
            if not old.is_constant
        ]
        for number, (op, counterpart) in enumerate(pairs):
            self.before.run_before(op)
            self.now.run_before(counterpart)
            self._repair(op, counterpart)
            self.before.run(op)
            self.now.run(counterpart)
            data.progress("repair: layers", number + 1, len(pairs))
        self.now.graph.replace_operators({op: [*made, op] for op, made in self.added.items()})

    def _repair(self, op: Operator, now: Operator) -> None:
        if self.now.has_run(now) or not self._changes(op, now):
            return
        self.changed |= set(now.results)
        if now.name == "nn.batch_norm" and self._same(op, now):
            self._restate(op, now)
        elif self.options.weights and is_linear(now) and self._same(op, now) and not overlaps(now):
            self._refit(op, now)

    def _same(self, op: Operator, now: Operator) -> bool:
        """Whether `now` is what is left of `op`."""
        left = tuple(len(self._indices(op.result, axis)) for axis in range(op.result.type.rank))
        return (op.name, op.loc, left) == (now.name, now.loc, now.result.type.shape)

    def _changes(self, op: Operator, now: Operator) -> bool:
        """Whether the kept channels of the result are others than before."""
        narrower = is_linear(now) and now.operands[0].type != op.operands[0].type and not is_depthwise(now)
        others = (
            self.twins[old] is not new
            for old, new in zip(op.operands, now.operands, strict=False)
            if not new.is_constant
        )
        return narrower or bool(self.changed & set(now.operands)) or any(others)

    # Least squares ---------------------------------------------------------------------------------

    def _refit(self, op: Operator, now: Operator) -> None:
        behind = [user.name for user in now.result.users] == ["nn.batch_norm"]
        centred = behind or bias_of(now) is not None or not now["epilogue"]
        kept = self._indices(op.result, channel_axis(op))
        found = solve(op, now, kept, self._samples(op, now), centred)
        self._replace(now, 1, restored(now, found.matrices))
        if centred and not (behind and not now["epilogue"]):
            self._move_bias(now, found)

    def _indices(self, value: Value, axis: int) -> Indices:
        return self.cut.kept(Place(value), axis)

    def _samples(self, op: Operator, now: Operator) -> Iterator[Sample]:
        plain = op.name == "nn.conv" and op["epilogue"] in ((), (BIAS,))
        sums = self._sums(op.result, now.result) if plain else None
        for batch in self.now.batches:
            where = positions(op, batch)
            x, old = self.now.array(now.operands[0], batch), self.before.array(op.operands[0], batch)
            more = None
            if sums is not None:
                more = self._lost(sums, batch, where) * inverse(sums[1].slope)
            yield Sample(columns(now, x, where), columns(op, old, where), more)

    def _sums(self, before: Value, now: Value) -> tuple[Sum, Sum] | None:
        """The sums behind a value in both networks, where the other operand is known and has changed."""
        if not self.options.compensate:
            return None
        old, new = sum_behind(before, self.before), sum_behind(now, self.now)
        if old is None or new is None or not self._lost_any(old.other, new.other):
            return None
        return (old, new) if len(self._indices(old.other, 1)) == new.other.type.shape[1] else None

    def _lost_any(self, before: Value, now: Value) -> bool:
        """Whether the other operand is not what it was; where a branch is gone it is its skip."""
        return now in self.changed or self.twins.get(before) is not now

    def _lost(self, sums: tuple[Sum, Sum], batch: int, where: Windows) -> Array:
        """What the other operand has lost at some windows: samples x kept channels."""
        before, now = (s.other for s in sums)
        was = at(self.before.array(before, batch), where)[:, self._indices(before, 1)]
        return was - at(self.now.array(now, batch), where)

    def _move_bias(self, now: Operator, found: Solution) -> None:
        dtype, bias = now.result.type.dtype.numpy, bias_of(now)
        taps = len(found.bias) // now.result.type.shape[channel_axis(now)]
        more = found.bias.reshape(-1, taps).mean(axis=1)
        if bias is not None:
            self._replace(now, 2, np.broadcast_to((bias + more).astype(dtype), (len(more),)))
            return
        value = self._constant(
            now, more.astype(dtype).reshape(self._bias_shape(now)), f"{now.operands[1].name}.bias"
        )
        now.operands = [*now.operands, value]
        now.attributes["epilogue"] = (BIAS,)

    def _bias_shape(self, now: Operator) -> tuple[int, ...]:
        return (-1,) if now.name == "nn.matmul" else channel_shape(now.result.type.shape, 1)

    # Batch norms -----------------------------------------------------------------------------------

    def _restate(self, op: Operator, now: Operator) -> None:
        """Means and variances as they are now, and a bias by which the mean of the result is what it was."""
        if any(constant_of(v) is None for v in (*op.operands[1:], *now.operands[1:])):
            return
        kept = self._indices(op.operands[0], 1)
        old_mean, old_variance = (a[kept] for a in self._statistics(self.before, op.operands[0]))
        mean, variance = self._statistics(self.now, now.operands[0])
        scale, bias, mean_then, variance_then = (self._parameter(now, i) for i in range(1, 5))
        wanted = bias + scale / np.sqrt(variance_then + now["epsilon"]) * (old_mean - mean_then)
        wanted += self._mean_lost(op, now)
        self._replace(now, 2, wanted)
        self._replace(now, 3, mean)
        if self.options.variance:
            ratio = np.where(old_variance > 0, variance / np.where(old_variance > 0, old_variance, 1), 1.0)
            self._replace(now, 4, np.maximum((variance_then + now["epsilon"]) * ratio - now["epsilon"], 0.0))

    def _parameter(self, now: Operator, index: int) -> Floats:
        array = constant_of(now.operands[index])
        assert array is not None
        return array.astype(np.float64)

    def _statistics(self, run: Replay, value: Value) -> tuple[Floats, Floats]:
        """Mean and variance of each channel over all batches."""
        axes = tuple(i for i in range(value.type.rank) if i != 1)
        arrays = [run.array(value, batch).astype(np.float64) for batch in run.batches]
        mean = np.mean([a.mean(axis=axes) for a in arrays], axis=0)
        square = np.mean([np.square(a).mean(axis=axes) for a in arrays], axis=0)
        return mean, np.maximum(square - mean**2, 0.0)

    def _mean_lost(self, op: Operator, now: Operator) -> Floats | float:
        sums = self._sums(op.result, now.result)
        if sums is None:
            return 0.0
        before, _ = self._statistics(self.before, sums[0].other)
        after, _ = self._statistics(self.now, sums[1].other)
        return before[self._indices(sums[0].other, 1)] - after

    # Constants -------------------------------------------------------------------------------------

    def _replace(self, op: Operator, index: int, array: Array) -> None:
        """A constant operand of other elements, in its shape and type; others that read it keep theirs."""
        old = op.operands[index]
        shaped = np.ascontiguousarray(array, old.type.dtype.numpy).reshape(old.type.shape)
        op.set_operand(index, self._constant(op, shaped, old.name))

    def _constant(self, op: Operator, array: Array, name: str) -> Value:
        made = create("nn.constant", [], {"value": array})
        made.result.name = name
        self.added.setdefault(op, []).append(made)
        return made.result
