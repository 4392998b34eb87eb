"""Cross-layer equalization: weights of neighbouring layers share their range channel by channel.

Nagel et al., "Data-Free Quantization through Weight Equalization and Bias
Correction", 2019, section 4.1. One scale quantizes all channels of the tensor
between two layers, so a channel much smaller than the others keeps few bits.
What the first layer multiplies a channel by, the second divides its weights by.

Factors are powers of two, so that every product and sum is the one before,
shifted: the answer does not move by a bit, and ranges are balanced to within a
factor of two. Unlike the paper a bias counts as a weight: a channel that is
nearly its bias alone would else be blown up.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from secateur.ir.elementwise import Step
from secateur.ir.graph import Graph, Operator, Value, constant_of
from secateur.ir.registry import create
from secateur.ir.rewrite import Any_, Array, Match, Op, Rule, rewrite

from ..framework.base import Pass
from ..fuse.affine import (
    LINEAR,
    bias_of,
    channel_axis,
    input_axis,
    need_constant_weights,
    scale_inputs,
    scale_outputs,
)
from .magnitudes import HOMOGENEOUS, factors
from .streams import equalize_groups

POOLS = ("nn.max_pool", "nn.average_pool")


# The rule ------------------------------------------------------------------------------------------


def _need_homogeneous(m: Match, op: Operator) -> None:
    """Refuses where the epilogue is more than a constant bias and functions that pass a factor on."""
    steps: tuple[Step, ...] = op["epilogue"][bias_of(op) is not None :]
    strange = [step.op for step in steps if step.op not in HOMOGENEOUS]
    why = f"its epilogue has {strange[0]}, which does not pass a factor on" if strange else ""
    m.need(not strange, why, op)


def _guard(m: Match) -> None:
    first, second = m.op("first"), m.root
    for op in (first, second):
        m.need(op.result.type.dtype.value == "f32", f"is {op.result.type.dtype.value}, not f32", op)
        m.need(need_constant_weights(m, op).size > 0, "has no weights", op)
    _need_homogeneous(m, first)
    axes = channel_axis(first), input_axis(second)
    m.need(
        axes[0] == axes[1],
        f"its channels lie along axis {axes[0]}, the next layer sums over {axes[1]}",
        first,
    )
    m.need(bool((factors(first, second) != 1).any()), "its channels are balanced")


def _copied(m: Match, op: Operator, operands: list[Value]) -> Value:
    """The operator on other operands, under its own name and location."""
    copy = create(op.name, operands, op.attributes, op.loc)
    copy.result.name = op.result.name
    m.created.append(copy)
    return copy.result


def _scaled_first(m: Match, op: Operator, scale: Array) -> Value:
    """The operator whose result channels are divided by `scale`."""
    weights, bias, operands = constant_of(op.operands[1]), bias_of(op), op.operands
    assert weights is not None
    operands[1] = m.constant(scale_outputs(op, weights, (1 / scale).astype(weights.dtype)), operands[1].name)
    if bias is not None:
        shape = [1] * op.result.type.rank
        shape[channel_axis(op)] = -1
        array = (bias / scale).astype(weights.dtype)
        operands[2] = m.constant(array if op.name == "nn.matmul" else array.reshape(shape), operands[2].name)
    return _copied(m, op, operands)


def _scaled_second(m: Match, op: Operator, x: Value, scale: Array) -> Value:
    """The operator on `x`, whose channels are those before divided by `scale`."""
    weights = constant_of(op.operands[1])
    assert weights is not None
    multiplied = scale_inputs(op, weights, scale.astype(weights.dtype))
    return _copied(m, op, [x, m.constant(multiplied, op.operands[1].name), *op.operands[2:]])


def _between(m: Match) -> list[Operator]:
    """The pools between the two layers, the first one first."""
    found: list[Operator] = []
    op = m.root.operands[0].producer
    while op is not None and op is not m.op("first"):
        found.insert(0, op)
        op = op.operands[0].producer
    return found


def _equalize(m: Match) -> Value:
    """linear2(pool(f(linear1(x, w1) + b)), w2)   ->   linear2(pool(f(linear1(x, w1 / s) + b / s)), s w2)

    where w1, b and w2 are constant f32, f is nothing, relu or leaky_relu, there are at most two max or
    average pools, what is in between has no other use, and s is, for each channel, the power of two nearest
    to the root of the range of its w1 and b over that of its w2; at least one s is not 1.
    """
    scale = factors(m.op("first"), m.root)
    value = _scaled_first(m, m.op("first"), scale)
    for pool in _between(m):
        value = _copied(m, pool, [value])
    return _scaled_second(m, m.root, value, scale)


_FIRST = Op(LINEAR, (), "first", once=True)
_POOLED = Op(POOLS, (_FIRST,), once=True)

RULES: tuple[Rule, ...] = tuple(
    Rule("equalize", Op(LINEAR, (between, Any_())), _guard, _equalize)
    for between in (_FIRST, _POOLED, Op(POOLS, (_POOLED,), once=True))
)


@dataclass(frozen=True)
class Equalize(Pass):
    """Moves powers of two between the weights of neighbouring layers, so that their channels' ranges agree;
    then between all layers of a group of channels, such as a residual stream.

    Stands after `fuse` and before calibration: it changes the ranges of the values between the layers.
    """

    name: ClassVar[str] = "equalize"

    @property
    def tolerance(self) -> float:
        """Not zero: a weight may leave the range of normal float32."""
        return 1e-6

    def run(self, graph: Graph) -> Graph:
        rewrite(graph, RULES)
        graph.remove_dead()
        equalize_groups(graph)
        return graph
