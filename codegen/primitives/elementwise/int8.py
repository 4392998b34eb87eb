"""Sums and products of 8-bit tensors, exact to the bit as `secateur.ir.ops.linear` defines them."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from secateur.ir.graph import Operator
from secateur.ir.ops.linear import multiplier, one_quant, residual_multiplier
from secateur.ir.types import ROW_MAJOR, DType

from ...kernel import Kernel
from ...targets.target import Target
from ...tir import prim_func, splat, store
from ...vector.loops import Expr, Nest
from ...vector.numeric import vector_type
from ...vector.requantize import BLOCK, Requantization, Requantize, result_parameters
from ...vector.shuffles import hold
from ...vector.walk import Walk, loaded
from ..generic import block_refusal, physical, target_block, type_after
from ..operator import Array, Combination
from .elementwise import Elementwise, argument_order

_OPERANDS = 2
_FIRST = 5  # of the parameters, behind those of the result: see `_parameters`


@dataclass(frozen=True)
class LinearPairSpec:
    """result[i] = requantized(a[i] with b[i]) over a box in the result's memory order.

    `function` is "add" or "mul". `strides` are in the order of the pointers; operand i is
    pointer `places[i]`. With `ending.filters` the box is (images, blocks, *spatial, lanes).
    """

    function: str
    extents: tuple[int, ...]
    strides: tuple[tuple[int, ...], ...]
    places: tuple[int, ...]
    ending: Requantization

    @property
    def walk(self) -> Walk:
        return Walk(self.extents, self.strides, BLOCK, 8.0, bool(self.ending.filters))


class LinearPair(Elementwise):
    """`b` broadcasts to `a`; layouts as for element-wise operators on floats."""

    name = "linear_elementwise"
    operators = ("linear_add", "linear_mul")

    def layouts(self, op: Operator, target: Target) -> tuple[Combination, ...]:
        plain: Combination = ((ROW_MAJOR,) * _OPERANDS, ROW_MAJOR)
        if block_refusal(op, (DType.U8,)):
            return (plain,)
        layout = target_block(target, DType.U8)
        wanted = [self._operand_layout(op, i, layout) for i in range(_OPERANDS)]
        return (plain,) if None in wanted else ((tuple(w or ROW_MAJOR for w in wanted), layout), plain)

    def vector_cost(self, op: Operator) -> float:
        return 8.0

    def constants(self, op: Operator, target: Target) -> tuple[Array, ...]:
        return (*super().constants(op, target), _parameters(op))

    def pair_spec(self, op: Operator) -> LinearPairSpec:
        order, result = argument_order(op), type_after(op)
        block = result.layout.block
        channels = result.shape[1] if block and result.shape[1] % block else 0
        nest = Nest(physical(result), tuple(self._strides(op, i) for i in order))
        if not block or (not channels and len(nest.collapsed().extents) == 1):
            nest = nest.collapsed()  # other blocked boxes keep their rows, which tasks share out
        ending = Requantization("float32" if result.quant is None else "uint8", filters=channels)
        places = tuple(order.index(i) for i in range(_OPERANDS))
        return LinearPairSpec(op.name.rsplit("_", 1)[1], nest.extents, nest.strides, places, ending)

    def kernel(self, op: Operator, target: Target) -> Kernel:
        spec = self.pair_spec(op)
        return Kernel(op.name.split(".", 1)[1], spec, partial(_build, spec), spec.walk.tasks.count)


def _parameters(op: Operator) -> Array:
    """Of the result; the operands' zero points; what the steps of each are worth, or those of the product."""
    quants = [one_quant(v.type) for v in op.operands]
    if op.name.endswith("add"):
        worth = [residual_multiplier(op, i) for i in range(_OPERANDS)]
    else:
        worth = [multiplier(op.result.type, *(scale for scale, _ in quants))]
    values = (*result_parameters(op, _OPERANDS), *(zero for _, zero in quants), *worth)
    return np.array(values, np.float32)


def _build(spec: LinearPairSpec) -> Any:
    pointers = [("x0", "uint8"), ("x1", "uint8"), ("parameters", "float32"), ("result", spec.ending.result)]
    return prim_func(pointers, _Body(spec))


class _Body:
    """Emits the loops; called with the buffers."""

    def __init__(self, spec: LinearPairSpec) -> None:
        self.spec = spec

    def __call__(self, *arguments: Any) -> None:
        *self.inputs, self.parameters, self.result, _, begin, end = arguments
        self.spec.walk.emit(begin, end, self._vector)

    def _vector(self, offsets: list[Expr], at: Expr, steps: list[int], lanes: int, channel: Expr) -> None:
        spec = self.spec
        centred = [self._centred(i, offsets[p], steps[p], lanes) for i, p in enumerate(spec.places)]
        t = self._sum(centred, lanes) if spec.function == "add" else self._product(centred, lanes)
        ending = Requantize(spec.ending, lanes, self.parameters)
        store(self.result, at, ending.of_steps(t, at, channel), lanes)

    def _centred(self, operand: int, at: Expr, step: int, lanes: int) -> Expr:
        """Operand minus its zero point, as floats."""
        stored = loaded(self.inputs[self.spec.places[operand]], at, step, lanes)
        whole = stored.astype(vector_type("int32", lanes)).astype(vector_type("float32", lanes))
        return hold(whole - self._parameter(operand, lanes), lanes)

    def _sum(self, centred: list[Expr], lanes: int) -> Expr:
        a, b = (hold(c * self._parameter(_OPERANDS + i, lanes), lanes) for i, c in enumerate(centred))
        return hold(a + b, lanes)

    def _product(self, centred: list[Expr], lanes: int) -> Expr:
        return hold(centred[0] * centred[1], lanes) * self._parameter(_OPERANDS, lanes)

    def _parameter(self, index: int, lanes: int) -> Expr:
        return splat(self.parameters[_FIRST + index], lanes)


PRIMITIVES = (LinearPair(),)
