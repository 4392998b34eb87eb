"""Half: a float network computes in binary16, between casts at its ends.

    %y = nn.conv(%x, %w, %b) {epilogue = [add, relu]} : tensor<1x16x32x32xf32>
 -> %x16 = nn.cast(%x) {dtype = f16}
    %y16 = nn.conv(%x16, %w16, %b16) {epilogue = [add, relu], sums = f16} : tensor<1x16x32x32xf16>
    %y = nn.cast(%y16) {dtype = f32}

Constants are rounded to binary16 once, here. What cannot be stored in it, or has no kernel for it, stays in
float32, with casts between; a value is cast at most once to each type.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import ClassVar

from secateur.ir.graph import Graph, Operator, Value, constant_of
from secateur.ir.registry import create
from secateur.ir.support.half import rounded
from secateur.ir.types import DType

from ..framework.base import Pass
from ..quantize.calibrate import CalibrationData
from .fit import fitting
from .options import HalfRecipe
from .ranges import largest
from .report import HalfReport, Left, Listener, ignored


@dataclass(frozen=True, kw_only=True)
class Half(HalfRecipe, Pass):
    """Makes convolutions, matrix products and what goes along with them compute in binary16.

    With `data`, which the compiler hands in, layers whose values come near the largest number stay in
    float32.
    """

    name: ClassVar[str] = "half"

    data: CalibrationData | None = field(default=None, compare=False, repr=False, metadata={"option": False})
    listen: Listener = field(default=ignored, compare=False, repr=False, metadata={"option": False})

    @property
    def tolerance(self) -> float:
        """Eleven bits a value, and what adds up from layer to layer."""
        return 0.05

    def run(self, graph: Graph) -> Graph:
        ranges = {} if self.data is None else largest(graph, self.data)
        return halved(graph, self, ranges, self.listen)


def halved(
    graph: Graph, recipe: HalfRecipe, ranges: Mapping[Value, float], listen: Listener = ignored
) -> Graph:
    """The graph, rewritten in place; `ranges` are largest magnitudes of its values."""
    walk = _Walk(recipe, ranges)
    for op in graph.operators:
        walk.visit(op)
    graph.set_outputs([walk.real(v) for v in graph.outputs], graph.output_names)
    graph.operators = walk.operators
    graph.remove_dead()
    listen(HalfReport(walk.count, walk.total, tuple(walk.left)))
    return graph


@dataclass(eq=False)
class _Walk:
    """The operators in order, with what was cast so far."""

    recipe: HalfRecipe
    ranges: Mapping[Value, float]
    operators: list[Operator] = field(default_factory=list)
    count: int = 0
    total: int = 0
    left: list[Left] = field(default_factory=list)
    _halves: dict[Value, Value] = field(default_factory=dict)  # of float32 values
    _reals: dict[Value, Value] = field(default_factory=dict)  # casts back of those computed in binary16
    _computed: dict[Value, Value] = field(default_factory=dict)

    def visit(self, op: Operator) -> None:
        """Adds the operator, or what takes its place."""
        if op.name == "nn.constant":
            self.operators.append(op)
            return
        self.total += 1
        reason = fitting(op, self._computed.__contains__, self.ranges, frozenset(self.recipe.keep_float))
        if reason is None:
            self._replace(op)
            return
        if op.macs:
            self.left.append(Left(op.loc or op.result.name, op.name, reason))
        op.operands = [self.real(v) for v in op.operands]
        self.operators.append(op)

    def _replace(self, op: Operator) -> None:
        self.count += 1
        operands = [self._half(v) if v.type.dtype == DType.F32 else v for v in op.operands]
        new = create(op.name, operands, {**op.attributes, **self._sums(op)}, op.loc)
        new.result.name = op.result.name
        self._halves[op.result] = self._computed[op.result] = new.result
        op.operands = []
        self.operators.append(new)

    def _sums(self, op: Operator) -> dict[str, DType]:
        return {"sums": DType(self.recipe.sums)} if op.definition.attribute("sums") is not None else {}

    def _half(self, value: Value) -> Value:
        """A float32 value in binary16."""
        if value not in self._halves:
            array = constant_of(value)
            if array is None:
                made = _cast(value, DType.F16)
            else:
                made = create("nn.constant", [], {"value": rounded(array)})
            made.result.name = made.result.name or value.name
            self.operators.append(made)
            self._halves[value] = made.result
        return self._halves[value]

    def real(self, value: Value) -> Value:
        """A value as its readers in float32 want it."""
        if value not in self._computed:
            return value
        if value not in self._reals:
            made = _cast(self._computed[value], DType.F32)
            self.operators.append(made)
            self._reals[value] = made.result
        return self._reals[value]


def _cast(value: Value, dtype: DType) -> Operator:
    loc = value.producer.loc if value.producer is not None else ""
    made = create("nn.cast", [value], {"dtype": dtype}, loc)
    made.result.name = f"{value.name}_{dtype.value}" if value.name else ""
    return made
