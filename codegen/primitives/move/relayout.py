"""Conversion between row-major and channel-blocked layouts, by transposing squares in registers."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import partial
from typing import Any

from secateur.ir.graph import Operator
from secateur.ir.types import ROW_MAJOR, blocked

from ...kernel import Kernel
from ...targets.target import Target
from ...tir import T, load, prim_func, splat, store, when
from ...vector.loops import Expr, Tasks, split_rows, task_rows, unflatten
from ...vector.shuffles import hold, interleaved, parted
from ..generic import BLOCKED, BYTES, Generic, target_block, type_after, with_half
from ..operator import Combination

STRIP = 32  # rectangles
QUAD = 4  # channels of the blocks that an image of few channels has


@dataclass(frozen=True)
class RelayoutSpec:
    """`images` x `channels` x `pixels`, into blocks of channels or out of them.

    Rectangles of a block's channels by `width` pixels go through registers.
    """

    images: int
    channels: int
    pixels: int
    block: int
    to_blocks: bool
    dtype: str = "float32"
    width: int = 16

    @property
    def blocks(self) -> int:
        return -(-self.channels // self.block)

    @property
    def strips(self) -> int:
        """Runs of about `STRIP` rectangles that a block's pixels are cut into; the last takes the rest."""
        return max(1, self.pixels // (self.width * STRIP))

    @property
    def partial(self) -> int:
        """Channels of the last block."""
        return self.channels - (self.blocks - 1) * self.block


class Relayout(Generic):
    """Row-major to blocked and back; lanes past the last channel are written as zero.

    Bytes have blocks of 16 and, for images of few channels, of 4; between the two, the
    four bytes of a small block travel as one element.
    """

    name = "relayout"
    operators = ("relayout",)
    cost = 6.0

    def applicable(self, op: Operator, target: Target) -> str | None:
        x = op.operands[0].type
        if x.rank < 3 or x.dtype not in with_half(BLOCKED, target):
            return "only float32 and 8-bit tensors with spatial axes are blocked"
        return None

    def layouts(self, op: Operator, target: Target) -> tuple[Combination, ...]:
        dtype = op.operands[0].type.dtype
        known = [ROW_MAJOR, target_block(target, dtype), *([blocked(QUAD)] if dtype in BYTES else [])]
        return tuple(((a,), b) for a in known for b in known if a != b)

    def spec(self, op: Operator) -> RelayoutSpec:
        source, result = op.operands[0].type, type_after(op)
        blocks = (source.layout.block, result.layout.block)
        if blocks[0] == blocks[1]:
            raise ValueError(f"{op!r} converts {source.layout.name} to {result.layout.name}")
        n, c, pixels = *result.shape[:2], math.prod(result.shape[2:])
        if 0 not in blocks:
            return RelayoutSpec(n, -(-c // QUAD), pixels, max(blocks) // QUAD, blocks[1] > QUAD, "int32", 4)
        to_blocks, block = blocks[1] > 0, max(blocks)
        if source.dtype in BYTES:
            return RelayoutSpec(n, c, pixels, block, to_blocks, "uint8", 16)
        return RelayoutSpec(n, c, pixels, block, to_blocks, source.dtype.numpy.name, block)

    def kernel(self, op: Operator, target: Target) -> Kernel:
        spec = self.spec(op)
        return Kernel("relayout", spec, partial(_build, spec), block_tasks(spec).count)


def block_tasks(spec: RelayoutSpec) -> Tasks:
    return split_rows(spec.images * spec.blocks * spec.strips, 8.0 * spec.block * spec.pixels / spec.strips)


def _build(spec: RelayoutSpec) -> Any:
    return prim_func([("x", spec.dtype), ("result", spec.dtype)], BlockBody(spec))


class BlockBody:
    """Emits the loop over blocks; within a block, rectangles of its channels by `width` pixels.

    A subclass may hold other elements in the row-major tensor (`from_plain`, `to_plain`).
    """

    def __init__(self, spec: RelayoutSpec) -> None:
        self.spec = spec

    def __call__(self, x: Any, result: Any, _workspace: Any, begin: Expr, end: Expr) -> None:
        self.x, self.result, spec = x, result, self.spec
        if not spec.images * spec.channels * spec.pixels:
            T.evaluate(0)
            return
        with task_rows(block_tasks(spec), begin, end) as row:
            image, block, strip = unflatten(row, (spec.images, spec.blocks, spec.strips))
            if spec.blocks > 1 or spec.partial == spec.block:
                with when(block < spec.channels // spec.block):
                    self._block(image, block, strip, spec.block)
            if spec.partial != spec.block:
                with when(block == spec.blocks - 1):
                    self._block(image, block, strip, spec.partial)

    def _block(self, image: Expr, block: Expr, strip: Expr, channels: int) -> None:
        """The rectangles of one strip of a block; the last ones overlap those before, with equal values."""
        spec, width = self.spec, self.spec.width
        plain = (image * spec.channels + block * spec.block) * spec.pixels
        packed = (image * spec.blocks + block) * (spec.pixels * spec.block)
        rectangles = -(-spec.pixels // width)
        if spec.pixels < width:
            self._narrow(plain, packed, channels)
            return
        share = -(-rectangles // spec.strips)
        with T.serial(strip * share, T.min((strip + 1) * share, rectangles)) as i:
            pixel = T.min(i * width, spec.pixels - width) if spec.pixels % width else i * width
            self._rectangle(plain + pixel, packed + pixel * spec.block, channels)

    def _rectangle(self, plain: Expr, packed: Expr, channels: int) -> None:
        spec, width, dtype = self.spec, self.spec.width, self.spec.dtype
        if spec.to_blocks:
            starts = [plain + c * spec.pixels for c in range(channels)]
            rows = [self._held(self.from_plain(load(self.x, s, width), width)) for s in starts]
            rows += [self._zero(width)] * (spec.block - channels)
            for k, vector in enumerate(interleaved(rows, width, dtype)):
                store(self.result, packed + k * width, vector, width)
            return
        vectors = [self._held(load(self.x, packed + k * width, width)) for k in range(spec.block)]
        for c, row in enumerate(parted(vectors, width, dtype)[:channels]):
            store(self.result, plain + c * spec.pixels, self.to_plain(row, width), width)

    def from_plain(self, value: Expr, lanes: int) -> Expr:
        """Elements of the row-major operand as the blocked result holds them."""
        return value

    def to_plain(self, value: Expr, lanes: int) -> Expr:
        """Elements of the blocked operand as the row-major result holds them."""
        return value

    def _held(self, value: Expr) -> Expr:
        return hold(value, self.spec.width, self.spec.dtype)

    def _zero(self, lanes: int) -> Expr:
        return splat(0.0 if self.spec.dtype.startswith("float") else 0, lanes, self.spec.dtype)

    def _narrow(self, plain: Expr, packed: Expr, channels: int) -> None:
        """Fewer pixels than a rectangle has: pixel by pixel."""
        lanes, pixels = self.spec.block, self.spec.pixels
        for p in range(pixels):
            self._pixel(plain + p, packed + p * lanes, channels)

    def _pixel(self, plain: Expr, packed: Expr, channels: int) -> None:
        lanes, pixels = self.spec.block, self.spec.pixels
        if self.spec.to_blocks:
            if channels < lanes:
                store(self.result, packed, self._zero(lanes), lanes)
            value = self.from_plain(self._strided(plain, pixels, channels), channels)
            store(self.result, packed, value, channels)
            return
        spread = T.Ramp(plain, pixels, channels) if channels > 1 else plain
        held = hold(self._strided(packed, 1, channels), channels, self.spec.dtype)
        T.buffer_store(self.result, self.to_plain(held, channels), [spread])

    def _strided(self, at: Expr, stride: int, lanes: int) -> Expr:
        return self.x[at] if lanes == 1 else self.x[T.Ramp(at, stride, lanes)]


PRIMITIVES = (Relayout(),)
