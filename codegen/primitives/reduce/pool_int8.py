"""Average pooling of 8-bit tensors, exact to the bit as `secateur.ir.ops.linear` defines it."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import numpy as np

from secateur.ir.graph import Operator
from secateur.ir.ops.linear import multiplier, one_quant
from secateur.ir.types import ROW_MAJOR, DType

from ...kernel import Kernel
from ...targets.target import Target
from ...tir import T, prim_func, splat, store
from ...vector.loops import Expr
from ...vector.numeric import convert
from ...vector.requantize import BLOCK, Requantization, Requantize, narrowed, result_parameters
from ...vector.shuffles import hold
from ...vector.windows import Tile
from ..generic import block_refusal, target_block, type_after
from ..operator import Array, Combination
from .pool import Pool, PoolBody, PoolSpec, pool_tasks, taps_for_input, window_axes

_FIRST = 5  # of the parameters, behind those of the result: the zero point; then the factor of each count
_NARROW = 257  # bytes whose sum fits 16 bits


@dataclass(frozen=True)
class LinearPoolSpec(PoolSpec):
    """An image has `blocks` blocks of channels, or channels where it is row-major.

    `gathered` channels, of one position each, are row-major while the image is in blocks.
    """

    ending: Requantization = field(default_factory=Requantization)
    blocks: int = 1
    gathered: int = 0

    @property
    def computed(self) -> str:
        return "uint16" if self.window <= _NARROW else "int32"

    @property
    def window(self) -> int:
        return math.prod(a.kernel for a in self.axes)

    @property
    def varying(self) -> bool:
        """Whether windows differ in how many elements they count."""
        return any(a.interior != (0, a.out) for a in self.axes)


class LinearPool(Pool):
    """Bytes are summed as they are; the zero points that they hold are taken off the sum."""

    name = "linear_average_pool"
    operators = ("linear_average_pool",)

    def layouts(self, op: Operator, target: Target) -> tuple[Combination, ...]:
        plain: Combination = ((ROW_MAJOR,), ROW_MAJOR)
        layout = target_block(target, DType.U8)
        if not block_refusal(op, (DType.U8,)):
            return ((layout,), layout), plain
        return (((layout,), ROW_MAJOR), plain) if _is_global(op) else (plain,)

    def vector_cost(self, op: Operator) -> float:
        """Of an input's elements: each is added for each window, and each result is requantized."""
        results = type_after(op).elements / max(1, op.operands[0].type.elements)
        return 0.8 * taps_for_input(op) + 12.0 * results

    def constants(self, op: Operator, target: Target) -> tuple[Array, ...]:
        scale, zero = one_quant(op.operands[0].type)
        window = math.prod(op["kernel"])
        counts = range(1, window + 1) if self.linear_spec(op).varying else (window,)
        factors = [multiplier(op.result.type, scale, 1 / n) for n in counts]
        values = np.array((*result_parameters(op, 1), zero, *factors), np.float32)
        return (*super().constants(op, target), values)

    def linear_spec(self, op: Operator) -> LinearPoolSpec:
        x, result = op.operands[0].type, type_after(op)
        block, gathered = x.layout.block, x.shape[1] if x.layout.block != result.layout.block else 0
        blocks = -(-x.shape[1] // block) if block else x.shape[1]
        filters = x.shape[1] if block and not gathered and x.shape[1] % block else 0
        ending = Requantization("float32" if result.quant is None else "uint8", filters=filters)
        images = x.shape[0] * blocks
        kept, axes = op["count_include_pad"], window_axes(op)
        return LinearPoolSpec(
            "average", images, axes, "uint8", block, kept, ending=ending, blocks=blocks, gathered=gathered
        )

    def kernel(self, op: Operator, target: Target) -> Kernel:
        spec = self.linear_spec(op)
        spec = replace(spec, ending=narrowed(spec.ending, op, target))
        return Kernel("linear_average_pool", spec, partial(_build, spec), pool_tasks(spec).count)


def _build(spec: LinearPoolSpec) -> Any:
    pointers = [("x", "uint8"), ("parameters", "float32"), ("result", spec.ending.result)]
    return prim_func(pointers, Body(spec, BLOCK))


class Body(PoolBody):
    """Sums of bytes, requantized."""

    spec: LinearPoolSpec

    def __call__(self, x: Any, parameters: Any, *others: Any) -> None:
        self.parameters = parameters
        super().__call__(x, *others)

    def place(self, index: list[Expr]) -> Expr:
        spec = self.spec
        if not spec.gathered:
            return super().place(index)
        image, block = (f(index[0], spec.blocks) for f in (T.truncdiv, T.truncmod))
        return image * spec.gathered + block * BLOCK

    def put(self, index: list[Expr], at: Expr, value: Expr) -> None:
        """Of the last block that is gathered, the channels that there are."""
        rest = self.spec.gathered % BLOCK
        if not rest:
            super().put(index, at, value)
            return
        held, first = hold(value, BLOCK, self.spec.ending.result), 0
        with T.If(T.truncmod(index[0], self.spec.blocks) < self.spec.blocks - 1):
            with T.Then():
                super().put(index, at, held)
            with T.Else():
                for width in (w for w in (8, 4, 2, 1) if rest & w):
                    part = T.Shuffle([held], list(range(first, first + width)))
                    store(self.result, at + first, part, width)
                    first += width

    def finish(self, index: list[Expr], tile: Tile) -> Callable[[Expr, Expr], Expr]:
        spec, lanes = self.spec, self.width
        channel = T.truncmod(index[0], spec.blocks) * BLOCK if spec.ending.filters else 0
        zero = T.Cast("int32", self.parameters[_FIRST])
        offset = splat(hold(zero * self.elements(index, tile, False), 1, "int32"), lanes)
        factor = splat(self._factor(index, tile), lanes)
        ending = Requantize(spec.ending, lanes, self.parameters)

        def finished(total: Expr, at: Expr) -> Expr:
            centred = convert(total, spec.computed, "int32", lanes) - offset
            return ending.of_wide_steps(convert(centred, "int32", "float32", lanes) * factor, at, channel)

        return finished

    def _factor(self, index: list[Expr], tile: Tile) -> Expr:
        place = self.elements(index, tile, self.spec.count_padding) - 1 if self.spec.varying else 0
        return self.parameters[_FIRST + 1 + place]


def _is_global(op: Operator) -> bool:
    """Whether channels of real results are one position each: blocks of them lie as they do row-major."""
    shape = type_after(op).shape
    return op.result.type.quant is None and len(shape) > 2 and math.prod(shape) == shape[0] * shape[1] > 0


PRIMITIVES = (LinearPool(),)
