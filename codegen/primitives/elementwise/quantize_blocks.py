"""Between floats in blocks of a vector's lanes and u8 in blocks of 16, exact to the bit, in one walk.

    blocks of 4 or 8 channels:  2b | 2b + 1      (float32)
                                -----+------
    blocks of 16 channels:           b           (u8)

The few blocks of floats that make one of bytes are read (written) side by side,
so that no tensor is laid out anew where 8 bits begin or end.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from typing import Any

from secateur.ir.graph import Operator

from ...kernel import Kernel
from ...tir import T, load, prim_func, splat, store, when
from ...vector.loops import Expr, Tasks, split_rows, task_rows, unflatten
from ...vector.requantize import BLOCK
from ...vector.shuffles import hold
from ..generic import type_after

STRIP = 512  # pixels of a row of work

Convert = Callable[[Expr, Any, int, Expr, int], Expr]
"""The converted vector of a vector, the parameters, its lanes, its first channel, and the channels or 0."""


@dataclass(frozen=True)
class RegroupSpec:
    """`images` x `channels` x `pixels` between blocks of `lanes` floats and of 16 bytes."""

    images: int
    channels: int
    pixels: int
    lanes: int
    quantizes: bool

    def __post_init__(self) -> None:
        if not 0 < self.lanes < BLOCK or BLOCK % self.lanes:
            raise ValueError(f"blocks of {self.lanes} floats make no block of {BLOCK} bytes")

    @property
    def blocks(self) -> int:
        """Blocks of bytes."""
        return -(-self.channels // BLOCK)

    @property
    def float_blocks(self) -> int:
        return -(-self.channels // self.lanes)

    @property
    def partial(self) -> int:
        """Blocks of floats in the last block of bytes, where that is not full of channels; else 0."""
        return -(-(self.channels % BLOCK) // self.lanes)

    @property
    def strips(self) -> int:
        return max(1, -(-self.pixels // STRIP))

    @property
    def tasks(self) -> Tasks:
        rows = self.images * self.blocks * self.strips
        return split_rows(rows, 5.0 * BLOCK * self.pixels / self.strips)


def regroup_spec(op: Operator, quantizes: bool) -> RegroupSpec:
    """Of a quantize or dequantize whose types carry the two layouts."""
    type = type_after(op)
    real = op.operands[0].type if quantizes else type
    n, c, pixels = *type.shape[:2], math.prod(type.shape[2:])
    return RegroupSpec(n, c, pixels, real.layout.block, quantizes)


def regroup_kernel(spec: RegroupSpec, convert: Convert) -> Kernel:
    """`convert` is a function of this package: the specification alone determines the code."""
    name = "quantize" if spec.quantizes else "dequantize"
    return Kernel(name, spec, partial(_build, spec, convert), spec.tasks.count)


def _build(spec: RegroupSpec, convert: Convert) -> Any:
    source, result = ("float32", "uint8") if spec.quantizes else ("uint8", "float32")
    return prim_func([("x", source), ("parameters", "float32"), ("result", result)], _Body(spec, convert))


class _Body:
    """Emits the loop over strips of pixels of a block of bytes; the last block may be a part of one."""

    def __init__(self, spec: RegroupSpec, convert: Convert) -> None:
        self.spec, self.convert = spec, convert

    def __call__(self, x: Any, parameters: Any, result: Any, _: Any, begin: Expr, end: Expr) -> None:
        spec = self.spec
        self.x, self.parameters, self.result = x, parameters, result
        with task_rows(spec.tasks, begin, end) as row:
            image, block, strip = unflatten(row, (spec.images, spec.blocks, spec.strips))
            parts = [(spec.partial, block == spec.blocks - 1)] if spec.partial else []
            if spec.channels >= BLOCK:
                parts.append((BLOCK // spec.lanes, block < spec.channels // BLOCK))
            for count, condition in parts:
                with ExitStack() as stack:
                    if len(parts) > 1:
                        stack.enter_context(when(condition))
                    self._strip(image, block, strip, count)

    def _strip(self, image: Expr, block: Expr, strip: Expr, count: int) -> None:
        """`count` blocks of floats; fewer than a block of bytes has where channels are wanting."""
        spec = self.spec
        bytes_ = (image * spec.blocks + block) * spec.pixels
        first = (image * spec.float_blocks + block * (BLOCK // spec.lanes)) * spec.pixels
        floats = [first + b * spec.pixels for b in range(count)]
        channels = spec.channels if count == spec.partial else 0
        with T.serial(strip * STRIP, T.min((strip + 1) * STRIP, spec.pixels)) as pixel:
            places = [(f + pixel) * spec.lanes for f in floats]
            if spec.quantizes:
                self._quantized(places, (bytes_ + pixel) * BLOCK, block * BLOCK, channels)
            else:
                self._real((bytes_ + pixel) * BLOCK, places, block * BLOCK, channels)

    def _quantized(self, floats: list[Expr], at: Expr, channel: Expr, channels: int) -> None:
        lanes = self.spec.lanes
        vectors = [hold(load(self.x, f, lanes), lanes) for f in floats]
        vectors += [hold(splat(0.0, lanes), lanes)] * (BLOCK // lanes - len(floats))
        whole = hold(T.Shuffle(vectors, list(range(BLOCK))), BLOCK)
        store(self.result, at, self.convert(whole, self.parameters, BLOCK, channel, channels), BLOCK)

    def _real(self, at: Expr, floats: list[Expr], channel: Expr, channels: int) -> None:
        lanes = self.spec.lanes
        for part, place in enumerate(floats):
            stored = hold(load(self.x, at + part * lanes, lanes), lanes, "uint8")
            first = channel + part * lanes
            store(self.result, place, self.convert(stored, self.parameters, lanes, first, channels), lanes)
