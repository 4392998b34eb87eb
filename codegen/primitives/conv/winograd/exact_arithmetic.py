"""What the phases of Winograd in whole numbers compute with: int16 tiles and weights, int32 sums that wrap.

The matrices and why everything fits stand in `integers.py`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from secateur.codegen.tir import T, load, splat, store
from secateur.codegen.vector.shuffles import hold
from secateur.codegen.vector.words import WordStep

from ..arithmetic import Arithmetic as Products
from ..arithmetic import Array
from ..ending import linear_pointers
from .arithmetic import Buffers, OfBytes, Read, SumEnding
from .integers import Ends
from .patch import Patch

Expr = Any
Buffer = Any


@dataclass(frozen=True)
class Int16(Products):
    """Some channels a step, int16 by int16."""

    words: WordStep

    dtype = "int32"
    data = weight = "int16"
    latency = 4.0
    loading = 0.1

    @property
    def step(self) -> int:  # type: ignore[override]
        return self.words.channels

    @property
    def width(self) -> int:
        return self.words.words

    @property
    def operations(self) -> float:  # type: ignore[override]
        return self.words.operations

    @property
    def rate(self) -> float | None:
        return self.words.rate

    @property
    def line(self) -> int:
        return 32

    @property
    def at_once(self) -> int:
        return self.words.at_once

    def tile_pixels(self, registers: int, vectors: int) -> int:
        spare = vectors * self.words.weight_registers + 2  # an element, a product
        if self.at_once > 1:  # a row has its sums and its channels
            return max(1, (registers - spare) // (vectors + 1))
        return max(1, min(registers - spare, 3 * registers // 4) // vectors)

    def element(self, buffer: Buffer, index: Expr) -> Any:
        return self.words.element(buffer, index)

    def elements(self, buffer: Buffer, index: Expr, steps: int) -> list[Any]:
        return list(self.words.elements(buffer, index, steps))

    def weights(self, buffer: Buffer, index: Expr) -> Any:
        return self.words.weights(buffer, index)

    def vectors(self, buffer: Buffer, index: Expr, count: int) -> list[Any]:
        return list(self.words.vectors(buffer, index, count))

    def accumulate(self, acc: Any, at: int, element: Any, weights: Any) -> None:
        self.words.accumulate(acc, at, element, weights)

    def pack_words(self, words: Array) -> Array:
        """(..., channels, filters) as [step][vector of filters], each as the step reads it."""
        *outer, channels, filters = words.shape
        split = words.reshape(*outer, channels // self.step, self.step, filters // self.lanes, self.lanes)
        found: Array = self.words.pack(np.moveaxis(split, -3, -1))
        return found


@dataclass(frozen=True)
class ExactArithmetic(OfBytes):
    """F(2, 3), F(4, 3) or F(3, 4) along each axis, all of it exact; `broad` channels are transformed at once.

    `fixed` makes float32 of int32 that have so many bits of a fraction; without it they are shifted.
    """

    products: Int16
    broad: int
    ends: Ends
    fixed: str = ""

    element_bytes = 2
    peeled = True
    sums = "int32"
    results = "float32"

    def biased(self, extent: tuple[int, int]) -> tuple[int, int] | None:
        return 1, 1

    @property
    def unroll(self) -> int:  # type: ignore[override]
        """LLVM adds up products of several steps before it adds them to a sum: registers run out."""
        return self.products.at_once

    @property
    def wide(self) -> int:
        return self.broad

    def pointers(self, spec: Any) -> list[str | tuple[str, str]]:
        return [("weights", "int16") if p == ("weights", "int8") else p for p in linear_pointers(spec)]

    def ending(self, spec: Any, buffers: Buffers) -> Any:
        names = ("residual", "starts", "multipliers", "parameters", "output")
        return ExactEnding(spec, self.lanes, tuple(map(buffers.get, names)))

    def input_steps(self, values: Sequence[Expr]) -> list[Expr]:
        return _inputs_two(values) if len(values) == 4 else _inputs_four(values, self.wide)

    def packed(self, parts: Sequence[Expr]) -> Expr:
        return parts[0]

    def begin(self, acc: Any, vectors: int, buffers: Buffers, at: Expr) -> None:
        acc.fill(0)

    def ended(self, acc: Any, vectors: int, buffers: Buffers, at: Expr) -> Iterator[tuple[int, Expr]]:
        return ((number, acc[number]) for number in range(acc.count))

    def output_steps(self, values: Sequence[Expr]) -> list[Expr]:
        if len(values) == 4:
            return _outputs_two(values)
        outputs = _outputs_three if self.ends.tile == (3, 3) else _outputs_four
        return outputs(values, self.lanes)

    def settled(self, value: Expr, row: int, column: int) -> Expr:
        """In float32, rounded once."""
        kind, shift = f"float32x{self.lanes}", self.ends.shift(row, column)
        if self.ends.inverse != 1:
            value = hold(value, self.lanes, "int32") * splat(self.ends.inverse, self.lanes, "int32")
        value = hold(value, self.lanes, "int32")
        if self.fixed:
            return T.call_llvm_pure_intrin(kind, self.fixed, value, T.int32(shift))
        return hold(value >> splat(shift, self.lanes, "int32"), self.lanes, "int32").astype(kind)


@dataclass(frozen=True)
class ExactFew(ExactArithmetic):
    """Of an image of few channels, at stride 2: part `a` of a pixel is its row's phase `a`, a vector of which
    holds the phases of its columns side by side."""

    parts = 2

    def read(self, patch: Patch, part: int, row: Expr, column: Expr) -> Expr:
        """x - zero point."""
        return self._centred(load(patch.data, patch.pixel(0, row + part, column), self.wide))

    def _centred(self, value: Expr) -> Expr:
        wide = value.astype(f"int16x{self.wide}")
        return wide - splat(self.zero_point, self.wide, "int16") if self.zero_point else wide

    def border(self, patch: Patch, workspace: Buffer) -> Read:
        """Pixels outside are read inside and masked."""
        spec, top, left, half = patch.spec, patch.top, patch.left, self.wide // 2

        def read(part: int, i: int, j: int) -> Expr:
            row, pixels, masks = top + (2 * i + part), [], []
            inside = T.max(0, T.min(spec.height - 1, row))
            for column in (left + 2 * j, left + (2 * j + 1)):
                nearest = T.max(0, T.min(spec.width - 1, column))
                pixels.append(load(patch.data, patch.pixel(0, inside, nearest), half))
                mask = T.Select(patch.inside(row, column), splat(-1, 1, "int16"), splat(0, 1, "int16"))
                masks.append(T.Broadcast(mask, half))
            each = list(range(self.wide))
            return self._centred(hold(T.Shuffle(pixels, each), self.wide, "uint8")) & T.Shuffle(masks, each)

        return read

    def packed(self, parts: Sequence[Expr]) -> Expr:
        return T.Shuffle([*parts], list(range(self.parts * self.wide)))


class ExactEnding(SumEnding):
    """Of sums that are float32 already."""

    def store(self, total: Expr, image: Expr, pixel: Expr, channel: Expr) -> None:
        at, residual = self._places(image, pixel, channel)
        stored = self.requantize.of_wide_floats(total, residual, channel)
        store(self.output, at, stored, self.lanes)
        self.clear(image, pixel, channel, 1)


def _inputs_two(d: Sequence[Expr]) -> list[Expr]:
    return [d[0] - d[2], d[1] + d[2], d[2] - d[1], d[3] - d[1]]


def _inputs_four(d: Sequence[Expr], lanes: int) -> list[Expr]:
    """Every row is a sum or difference of two of the shared parts."""

    def held(value: Expr) -> Expr:
        return hold(value, lanes, "int16")

    two = splat(2, lanes, "int16")
    a, b = held(d[4] - (d[2] << two)), held(d[3] - (d[1] << two))
    e, near = held(d[4] - d[2]), held(d[3] - d[1])
    o = held(near + near)
    return [((d[0] - d[2]) << two) + e, a + b, a - b, e + o, e - o, (d[5] - d[3]) - (near << two)]


def _outputs_two(f: Sequence[Expr]) -> list[Expr]:
    return [f[0] + (f[1] + f[2]), (f[1] - f[2]) + f[3]]


def _outputs_three(f: Sequence[Expr], lanes: int) -> list[Expr]:
    first, second, third, _ = _outputs_four(f, lanes)
    return [first, second, third + f[5]]


def _outputs_four(f: Sequence[Expr], lanes: int) -> list[Expr]:
    def held(value: Expr) -> Expr:
        return hold(value, lanes, "int32")

    near, odd, far, wide = (held(v) for v in (f[1] + f[2], f[1] - f[2], f[3] + f[4], f[3] - f[4]))
    four = splat(2, lanes, "int32")
    return [f[0] + (near << four) + far, (odd + odd) + wide, near + far, (odd + f[5]) + (wide + wide)]
