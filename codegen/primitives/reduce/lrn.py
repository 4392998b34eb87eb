"""Local response normalization across channels."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import partial
from typing import Any

from secateur.ir.graph import Operator

from ...kernel import Kernel
from ...targets.target import Target
from ...tir import Registers, T, load, prim_func, splat, store, when
from ...vector.loops import Expr, nest_tasks, task_nest, task_vectors, vector_rows
from ...vector.numeric import Numeric, convert, lanes_for
from ...vector.shuffles import hold, shifted
from ..elementwise.broadcast import valid_lanes
from ..generic import Generic, block_refusal, same_layouts, storage, target_block, type_after
from ..operator import Combination

PART = 64  # pixels


@dataclass(frozen=True)
class LrnSpec:
    """x / (bias + scale * sum of squares of channels c - before to c + after)^beta."""

    images: int
    channels: int
    pixels: int
    before: int
    after: int
    scale: float
    beta: float
    bias: float
    dtype: str
    block: int = 0

    @property
    def computed(self) -> str:
        return "float32" if self.dtype == "float16" else self.dtype


class Lrn(Generic):
    """Row-major: a vector holds neighbouring pixels of one channel."""

    name = "lrn"
    operators = ("lrn",)

    def spec(self, op: Operator) -> LrnSpec:
        type, size = type_after(op), op["size"]
        images, channels, *spatial = type.shape
        before, after = min((size - 1) // 2, channels), min(size // 2, channels)
        pixels, scale = math.prod(spatial), op["alpha"] / size
        stored, block = storage(type.dtype), type.layout.block
        return LrnSpec(images, channels, pixels, before, after, scale, op["beta"], op["bias"], stored, block)

    def vector_cost(self, op: Operator) -> float:
        return 2.0 * float(op["size"]) + 30.0

    def kernel(self, op: Operator, target: Target) -> Kernel:
        spec = self.spec(op)
        lanes = lanes_for((spec.dtype,), target.lanes)
        rows = _rows(spec) if spec.block else vector_rows((spec.images, spec.channels), spec.pixels, lanes)
        return Kernel("lrn", spec, partial(_build, spec, lanes), nest_tasks(rows, _row_bytes(lanes)).count)


class BlockedLrn(Lrn):
    """float32 by blocks: neighbouring channels come from shuffles of neighbouring blocks."""

    name = "lrn_blocked"

    def applicable(self, op: Operator, target: Target) -> str | None:
        if op["size"] // 2 >= target.lanes:
            return f"more than {target.lanes} channels on one side"
        return block_refusal(op)

    def layouts(self, op: Operator, target: Target) -> tuple[Combination, ...]:
        return (same_layouts(op, target_block(target)),)


def _rows(spec: LrnSpec) -> tuple[int, ...]:
    """(images, parts, blocks, pixels of a part): a part's pixels stay in the cache from block to block."""
    part = max((d for d in range(1, PART + 1) if spec.pixels % d == 0), default=1)
    return (spec.images, spec.pixels // part, -(-spec.channels // spec.block), part)


def _row_bytes(lanes: int) -> float:
    return 32.0 * lanes


def _build(spec: LrnSpec, lanes: int) -> Any:
    return prim_func([("x", spec.dtype), ("result", spec.dtype)], _Body(spec, lanes))


class _Body:
    """Emits one vector after another."""

    def __init__(self, spec: LrnSpec, lanes: int) -> None:
        self.spec, self.lanes = spec, lanes

    def __call__(self, x: Any, result: Any, _workspace: Any, begin: Expr, end: Expr) -> None:
        self.x, self.result, spec = x, result, self.spec
        if not spec.images * spec.channels * spec.pixels:
            T.evaluate(0)
        elif spec.block:
            with task_nest(_rows(spec), _row_bytes(self.lanes), begin, end) as (image, part, block, pixel):
                self._blocked(image, block, part * _rows(spec)[-1] + pixel)
        else:
            outer = (spec.images, spec.channels)
            task_vectors(outer, spec.pixels, self.lanes, _row_bytes(self.lanes), begin, end, self._plain)

    def _plain(self, index: list[Expr], start: Expr, width: int) -> None:
        spec, (image, channel) = self.spec, index
        total = Registers(1, width, spec.computed)
        total.fill(0.0)
        low, high = T.max(0, channel - spec.before), T.min(spec.channels, channel + (spec.after + 1))
        with T.serial(low, high) as c:
            total[0] = total[0] + self._square((image * spec.channels + c) * spec.pixels + start, width)
        self._finish((image * spec.channels + channel) * spec.pixels + start, total[0], width)

    def _blocked(self, image: Expr, block: Expr, pixel: Expr) -> None:
        spec, blocks, lanes = self.spec, _rows(self.spec)[2], self.lanes
        step = spec.pixels * lanes
        at = (image * blocks + block) * step + pixel * lanes
        own = hold(self._square(at, lanes), lanes)
        left = self._neighbour(at - step, block > 0) if spec.before else own
        right = self._neighbour(at + step, block < blocks - 1) if spec.after else own
        total = own
        for by in range(1, spec.before + 1):
            total = total + hold(shifted(left, own, lanes - by, lanes), lanes)
        for by in range(1, spec.after + 1):
            total = total + hold(shifted(own, right, by, lanes), lanes)
        self._finish(at, total, lanes, block * lanes)

    def _neighbour(self, at: Expr, exists: Expr) -> Expr:
        """The squares of a neighbouring block, zero outside."""
        held = Registers(1, self.lanes)
        held.fill(0.0)
        with when(exists):
            held[0] = self._square(at, self.lanes)
        return held[0]

    def _square(self, at: Expr, width: int) -> Expr:
        value = hold(self._load(at, width), width, self.spec.computed)
        return value * value

    def _load(self, at: Expr, width: int) -> Expr:
        return convert(load(self.x, at, width), self.spec.dtype, self.spec.computed, width)

    def _finish(self, at: Expr, total: Expr, width: int, channel: Expr = 0) -> None:
        """Divides and stores; `channel` is that of the first lane of a block."""
        spec = self.spec
        scale, bias = (splat(v, width, spec.computed) for v in (spec.scale, spec.bias))
        power = self._power(hold(total * scale + bias, width, spec.computed), width)
        value = self._load(at, width) / power
        if spec.block and spec.channels % spec.block:
            value = valid_lanes(value, channel, spec.channels, width)
        store(self.result, at, convert(value, spec.computed, spec.dtype, width), width)

    def _power(self, base: Expr, width: int) -> Expr:
        """base^beta; the usual exponent 3/4 by square roots."""
        spec = self.spec
        if spec.beta == 1.0:
            return base
        if spec.beta in (0.5, 0.75):
            root = hold(T.sqrt(base), width, spec.computed)
            return root if spec.beta == 0.5 else root * T.sqrt(root)
        return Numeric(spec.computed, width).binary("pow", base, splat(spec.beta, width, spec.computed))


PRIMITIVES = (BlockedLrn(), Lrn())
