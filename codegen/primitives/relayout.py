"""Conversion between row-major and channel-blocked layouts, by transposing squares in registers."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import partial
from typing import Any

from secateur.ir.graph import Operator
from secateur.ir.types import ROW_MAJOR, DType

from ..kernel import Kernel
from ..targets import Target
from .generic import Generic, target_block, type_after
from .loops import Expr, Tasks, split_rows, task_rows, unflatten
from .operator import Combination
from .shuffles import hold, transpose

STRIP = 32  # squares


@dataclass(frozen=True)
class RelayoutSpec:
    """`images` x `channels` x `pixels` of float32, into blocks of channels or out of them."""

    images: int
    channels: int
    pixels: int
    block: int
    to_blocks: bool

    @property
    def blocks(self) -> int:
        return -(-self.channels // self.block)

    @property
    def strips(self) -> int:
        """Runs of at most `STRIP` squares that a block's pixels are cut into; the last takes the rest."""
        return max(1, self.pixels // (self.block * STRIP))

    @property
    def partial(self) -> int:
        """Channels of the last block."""
        return self.channels - (self.blocks - 1) * self.block


class Relayout(Generic):
    """Row-major to blocked and back; lanes past the last channel are written as zero."""

    name = "relayout"
    operators = ("relayout",)
    cost = 6.0

    def applicable(self, op: Operator, target: Target) -> str | None:
        x = op.operands[0].type
        if x.rank < 3 or x.dtype != DType.F32:
            return "only float32 tensors with spatial axes are blocked"
        return None

    def layouts(self, op: Operator, target: Target) -> tuple[Combination, ...]:
        layout = target_block(target)
        return ((ROW_MAJOR,), layout), ((layout,), ROW_MAJOR)

    def spec(self, op: Operator) -> RelayoutSpec:
        source, result = op.operands[0].type, type_after(op)
        blocks = (source.layout.block, result.layout.block)
        if (blocks[0] == 0) == (blocks[1] == 0):
            raise ValueError(f"{op!r} converts {source.layout.name} to {result.layout.name}")
        n, c, *spatial = result.shape
        return RelayoutSpec(n, c, math.prod(spatial), max(blocks), blocks[1] > 0)

    def kernel(self, op: Operator, target: Target) -> Kernel:
        spec = self.spec(op)
        return Kernel("relayout", spec, partial(_build, spec), _tasks(spec).count)


def _tasks(spec: RelayoutSpec) -> Tasks:
    return split_rows(spec.images * spec.blocks * spec.strips, 8.0 * spec.block * spec.pixels / spec.strips)


def _build(spec: RelayoutSpec) -> Any:
    from ..tvm_adapter import prim_func

    return prim_func(["x", "result"], _Body(spec))


class _Body:
    """Emits the loop over blocks; within a block, squares of `block` channels by `block` pixels."""

    def __init__(self, spec: RelayoutSpec) -> None:
        self.spec = spec

    def __call__(self, x: Any, result: Any, _workspace: Any, begin: Expr, end: Expr) -> None:
        from ..tvm_adapter import T, when

        self.x, self.result, spec = x, result, self.spec
        if not spec.images * spec.channels * spec.pixels:
            T.evaluate(0)
            return
        with task_rows(_tasks(spec), begin, end) as row:
            image, block, strip = unflatten(row, (spec.images, spec.blocks, spec.strips))
            if spec.blocks > 1 or spec.partial == spec.block:
                with when(block < spec.channels // spec.block):
                    self._block(image, block, strip, spec.block)
            if spec.partial != spec.block:
                with when(block == spec.blocks - 1):
                    self._block(image, block, strip, spec.partial)

    def _block(self, image: Expr, block: Expr, strip: Expr, channels: int) -> None:
        """The squares of one strip of a block; the last ones overlap those before, with equal values."""
        from ..tvm_adapter import T

        spec, lanes = self.spec, self.spec.block
        plain = (image * spec.channels + block * lanes) * spec.pixels
        packed = (image * spec.blocks + block) * (spec.pixels * lanes)
        squares = -(-spec.pixels // lanes)
        if spec.pixels < lanes:
            self._narrow(plain, packed, channels)
            return
        share = -(-squares // spec.strips)
        with T.serial(strip * share, T.min((strip + 1) * share, squares)) as i:
            pixel = T.min(i * lanes, spec.pixels - lanes) if spec.pixels % lanes else i * lanes
            self._square(plain + pixel, packed + pixel * lanes, channels)

    def _square(self, plain: Expr, packed: Expr, channels: int) -> None:
        from ..tvm_adapter import load, splat, store

        lanes, pixels = self.spec.block, self.spec.pixels
        if self.spec.to_blocks:
            rows = [hold(load(self.x, plain + c * pixels, lanes), lanes) for c in range(channels)]
            rows += [splat(0.0, lanes)] * (lanes - channels)
            for p, column in enumerate(transpose(rows)):
                store(self.result, packed + p * lanes, column, lanes)
            return
        rows = [hold(load(self.x, packed + p * lanes, lanes), lanes) for p in range(lanes)]
        for c, column in enumerate(transpose(rows)[:channels]):
            store(self.result, plain + c * pixels, column, lanes)

    def _narrow(self, plain: Expr, packed: Expr, channels: int) -> None:
        """Fewer pixels than lanes: element by element."""
        lanes, pixels = self.spec.block, self.spec.pixels
        for p in range(pixels):
            self._pixel(plain + p, packed + p * lanes, channels)

    def _pixel(self, plain: Expr, packed: Expr, channels: int) -> None:
        from ..tvm_adapter import T, splat, store

        lanes, pixels = self.spec.block, self.spec.pixels
        if self.spec.to_blocks:
            if channels < lanes:
                store(self.result, packed, splat(0.0, lanes), lanes)
            store(self.result, packed, self._strided(plain, pixels, channels), channels)
            return
        spread = T.Ramp(plain, pixels, channels) if channels > 1 else plain
        held = hold(self._strided(packed, 1, channels), channels)
        T.buffer_store(self.result, held, [spread])

    def _strided(self, at: Expr, stride: int, lanes: int) -> Expr:
        from ..tvm_adapter import T

        return self.x[at] if lanes == 1 else self.x[T.Ramp(at, stride, lanes)]


PRIMITIVES = (Relayout(),)
