"""What the phases of a Winograd convolution compute with: float32, or bytes between exact integer transforms.

What each phase computes on bytes is defined in `ir/reference/winograd.py`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import partial
from itertools import chain
from typing import Any, ClassVar

import numpy as np

from secateur.codegen.tir import Registers, T, load, opaque, prefetch, splat, store
from secateur.codegen.vector.fixed_point import FixedPoint
from secateur.codegen.vector.requantize import BLOCK
from secateur.codegen.vector.shuffles import hold
from secateur.codegen.vector.streams import kept
from secateur.ir.filters import Matrix, float_matrix, half_matrix
from secateur.ir.winograd import Matrix as Rational
from secateur.ir.winograd import Winograd, float_winograd, half_winograd

from ....rounding import up
from ...specs import layout_block
from ..arithmetic import Arithmetic as Products
from ..arithmetic import Int8
from ..ending import FloatFinish, LinearFinish, pointers
from ..rows_by_element import RowsByElement
from ..rows_of_bytes import RowsOfBytes
from ..sums_of_channels import SumsOfChannels
from .matrix import Factors, constants, multiply
from .patch import Patch
from .steps import FACTORS, input_steps, output_steps

Expr = Any
Buffer = Any
Buffers = Mapping[str, Buffer]
Steps = Callable[[Sequence[Expr]], list[Expr]]  # a transform of a column or a row
Read = Callable[[int, int, int], Expr]  # vector of channels, row and column of a tile -> its values

UNROLL = 4  # steps of one pass through the inner loop
LINE = 64  # bytes


@dataclass(frozen=True)
class Arithmetic(ABC):
    """The input transform takes `parts` vectors of `wide` channels; `products` multiplies what it gives."""

    products: Products

    element_bytes: ClassVar[int]  # of transformed inputs
    asked: ClassVar[int]  # weights from one prefetch to the next
    gap: ClassVar[int]
    """Numbers between the products of two positions, so that rows do not fall into the same cache sets."""
    ahead = 0  # pixels between the tile in work and those asked for, in either image; 0 asks for none
    copies = False  # whether a tile at the border is read from a copy in the workspace
    parts = 1
    by_part = False  # whether each part is transformed and stored alone: two would leave too few registers
    unroll = UNROLL
    raw = "float32"  # what the input's transform computes with
    sums = "float32"  # what the result's does
    peeled = False  # whether the first steps are code of their own, where sums of nothing are not added to
    chunked = False
    """Whether sums of all groups of filters are kept while chunks of channels are added, in matrices of one
    vector of channels after another; or else one group after another is finished, with all channels."""

    @property
    def lanes(self) -> int:
        return self.products.lanes

    @property
    def streams(self) -> bool:
        """Whether tiles are multiplied by blocks of channels, which lie side by side."""
        return isinstance(self.products, RowsOfBytes)

    @property
    def rests(self) -> bool:
        """Whether tiles that make up no whole register tile have one of their own."""
        return isinstance(self.products, RowsByElement | SumsOfChannels)

    @property
    def wide(self) -> int:
        return self.lanes

    @property
    def results(self) -> str:
        """What `settled` gives."""
        return self.sums

    @property
    def result_lanes(self) -> int:
        """Filters of a vector of the output transform."""
        return self.lanes

    def biased(self, extent: tuple[int, int]) -> tuple[int, int] | None:
        """The position whose product takes the bias, as it counts once in every result; else results do."""
        return None

    @abstractmethod
    def apart(self, elements: int) -> int:
        """The distance of two positions' matrices of transformed inputs of so many elements."""

    @abstractmethod
    def waited(self, rows: Any, vectors: Any) -> Any:
        """Loads of a step that count, at the rate of `products.loading`."""

    @abstractmethod
    def pointers(self, spec: Any) -> list[str | tuple[str, str]]:
        """Parameters of the kernel before the workspace."""

    @abstractmethod
    def ending(self, spec: Any, buffers: Buffers) -> Any: ...

    @abstractmethod
    def read(self, patch: Patch, part: int, row: Expr, column: Expr) -> Expr:
        """Vector number `part` of the patch's channels, at a pixel of the image."""

    def inner(self, patch: Patch) -> Read:
        """Reads of a tile that lies in the image."""
        down, across = patch.spec.strides
        return lambda part, i, j: self.read(patch, part, patch.top + i * down, patch.left + j * across)

    @abstractmethod
    def border(self, patch: Patch, workspace: Buffer) -> Read:
        """Reads of a tile that leaves the image, where there are zeros."""

    @abstractmethod
    def input_steps(self, values: Sequence[Expr]) -> list[Expr]:
        """B^T d of a column or a row."""

    def rounded(self, values: Sequence[Expr], buffers: Buffers, at: Expr, apart: int) -> Sequence[Expr]:
        """A row of V = B^T d B as it is packed; a constant of position j lies at `at` + j `apart`."""
        return values

    @abstractmethod
    def packed(self, parts: Sequence[Expr]) -> Expr:
        """The vectors of a position as they are stored."""

    @abstractmethod
    def begin(self, acc: Any, vectors: int, buffers: Buffers, at: Expr) -> None:
        """Starts the sums of a register tile; a constant of its filters lies at `at`."""

    @abstractmethod
    def ended(self, acc: Any, vectors: int, buffers: Buffers, at: Expr) -> Iterator[tuple[int, Expr]]:
        """Number and value of each of the register tile's products, or of the first of some side by side."""

    def ended_lanes(self, vectors: int) -> int:
        """Elements of such a value."""
        return self.lanes

    @abstractmethod
    def output_steps(self, values: Sequence[Expr]) -> list[Expr]:
        """A^T f of a column or a row."""

    def kept_input_steps(self, extent: tuple[int, int]) -> Steps:
        """`input_steps` of tiles of `extent` with constants that are made here, for all tiles of a loop."""
        return self.input_steps

    def kept_output_steps(self, extent: tuple[int, int]) -> Steps:
        """The same of `output_steps`."""
        return self.output_steps

    def row_steps(self, columns: Steps) -> Steps:
        """A^T f of a row, where columns have those."""
        return columns

    def settled(self, value: Expr, row: int, column: int) -> Expr:
        """The sum that A^T f A has at a pixel of the tile."""
        return value

    def finished(self, value: Expr, bias: Any, row: int, column: int) -> Expr:
        """That with the bias, as `ending` stores it."""
        return value + bias


