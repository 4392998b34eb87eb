"""A network that has each operator as often as there are ways to compute it, and costs that take turns."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

import onnx

from secateur.ir.choice import Choice, CostTable
from secateur.ir.graph import Operator
from secateur.ir.types import Layout, TensorType
from secateur.tools.bench.model_builder import GraphBuilder, Value

COPIES = 5
"""Of an operator: no one has more primitives."""
_CHANNELS = 32


def fan(copies: int = COPIES) -> onnx.ModelProto:
    """Each result is an output, or goes into one as bytes: a wrong one tells which kernels made it."""
    g, wide = GraphBuilder("fan", (1, 3, 21, 19), 0), _CHANNELS
    few, some, fewer = (min(copies, most) for most in (4, 3, 2))
    first = [g.relu(g.conv(g.input, f"first{i}", wide, 3, 2, 1, bias=True), f"first{i}r") for i in range(few)]
    found, x = list(first), first[0]
    for i in range(copies):
        y = g.relu(g.conv(x, f"conv{i}", 48, 3, pad=1, bias=True), f"conv{i}r")
        found.append(g.conv(y, f"after{i}", 16, 1, bias=True))
    for i in range(few):
        found.append(g.relu(g.conv(x, f"depthwise{i}", wide, 3, pad=1, groups=wide, bias=True), f"d{i}"))
        found.append(g.conv(x, f"pointwise{i}", 40, 1, bias=True))
    found += [g.conv(x, f"grouped{i}", 16, 3, pad=1, groups=4, bias=True) for i in range(some)]
    for i in range(fewer):
        found.append(g.max_pool(x, f"pool{i}", 2, 2, 0))
        found.append(z := g.global_average_pool(x, f"mean{i}"))
    found += [g.linear(g.flatten(z), f"dense{i}", 10) for i in range(some)]
    y = g.max_pool(x, "pool", 2, 2, 0)
    found += [g.conv(y, f"deep{i}", 16, 3, pad=1, bias=True) for i in range(some)]
    return _with_outputs(g, found)


def _with_outputs(g: GraphBuilder, values: list[Value]) -> onnx.ModelProto:
    model = g.finish(values[-1])
    for value in values[:-1]:
        kind = onnx.TensorProto.FLOAT
        model.graph.output.append(onnx.helper.make_tensor_value_info(value.name, kind, value.shape))
    onnx.checker.check_model(model)
    return model


@dataclass(frozen=True, eq=False)
class InTurn:
    """Costs by which each operator has one primitive: of those it may have, the one that fewest had before.

    An operator is known by its place in the model, so that it is told the same each time.
    """

    costs: CostTable
    given: dict[tuple[str, str], str] = field(default_factory=dict)
    taken: Counter[str] = field(default_factory=Counter)

    def choices(self, op: Operator) -> tuple[Choice, ...]:
        found = self.costs.choices(op)
        names = dict.fromkeys(choice.primitive for choice in found)
        key = op.name, op.loc
        if self.given.get(key) not in names:
            self.given[key] = min(names, key=lambda name: self.taken[self._kind(op, name)])
            self.taken[self._kind(op, self.given[key])] += 1
        return tuple(choice for choice in found if choice.primitive == self.given[key])

    @staticmethod
    def _kind(op: Operator, primitive: str) -> str:
        shapes = [v.type.shape for v in (*op.operands[:2], op.result)]
        return f"{op.name} {shapes} {primitive}"

    def conversion(self, type: TensorType, source: Layout, destination: Layout) -> float:
        return self.costs.conversion(type, source, destination)

    def weight_bytes(self, op: Operator, choice: Choice) -> int:
        return self.costs.weight_bytes(op, choice)
