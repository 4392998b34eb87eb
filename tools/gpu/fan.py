"""A network that has each operator as often as there are ways to compute it, and costs that take turns."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import onnx
from onnx import helper, numpy_helper

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


_ROW, _UNITS, _STEPS = 400, 24, 3


def rows(copies: int = COPIES) -> onnx.ModelProto:
    """The same of what reduces rows, goes through sequences and finds the largest."""
    rng, known, nodes, ends = (
        np.random.default_rng(0),
        dict[str, Any](),
        list[onnx.NodeProto](),
        dict[str, int](),
    )

    def node(op: str, inputs: list[str], outputs: int = 1, **how: Any) -> str:
        names = [f"{op}{len(nodes)}_{i}" for i in range(outputs)]
        nodes.append(helper.make_node(op, [*inputs, *how.pop("more", ())], names, names[0], **how))
        ends[names[-1]] = onnx.TensorProto.INT64 if outputs > 1 else onnx.TensorProto.FLOAT
        return names[0]

    def weights(name: str, *shape: int) -> str:
        known[name] = (rng.standard_normal(shape) / shape[-1] ** 0.5).astype(np.float32)
        return name

    known |= {"flat": np.array([1, 3 * _ROW]), "sequence": np.array([_STEPS, 1, _ROW]), "k": np.array([7])}
    scale, bias = weights("scale", 3), weights("bias", 3)
    for i in range(copies):
        image = node("Add", ["input"], more=(weights(f"apart{i}", 1, 3, 1, 1),))
        flat, sequence = node("Reshape", [image, "flat"]), node("Reshape", [image, "sequence"])
        node("Softmax", [flat], axis=1)
        node("ReduceMax", [flat], axes=[1])
        node("GlobalAveragePool", [image])
        node("InstanceNormalization", [image], more=(scale, bias))
        node("LayerNormalization", [flat], more=(weights(f"scale{i}", 3 * _ROW),))
        node("TopK", [flat, "k"], 2)
        for cell, gates in (("LSTM", 4), ("GRU", 3)):
            given, back = (weights(f"{cell}{i}{n}", 1, gates * _UNITS, n) for n in (_ROW, _UNITS))
            node(cell, [sequence, given, back], hidden_size=_UNITS)
    graph = helper.make_graph(
        nodes,
        "rows",
        [helper.make_tensor_value_info("input", onnx.TensorProto.FLOAT, (1, 3, 20, _ROW // 20))],
        [
            helper.make_tensor_value_info(name, kind, None)
            for name, kind in ends.items()
            if "Reshape" not in name
        ],
        [numpy_helper.from_array(array, name) for name, array in known.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    return onnx.shape_inference.infer_shapes(model)


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