@dataclass(frozen=True)
class FloatArithmetic(Arithmetic):
    """Of so many taps on both axes, by fused multiply-adds."""

    taps: int = 3

    copies = chunked = True

    @property
    def element_bytes(self) -> int:  # type: ignore[override]
        return np.dtype(self.raw).itemsize

    def matrices(self, values: int) -> Winograd:
        """Of a column or a row of so many products."""
        make, outputs = half_winograd if self.raw == "float16" else float_winograd, values + 1 - self.taps
        return make(outputs, self.taps)

    @property
    def raw(self) -> str:  # type: ignore[override]
        return self.products.data

    @property
    def sums(self) -> str:  # type: ignore[override]
        return self.products.dtype

    @property
    def unroll(self) -> int:  # type: ignore[override]
        return max(UNROLL, self.products.at_once)

    def biased(self, extent: tuple[int, int]) -> tuple[int, int] | None:
        """That of the point 1, where cores execute an instruction for every result that is added to."""
        if self.products.at_once == 1 or self.raw != "float32":
            return None
        columns = [list(zip(*self.matrices(size).a_t, strict=True)) for size in extent]
        down, across = (of_axis.index((Fraction(1),) * len(of_axis[0])) for of_axis in columns)
        return down, across

    def filters(self, outputs: int) -> Matrix:
        """G."""
        make = half_matrix if self.raw == "float16" else float_matrix
        return make(outputs, self.taps)

    @property
    def gap(self) -> int:  # type: ignore[override]
        return LINE // self.element_bytes

    @property
    def asked(self) -> int:  # type: ignore[override]
        return LINE // self.element_bytes

    def apart(self, elements: int) -> int:
        return elements + self.gap

    def waited(self, rows: Any, vectors: Any) -> Any:
        return self.products.loads(rows, vectors) / 2

    def pointers(self, spec: Any) -> list[str | tuple[str, str]]:
        return [*pointers(spec)]

    def ending(self, spec: Any, buffers: Buffers) -> Any:
        given = ("data", "weights", "workspace")
        return FloatFinish(spec, self.lanes, tuple(b for name, b in buffers.items() if name not in given))

    def read(self, patch: Patch, part: int, row: Expr, column: Expr) -> Expr:
        if layout_block(patch.spec.in_layout) > 1:
            return load(patch.data, patch.pixel(0, row, column), self.lanes)
        across = patch.spec.strides[1]
        runs = [
            load(patch.data, patch.pixel(channel, row + down, column), across)
            for channel, down, right in self._places(patch)
            if right == 0
        ]
        return T.Shuffle(runs, list(range(self.lanes)))

    def inner(self, patch: Patch) -> Read:
        """From the first pixel on, where addresses are short offsets."""
        if layout_block(patch.spec.in_layout) == 1:
            return super().inner(patch)
        block, (down, across) = layout_block(patch.spec.in_layout), patch.spec.strides
        first = opaque(patch.pixel(0, patch.top, patch.left))

        def read(_: int, i: int, j: int) -> Expr:
            return load(patch.data, first + (i * down * patch.spec.width + j * across) * block, self.lanes)

        return read

    def _places(self, patch: Patch) -> list[tuple[Expr, int, int]]:
        """Channel of the patch, row and column that each lane holds, of a few channels' image.

        Lanes past the last channel hold it too; their weights are zero.
        """
        (down, across), last = patch.spec.strides, patch.end - 1 - patch.channel
        phases = down * across
        channels = [n // phases for n in range(self.lanes)]
        if patch.spec.channels * phases % self.lanes:
            channels = [T.min(channel, last) if channel else 0 for channel in channels]
        return [(c, n // across % down, n % across) for n, c in enumerate(channels)]

    def border(self, patch: Patch, workspace: Buffer) -> Read:
        """From a copy."""
        lanes, (high, broad), (down, across) = self.lanes, patch.extent, patch.spec.strides
        with T.serial(0, high) as i, T.serial(0, broad) as j:
            row, column, to = patch.top + i * down, patch.left + j * across, (i * broad + j) * lanes
            if layout_block(patch.spec.in_layout) > 1:
                self._copy(patch, workspace, (row, column), to)
            else:
                for lane, place in enumerate(self._places(patch)):
                    self._copy_element(patch, workspace, (row, column), place, to + lane)
        return lambda _, i, j: load(workspace, (i * broad + j) * lanes, lanes)

    def _copy(self, patch: Patch, workspace: Buffer, pixel: tuple[Expr, Expr], to: Expr) -> None:
        with T.If(patch.inside(*pixel)):
            with T.Then():
                store(workspace, to, self.read(patch, 0, *pixel), self.lanes)
            with T.Else():
                store(workspace, to, splat(0.0, self.lanes, self.raw), self.lanes)

    def _copy_element(
        self,
        patch: Patch,
        workspace: Buffer,
        pixel: tuple[Expr, Expr],
        place: tuple[Expr, int, int],
        to: Expr,
    ) -> None:
        channel, down, right = place
        row, column = pixel[0] + down, pixel[1] + right
        with T.If(patch.inside(row, column)):
            with T.Then():
                store(workspace, to, load(patch.data, patch.pixel(channel, row, column), 1), 1)
            with T.Else():
                store(workspace, to, splat(0.0, 1, self.raw), 1)

    def input_steps(self, values: Sequence[Expr]) -> list[Expr]:
        return self._input_steps(values)

    def kept_input_steps(self, extent: tuple[int, int]) -> Steps:
        return partial(self._input_steps, factors=self._kept(self.matrices(size).b_t for size in extent))

    def _input_steps(self, values: Sequence[Expr], factors: Factors | None = None) -> list[Expr]:
        return multiply(self.matrices(len(values)).b_t, values, self.lanes, self.raw, factors)

    def _kept(self, matrices: Iterable[Rational]) -> Factors:
        """Their constants, where a multiplication takes an element of a register."""
        if not isinstance(self.products, RowsByElement):
            return {}
        numbers = sorted({number for matrix in matrices for number in constants(matrix)})
        padded = [*map(float, numbers), *[0.0] * (-len(numbers) % self.lanes)]
        parts = (padded[first : first + self.lanes] for first in range(0, len(padded), self.lanes))
        elements = [kept(part, self.raw) for part in parts]
        return dict(zip(numbers, chain.from_iterable(elements), strict=False))

    def packed(self, parts: Sequence[Expr]) -> Expr:
        return parts[0]

    def begin(self, acc: Any, vectors: int, buffers: Buffers, at: Expr) -> None:
        acc.fill(0.0)

    def ended(self, acc: Any, vectors: int, buffers: Buffers, at: Expr) -> Iterator[tuple[int, Expr]]:
        return ((number, acc[number]) for number in range(acc.count))

    def output_steps(self, values: Sequence[Expr]) -> list[Expr]:
        return self._output_steps(values)

    def kept_output_steps(self, extent: tuple[int, int]) -> Steps:
        return partial(self._output_steps, factors=self._kept(self.matrices(size).a_t for size in extent))

    def _output_steps(self, values: Sequence[Expr], factors: Factors | None = None) -> list[Expr]:
        return multiply(self.matrices(len(values)).a_t, values, self.lanes, self.sums, factors)


@dataclass(frozen=True)
class OfBytes(Arithmetic):
    """On bytes, whose input transform is exact in int16."""

    zero_point: int

    ahead = 8
    raw = "int16"

    @property
    def gap(self) -> int:  # type: ignore[override]
        return self.lanes

    def apart(self, elements: int) -> int:
        line = LINE // self.element_bytes
        return up(elements, line) + line

    def waited(self, rows: Any, vectors: Any) -> Any:
        return self.products.loads(rows, vectors) if self.products.closing else rows

    @property
    def asked(self) -> int:  # type: ignore[override]
        return max(self.products.width, self.products.line)

    def read(self, patch: Patch, part: int, row: Expr, column: Expr) -> Expr:
        """x - zero point."""
        starts = [patch.pixel(part * self.wide + k, row, column) for k in range(0, self.wide, BLOCK)]
        loads = [load(patch.data, start, min(self.wide, BLOCK)) for start in starts]
        joined = loads[0] if len(loads) == 1 else T.Shuffle(loads, list(range(self.wide)))
        value = joined.astype(f"int16x{self.wide}")
        return value - splat(self.zero_point, self.wide, "int16") if self.zero_point else value

    def border(self, patch: Patch, workspace: Buffer) -> Read:
        """A pixel outside is read inside and masked."""
        spec, top, left = patch.spec, patch.top, patch.left
        rows = Registers(patch.extent[0], 1, "int16")
        for i in range(rows.count):
            within = (top + i >= 0) & (top + i < spec.height)
            rows[i] = T.Select(within, splat(-1, 1, "int16"), splat(0, 1, "int16"))

        def read(part: int, i: int, j: int) -> Expr:
            row = T.max(0, T.min(spec.height - 1, top + i))
            column = T.max(0, T.min(spec.width - 1, left + j))
            within = (left + j >= 0) & (left + j < spec.width)
            mask = T.Select(within, rows[i], splat(0, 1, "int16"))
            return self.read(patch, part, row, column) & T.Broadcast(mask, self.wide)

        return read


@dataclass(frozen=True)
class ByteArithmetic(OfBytes):
    """Transforms of F(2, 3) or F(4, 3) along each axis; what that of the input gives is rounded to bytes.

    `fused` tells whether the target multiplies and adds floats at once, `signed` that products take
    signed bytes.
    """

    products: Int8
    fixed: FixedPoint
    fused: bool
    signed: bool

    element_bytes = 1
    parts = 2

    @property
    def by_part(self) -> bool:  # type: ignore[override]
        return self.signed

    @property
    def wide(self) -> int:
        return self.fixed.lanes

    def pointers(self, spec: Any) -> list[str | tuple[str, str]]:
        residual = [("residual", "uint8")] if spec.ending.residual else []
        constants = [("weights", "int8"), ("start", "int32"), ("scales", "float32"), ("factors", "int16")]
        ending = [("bias", "float32"), ("parameters", "float32"), ("output", spec.ending.result)]
        return [("data", "uint8"), *residual, *constants, *ending]

    def ending(self, spec: Any, buffers: Buffers) -> Any:
        names = ("residual", "bias", "multipliers", "parameters", "output")
        return ByteEnding(spec, self.lanes, tuple(map(buffers.get, names)))

    def input_steps(self, values: Sequence[Expr]) -> list[Expr]:
        return input_steps(values, self.fixed)

    def rounded(self, values: Sequence[Expr], buffers: Buffers, at: Expr, apart: int) -> Sequence[Expr]:
        """Times the factors of the channels."""
        factors = [load(buffers["factors"], at + j * apart, self.wide) for j in range(len(values))]
        pairs = zip(values, factors, strict=True)
        return [hold(self.fixed.product(v, f), self.wide, "int16") for v, f in pairs]

    def packed(self, parts: Sequence[Expr]) -> Expr:
        return self.fixed.limited(*parts) if self.signed else self.fixed.packed(*parts)

    def begin(self, acc: Any, vectors: int, buffers: Buffers, at: Expr) -> None:
        if self.signed:
            acc.fill(0)
            return
        for v in range(vectors):
            start = hold(load(buffers["start"], at + v * self.lanes, self.lanes), self.lanes, "int32")
            for number in range(v, acc.count, vectors):
                acc[number] = start

    def ended(self, acc: Any, vectors: int, buffers: Buffers, at: Expr) -> Iterator[tuple[int, Expr]]:
        """Dequantized."""
        for v in range(vectors):
            scale = hold(load(buffers["scales"], at + v * self.lanes, self.lanes), self.lanes)
            for number in range(v, acc.count, vectors):
                yield number, acc[number].astype(f"float32x{self.lanes}") * scale

    def output_steps(self, values: Sequence[Expr]) -> list[Expr]:
        return output_steps(values, self.lanes, self.fused)

    def kept_output_steps(self, extent: tuple[int, int]) -> Steps:
        """Where a multiplication takes an element, one register has all factors."""
        if not self.streams:
            return self.output_steps
        return partial(output_steps, lanes=self.lanes, fused=self.fused, factors=kept(FACTORS))


class SumEnding(LinearFinish):
    """Of sums."""

    kind = "int32"

    def start(self, channel: Expr, rows: Any, taps: Any) -> Expr:
        return hold(super().start(channel, rows, taps), self.lanes, self.kind)

    def ask(self, image: Expr, pixel: Expr, channel: Expr) -> None:
        """Prefetches a line."""
        at, _ = self._places(image, pixel, channel)
        prefetch(self.output, at, 1, write=True)


class ByteEnding(SumEnding):
    """Of results in steps."""

    kind = "float32"

    def store(self, total: Expr, image: Expr, pixel: Expr, channel: Expr) -> None:
        at, residual = self._places(image, pixel, channel)
        store(self.output, at, self.requantize.of_wide_steps(total, residual, channel), self.lanes)
