"""Widen: a network in binary16 computes in float32, between casts at its ends.

    %y = nn.conv(%x, %w) : tensor<1x16x32x32xf16>
 -> %x32 = nn.cast(%x) {dtype = f32}
    %y32 = nn.conv(%x32, %w32) : tensor<1x16x32x32xf32>
    %y = nn.cast(%y32) {dtype = f16}

Constants keep their values, inputs and outputs their types. Nothing in between is rounded to binary16 any
more: casts from one to the other go. What comes behind can then fuse, quantize and choose precision as for
any network in float32.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import chain
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from secateur.ir.graph import Graph, Operator, Value, constant_of
from secateur.ir.registry import create
from secateur.ir.types import DType

from .framework.base import Pass


@dataclass(frozen=True)
class Widen(Pass):
    """Makes what computes in binary16 compute in float32."""

    name: ClassVar[str] = "widen"

    @property
    def tolerance(self) -> float:
        """Eleven bits a value, and what adds up from layer to layer."""
        return 0.05

    def run(self, graph: Graph) -> Graph:
        return to_float32(graph, DType.F16)


def is_narrow(graph: Graph) -> bool:
    """Whether anything is in binary16."""
    made = (v for op in graph.operators for v in op.results)
    return any(v.type.dtype == DType.F16 for v in chain(graph.inputs, made))


def to_float32(graph: Graph, source: DType) -> Graph:
    """The graph, in place, with float32 for `source` between casts at its ends."""
    walk = _Walk(source)
    for value in graph.inputs:
        walk.enter(value)
    for op in graph.operators:
        walk.visit(op)
    graph.set_outputs([walk.leave(v) for v in graph.outputs], graph.output_names)
    graph.operators = walk.operators
    graph.remove_dead()
    return graph


@dataclass(eq=False)
class _Walk:
    """The operators in order, with what took the place of values of the type `source`."""

    source: DType
    operators: list[Operator] = field(default_factory=list)
    _now: dict[Value, Value] = field(default_factory=dict)

    def _replaced(self, value: Value) -> bool:
        return value.type.dtype == self.source

    def enter(self, value: Value) -> None:
        """Turns an input."""
        if self._replaced(value):
            self._now[value] = self._cast(value, DType.F32)

    def leave(self, value: Value) -> Value:
        """An output in its own type."""
        now = self._now.get(value, value)
        return self._cast(now, value.type.dtype) if now.type.dtype != value.type.dtype else now

    def visit(self, op: Operator) -> None:
        """Adds the operator, or what takes its place."""
        ends = {self.source, DType.F32}
        if not any(map(self._replaced, (*op.operands, *op.results))):
            op.operands = [self._now.get(v, v) for v in op.operands]
            self.operators.append(op)
        elif op.name == "nn.cast" and {op.operands[0].type.dtype, op.result.type.dtype} == ends:
            self._now[op.result] = self._now.get(op.operands[0], op.operands[0])
            op.operands = []
        else:
            self._replace(op)

    def _replace(self, op: Operator) -> None:
        new = create(op.name, [self._now.get(v, v) for v in op.operands], self._attributes(op), op.loc)
        for old, result in zip(op.results, new.results, strict=True):
            result.name, self._now[old] = old.name, result
        op.operands = []
        self.operators.append(new)

    def _cast(self, value: Value, dtype: DType) -> Value:
        loc = value.producer.loc if value.producer is not None else ""
        made = create("nn.cast", [value], {"dtype": dtype}, loc)
        made.result.name = f"{value.name}_{dtype.value}" if value.name else ""
        self.operators.append(made)
        return made.result

    def _attributes(self, op: Operator) -> dict[str, Any]:
        """The operator's attributes, with float32 for the type: constants, types of results, sums."""
        array = constant_of(op.result) if op.name == "nn.constant" else None
        if array is not None:
            return {"value": _float32(array)}
        return {name: DType.F32 if value == self.source else value for name, value in op.attributes.items()}


def _float32(array: NDArray[Any]) -> NDArray[np.float32]:
    """Each element as the nearest of float32; finite ones stay so, as masks of the largest double."""
    largest = np.finfo(np.float32).max
    bounded = np.where(np.isfinite(array), np.clip(array, -largest, largest), array)
    return np.ascontiguousarray(bounded.astype(np.float32)).reshape(array.shape)
