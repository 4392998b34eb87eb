"""A slope below zero for each channel of an 8-bit tensor, exact as `secateur.ir.ops.linear` defines it."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from secateur.ir.graph import Operator
from secateur.ir.ops.linear import one_quant, prelu_multipliers
from secateur.ir.types import ROW_MAJOR, DType

from ...kernel import Kernel
from ...rounding import up
from ...targets.target import Target
from ...tir import T, load, prim_func, splat, store
from ...vector.loops import Expr
from ...vector.numeric import vector_type
from ...vector.requantize import BLOCK, Requantization, Requantize, result_parameters
from ...vector.shuffles import hold
from ...vector.walk import Walk, loaded
from ..generic import Generic, block_refusal, is_constant, target_block, type_after
from ..operator import Array, Combination, constant_of

_FIRST = 5  # of the parameters, behind those of the result: the zero point, and a step's worth from zero on


@dataclass(frozen=True)
class LinearPreluSpec:
    """A box of (images, channels, pixels), or (images, blocks, pixels, lanes), in memory order.

    `strides` are those of the table of what a step is worth below zero.
    """

    extents: tuple[int, ...]
    strides: tuple[int, ...]
    ending: Requantization

    @property
    def walk(self) -> Walk:
        return Walk(self.extents, (self.strides,), BLOCK, 6.0, bool(self.ending.filters))


class LinearPrelu(Generic):
    """Row-major and, where the result is of bytes, by blocks of channels."""

    name = "linear_prelu"
    operators = ("linear_prelu",)
    cost = 8.0

    def applicable(self, op: Operator, target: Target) -> str | None:
        return None if is_constant(op, 1) and not is_constant(op, 0) else "needs constant slopes"

    def layouts(self, op: Operator, target: Target) -> tuple[Combination, ...]:
        plain: Combination = ((ROW_MAJOR, ROW_MAJOR), ROW_MAJOR)
        if block_refusal(op, (DType.U8,)):
            return (plain,)
        layout = target_block(target, DType.U8)
        return ((layout, ROW_MAJOR), layout), plain

    def constants(self, op: Operator, target: Target) -> tuple[Array, ...]:
        """What a step is worth below zero in each channel, of whole blocks; the other numbers."""
        slopes = constant_of(op.operands[1])
        assert slopes is not None, "applicable() was not asked"
        above, below = prelu_multipliers(op, slopes)
        padded = np.zeros(up(below.size, BLOCK), np.float32)
        padded[: below.size] = below
        zero = one_quant(op.operands[0].type)[1]
        return padded, np.array((*result_parameters(op, len(op.operands)), zero, above), np.float32)

    def spec(self, op: Operator) -> LinearPreluSpec:
        type, block = type_after(op), type_after(op).layout.block
        n, c, pixels = *type.shape[:2], math.prod(type.shape[2:])
        ending = Requantization("float32" if type.quant is None else "uint8")
        if not block:
            return LinearPreluSpec((n, c, pixels), (0, 1, 0), ending)
        masked = Requantization(ending.result, filters=c if c % block else 0)
        return LinearPreluSpec((n, -(-c // block), pixels, block), (0, block, 0, 1), masked)

    def kernel(self, op: Operator, target: Target) -> Kernel:
        spec = self.spec(op)
        return Kernel("linear_prelu", spec, partial(_build, spec), spec.walk.tasks.count)


def _build(spec: LinearPreluSpec) -> Any:
    tables: list[str | tuple[str, str]] = [("below", "float32"), ("parameters", "float32")]
    return prim_func([("x", "uint8"), *tables, ("result", spec.ending.result)], _Body(spec))


class _Body:
    """Emits the loops; called with the buffers."""

    def __init__(self, spec: LinearPreluSpec) -> None:
        self.spec = spec

    def __call__(
        self, x: Any, below: Any, parameters: Any, result: Any, _: Any, begin: Expr, end: Expr
    ) -> None:
        self.x, self.below, self.parameters, self.result = x, below, parameters, result
        self.spec.walk.emit(begin, end, self._vector)

    def _vector(self, offsets: list[Expr], at: Expr, steps: list[int], lanes: int, channel: Expr) -> None:
        stored = load(self.x, at, lanes)
        whole = stored.astype(vector_type("int32", lanes)).astype(vector_type("float32", lanes))
        centred = hold(whole - splat(self.parameters[_FIRST], lanes), lanes)
        above = hold(splat(self.parameters[_FIRST + 1], lanes), lanes)
        below = hold(loaded(self.below, offsets[0], steps[0], lanes), lanes)
        worth = hold(T.Select(centred >= splat(0.0, lanes), above, below), lanes)
        ending = Requantize(self.spec.ending, lanes, self.parameters)
        store(self.result, at, ending.of_steps(hold(centred * worth, lanes), at, channel), lanes)


PRIMITIVES = (LinearPrelu(),)
