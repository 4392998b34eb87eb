"""What a register tile multiplies: float elements, or quads of bytes summed into int32.

A step multiplies `step` input channels of one pixel with those of `lanes`
filters. The convolution nests are written for any of these.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from ...rounding import up
from ...targets.target import Target
from ...tir import Registers, T, fence, load, splat
from ...vector.dot import QUAD, Dot, dot_of
from ...vector.narrow import Narrow, narrow_dot
from ...vector.shuffles import hold
from ..specs import ConvSpec, layout_block
from .int8_spec import LinearSpec

Expr = Any
Buffer = Any
Array = NDArray[Any]

_MOST_PIXELS = 10
_MOST_ELEMENTS = 9  # of 16 registers: with more, weights that are loaded ahead make LLVM spill


@dataclass(frozen=True)
class Arithmetic(ABC):
    """Sums in vectors of `lanes`. Indices count elements of the buffer's type."""

    lanes: int

    dtype = "float32"  # of sums
    data = "float32"
    weight = "float32"
    step = 1
    operations = 1.0  # vector operations of one multiply-add
    preparation = 0.0  # operations for one pixel's element besides its load
    prepares_weights = True  # whether a vector of weights takes as much
    latency = 4.0  # cycles until a sum can be added to again
    ending = 0.0  # cycles of a vector of sums on its way to the result
    depth = 1  # vectors of weights that a step takes for a vector of sums
    blocks = 1  # of channels that meet
    closing = 0.0  # instructions for a vector of sums once all are added
    loading = 0.3  # the share of loads that multiplying does not hide
    # Bytes a cycle at which a panel of weights arrives, by the share of the second-level cache that it takes:
    streams: ClassVar[tuple[tuple[float, float], ...]] = ((1 / 6, 64.0), (1 / 2, 28.0), (float("inf"), 8.0))

    @property
    def rate(self) -> float | None:
        """Vector operations a cycle, where it is not that of the target's multiply-adds."""
        return None

    @property
    def at_once(self) -> int:
        """Steps of a pixel whose elements are loaded together where they lie side by side."""
        return 1

    @property
    def unroll(self) -> int:
        """Steps of a block of code, where there are as many."""
        return max(4, self.at_once)

    @property
    def width(self) -> int:
        """Elements of one vector of weights."""
        return self.step * self.lanes

    @property
    def line(self) -> int:
        """Weights of one cache line."""
        return 64 // np.dtype(self.weight).itemsize

    def prepared(self, pixels: Any, vectors: Any) -> Any:
        """Operations of a step beside its products and loads."""
        return self.preparation * (pixels + vectors * self.prepares_weights)

    @abstractmethod
    def tile_pixels(self, registers: int, vectors: int) -> int:
        """Pixels of the largest tile that leaves registers for weights and an input element."""

    @abstractmethod
    def element(self, buffer: Buffer, index: Expr) -> Any:
        """The input of one step, for every lane."""

    @abstractmethod
    def weights(self, buffer: Buffer, index: Expr) -> Any:
        """One vector of weights."""

    def vectors(self, buffer: Buffer, index: Expr, count: int) -> list[Any]:
        """`count` vectors of weights, which lie side by side."""
        return [self.weights(buffer, index + v * self.width) for v in range(count)]

    @abstractmethod
    def accumulate(self, acc: Any, at: int, element: Any, weights: Any) -> None:
        """acc[at] += element * weights."""

    def accumulate_all(self, acc: Any, first: int, element: Any, weights: Sequence[Any]) -> None:
        """acc[first + v] += element * weights[v]."""
        for v, one in enumerate(weights):
            self.accumulate(acc, first + v, element, one)

    def loads(self, pixels: Any, vectors: Any) -> Any:
        """Loads of one step of a register tile."""
        return pixels / self.at_once + vectors

    def registers(self, count: int) -> Any:
        return Registers(count, self.lanes, self.dtype)

    def taken(self, pixels: int) -> int:
        """Pixels that a register tile of so many multiplies."""
        return pixels

    def opened(self, acc: Any, vectors: int) -> Any:
        """Sums, of `vectors` vectors a pixel, as products are added to them."""
        return acc

    def closed(self, acc: Any, vectors: int) -> Any:
        """The sums of each pixel and vector, of what `opened` gave."""
        return acc

    def begun(self, element: Any) -> Any:
        """An element whose products are next (`Dot.begun`)."""
        return element

    def elements(self, buffer: Buffer, index: Expr, steps: int) -> list[Any]:
        """The inputs of steps that lie side by side."""
        return [self.element(buffer, index + k * self.step) for k in range(steps)]

    def multiply(
        self,
        acc: Any,
        data: tuple[Buffer, Mapping[int, Expr]],
        weights: tuple[Buffer, Expr],
        vectors: int,
        steps: int = 1,
    ) -> None:
        """Steps of a register tile: acc[r][v] += the element of pixel r * the weights of vector v.

        `data` tells where each pixel's first element lies, `weights` where the first vector does; those of
        `steps` steps follow.
        """
        (source, elements), (packed, first) = data, weights
        if steps == 1:
            self._multiply_one(acc, data, weights, vectors)
            return
        prepared = {r: self.elements(source, index, steps) for r, index in elements.items()}
        for k in range(steps):
            of_step = {r: of_steps[k] for r, of_steps in prepared.items()}
            self.multiply_prepared(acc, of_step, (packed, first + k * vectors * self.width), vectors)
            if k < steps - 1:
                fence(packed, packed)

    def multiply_prepared(
        self, acc: Any, elements: Mapping[int, Any], weights: tuple[Buffer, Expr], vectors: int
    ) -> None:
        """One step: `multiply` with the pixels' elements at hand."""
        loaded = self.vectors(*weights, vectors)
        for r, element in elements.items():
            self.accumulate_all(acc, r * vectors, self.begun(element), loaded)

    def _multiply_one(
        self, acc: Any, data: tuple[Buffer, Mapping[int, Expr]], weights: tuple[Buffer, Expr], vectors: int
    ) -> None:
        source, elements = data
        loaded = self.vectors(*weights, vectors)
        for r, index in elements.items():
            self.accumulate_all(acc, r * vectors, self.begun(self.element(source, index)), loaded)

    def pack(self, weights: Array, vectors: int, block: int, filters: int) -> Array:
        """OIHW to [filter group][input block][kh][kw][step][vector and lane of filters][channel of a step].

        Padded with zeros to whole input blocks of `block` and to `filters` filters.
        """
        count, channels, kh, kw = weights.shape
        group, blocks = vectors * self.lanes, up(channels, block) // block
        padding = [(0, filters - count), (0, blocks * block - channels), (0, 0), (0, 0)]
        padded = np.pad(weights, padding) if any(map(any, padding)) else weights
        split = padded.reshape(filters // group, group, blocks, block // self.step, self.step, kh, kw)
        return np.ascontiguousarray(split.transpose(0, 2, 5, 6, 3, 1, 4))

    def pack_taps(self, weights: Array, vectors: int, channels: int, filters: int) -> Array:
        """OIHW to [filter group][kh][kw][step][vector and lane of filters][channel of a step].

        Padded with zeros to `channels` and to `filters` filters.
        """
        count, given = weights.shape[:2]
        taps = np.moveaxis(weights.reshape(count, given, -1), 1, -1)
        padded = np.pad(taps, [(0, 0), (0, 0), (0, channels - given)])
        return self.pack(padded.reshape(count, -1, 1, 1), vectors, self.step, filters)


class Float32(Arithmetic):
    """One channel a step, by fused multiply-add."""

    def tile_pixels(self, registers: int, vectors: int) -> int:
        return max(1, (registers - 1 - vectors) // vectors)

    def element(self, buffer: Buffer, index: Expr) -> Any:
        return splat(buffer[index], self.lanes)

    def weights(self, buffer: Buffer, index: Expr) -> Any:
        return load(buffer, index, self.lanes)

    def accumulate(self, acc: Any, at: int, element: Any, weights: Any) -> None:
        acc[at] = T.fma(element, weights, acc[at])


class ByElement(Float32):
    """The same on four channels of a pixel that are loaded at once: each is an element of their vector."""

    @property
    def at_once(self) -> int:
        return self.lanes

    def tile_pixels(self, registers: int, vectors: int) -> int:
        """A pixel has its sums and its channels."""
        return max(1, (registers - 1 - vectors) // (vectors + 1))

    def elements(self, buffer: Buffer, index: Expr, steps: int) -> list[Any]:
        if steps == 1:
            return [self.element(buffer, index)]
        channels = hold(load(buffer, index, steps), steps, self.data)
        return [splat(T.Shuffle([channels], [k]), self.lanes) for k in range(steps)]


class Float16(Float32):
    """In binary16, sums too."""

    dtype = data = weight = "float16"


class HalfByElement(ByElement):
    """The same on eight channels at once, which the lower half of the registers alone can be elements of."""

    dtype = data = weight = "float16"
    latency = 2.0  # cores that have binary16 pass sums on to where they are added to

    def tile_pixels(self, registers: int, vectors: int) -> int:
        return min(super().tile_pixels(registers, vectors), _MOST_ELEMENTS)


def float_arithmetic(target: Target, dtype: str = "float32") -> Float32:
    """As the instruction set multiplies floats; of binary16 the target is seen `in_half`."""
    kinds = (HalfByElement, Float16) if dtype == "float16" else (ByElement, Float32)
    return kinds[0](target.lanes) if target.isa.by_element else kinds[1](target.lanes)


def plain_arithmetic(target: Target, dtype: str = "float32") -> Float32:
    """One element at a time."""
    return Float16(target.lanes) if dtype == "float16" else Float32(target.lanes)


@dataclass(frozen=True)
class Int8(Arithmetic):
    """Four channels a step: u8 data, i8 weights, by the dot product of the instruction set."""

    dot: Dot

    dtype = "int32"
    data = "uint8"
    weight = "int8"
    latency = 5.0
    ending = 6.0
    loading = 0.1
    streams: ClassVar[tuple[tuple[float, float], ...]] = (
        (1 / 32, 64.0),
        (1 / 6, 18.0),
        (1 / 2, 16.0),
        (float("inf"), 8.0),
    )

    @property
    def depth(self) -> int:  # type: ignore[override]
        return self.dot.depth

    @property
    def step(self) -> int:  # type: ignore[override]
        return QUAD * self.depth

    @property
    def unroll(self) -> int:
        """LLVM adds up the products of several steps before it adds them to a sum: registers run out."""
        return 1 if isinstance(self.dot, Narrow) else super().unroll

    def loads(self, pixels: Any, vectors: Any) -> Any:
        return self.depth * super().loads(pixels, vectors)

    @property
    def operations(self) -> float:  # type: ignore[override]
        return self.dot.operations

    @property
    def preparation(self) -> float:  # type: ignore[override]
        return self.dot.preparation

    @property
    def prepares_weights(self) -> bool:  # type: ignore[override]
        return self.dot.prepares_weights

    @property
    def rate(self) -> float | None:
        return self.dot.rate

    @property
    def at_once(self) -> int:
        return self.dot.quads

    def tile_pixels(self, registers: int, vectors: int) -> int:
        """Not more than the compiler keeps in registers while it loads operands of other pixels early."""
        if self.at_once > 1:
            return max(1, min((registers - self.dot.spare_registers) // (vectors + 1), _MOST_PIXELS))
        scratch = self.dot.element_registers + (self.dot.operations > 1)
        fitting = (registers - scratch - vectors * self.dot.weight_registers) // vectors
        return max(1, min(fitting, registers * 3 // 4 // vectors, _MOST_PIXELS))

    def element(self, buffer: Buffer, index: Expr) -> Any:
        return self.dot.element(buffer, index)

    def begun(self, element: Any) -> Any:
        return self.dot.begun(element)

    def elements(self, buffer: Buffer, index: Expr, steps: int) -> list[Any]:
        return list(self.dot.elements(buffer, index, steps))

    def weights(self, buffer: Buffer, index: Expr) -> Any:
        return self.dot.weights(buffer, index)

    def accumulate(self, acc: Any, at: int, element: Any, weights: Any) -> None:
        self.dot.accumulate(acc, at, element, weights)

    def accumulate_all(self, acc: Any, first: int, element: Any, weights: Sequence[Any]) -> None:
        self.dot.accumulate_all(acc, first, element, weights)

    def pack(self, weights: Array, vectors: int, block: int, filters: int) -> Array:
        packed = super().pack(weights, vectors, block, filters)
        split = packed.reshape(*packed.shape[:-2], vectors, self.lanes, self.step)
        return self.dot.pack(split)


def deep_arithmetic(spec: ConvSpec, target: Target) -> Arithmetic:
    """`arithmetic_of`, by sums of 16 bits first where the weights leave room for them."""
    room = spec.room.unsigned if isinstance(spec, LinearSpec) else 0
    narrow = narrow_dot(target, min(room, layout_block(spec.in_layout) // QUAD))
    return Int8(target.lanes, narrow) if narrow else arithmetic_of(spec, target)


def arithmetic_of(spec: ConvSpec, target: Target) -> Arithmetic:
    """What the specification's element type asks for."""
    if spec.element_bytes == 1:
        return Int8(target.lanes, dot_of(target, full=isinstance(spec, LinearSpec) and spec.full))
    return float_arithmetic(target, spec.dtype)
