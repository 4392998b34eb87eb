"""The ends of a convolution's sums: where they start, and how they are stored, in float32 or as bytes."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from math import gcd
from typing import Any

from secateur.ir.support.reach import Reach

from ...rounding import up
from ...tir import T, load, splat, store, when
from ...vector.epilogue import Vector, apply
from ...vector.half import Half
from ...vector.requantize import BLOCK, Requantize
from ..specs import ConvSpec, layout_block
from .int8_spec import LinearSpec, column_classes

Expr = Any
Buffer = Any


@dataclass(frozen=True)
class Finish:
    """How a kernel ends: bias into the accumulators' start, extra operands and mask into the store."""

    spec: Any
    lanes: int
    extras: tuple[Buffer, ...]
    bias: Buffer | None

    def start(self, channel: Expr) -> Expr:
        """The initial value of an accumulator for channels `channel`..."""
        zero = splat(0.0, self.lanes, self.spec.dtype)
        return zero if self.bias is None else load(self.bias, channel, self.lanes)

    def finish(self, value: Expr, index: Expr, channel: Expr, met: Expr = 0) -> Expr:
        """The epilogue on one vector of channels at output element `index`; zero past the last channel.

        `met` is where the channels lie in an operand that only some meet.
        """
        return self._masked(self.applied(value, index, channel, met), channel)

    def applied(self, value: Expr, index: Expr, channel: Expr, met: Expr = 0) -> Expr:
        """The epilogue on one vector of channels at output element `index`."""

        def operand(i: int) -> Expr:
            kind = self.spec.extras[i]
            if isinstance(kind, Reach):
                return self._met(self.extras[i], kind, met, channel)
            if kind == "scalar":
                return splat(self.extras[i][0], self.lanes)
            return load(self.extras[i], index if kind == "full" else channel, self.lanes)

        functions = Half(self.lanes) if self.spec.dtype == "float16" else Vector(self.lanes)
        return apply(self.spec.epilogue, value, operand, functions)

    def _met(self, extra: Buffer, reach: Reach, met: Expr, channel: Expr) -> Expr:
        """The operand's vector, zero where it is not met; nothing is read there."""
        zero = splat(0.0, self.lanes, self.spec.dtype)
        value = T.if_then_else(meets(reach, channel), load(extra, met, self.lanes), zero)
        if reach.count % self.lanes == 0 or reach.source + reach.count == reach.width:
            return value  # behind an operand's last channel are zeros
        lane = T.Ramp(channel, 1, self.lanes)
        return T.Select(lane < splat(reach.end, self.lanes, "int32"), value, zero)

    def _masked(self, value: Expr, channel: Expr) -> Expr:
        """Zero in the lanes past the last filter: an infinite input would leave NaN there."""
        if self.spec.filters % self.lanes == 0:
            return value
        lane = T.Ramp(channel, 1, self.lanes)
        zero = splat(0.0, self.lanes, self.spec.dtype)
        return T.Select(lane < splat(self.spec.filters, self.lanes, "int32"), value, zero)


def meets(reach: Reach, channel: Expr) -> Expr:
    """Whether a vector of channels from `channel` on has some that meet an operand."""
    end = channel < reach.end
    return end if reach.at == 0 else (channel >= reach.at) & end


def split_buffers(
    spec: Any, buffers: tuple[Buffer, ...]
) -> tuple[Buffer, tuple[Buffer, ...], tuple[Buffer, ...]]:
    """(data, extras, constants) of a kernel's inputs."""
    count = len(spec.extras)
    return buffers[0], buffers[1 : 1 + count], buffers[1 + count :]


def pointers(spec: Any) -> list[tuple[str, str]]:
    """Parameters of a kernel before the workspace."""
    bias = ("bias",) if spec.bias else ()
    names = ["data", *(f"extra{i}" for i in range(len(spec.extras))), "weights", *bias, "output"]
    return [(name, spec.dtype) for name in names]


class FloatFinish:
    """Starts sums of `lanes` filters at the bias and stores what the epilogue makes of them."""

    def __init__(self, spec: ConvSpec, lanes: int, buffers: tuple[Buffer, ...]) -> None:
        *inputs, self.output = buffers
        extras, rest = inputs[: len(spec.extras)], inputs[len(spec.extras) :]
        self.spec, self.lanes = spec, lanes
        self.bias = rest[0] if spec.bias else None
        self.finish = Finish(spec, lanes, tuple(extras), self.bias)

    def start(self, channel: Expr, rows: tuple[Expr, Expr], taps: tuple[Any, ...]) -> Expr:
        """The same for every pixel."""
        return self.finish.start(channel)

    def store(self, value: Expr, image: Expr, pixel: Expr, channel: Expr) -> None:
        """The epilogue on sums of channels `channel`... at output pixel `pixel`."""
        index, reach = self._index(image, pixel, channel, self.spec.filters), self.spec.reach
        met = self._index(image, pixel, channel + reach.shift, reach.width) if reach else 0
        store(self.output, index, self.finish.finish(value, index, channel, met), self.lanes)

    def store_all(self, values: Iterable[Expr], image: Expr, pixel: Expr, channel: Expr) -> None:
        """`store` of one vector after another, the first of channels `channel`..."""
        for v, value in enumerate(values):
            self.store(value, image, pixel, channel + v * self.lanes)

    def _index(self, image: Expr, pixel: Expr, channel: Expr, channels: int) -> Expr:
        """Where `lanes` of so many channels lie, of blocks that may be wider."""
        block = max(self.lanes, layout_block(self.spec.out_layout))
        blocks, lane = up(channels, block) // block, channel % block if block > self.lanes else 0
        return ((image * blocks + channel // block) * self.spec.pixels + pixel) * block + lane


def linear_pointers(spec: LinearSpec) -> list[str | tuple[str, str]]:
    """Parameters of a kernel before the workspace."""
    residual = [("residual", "uint8")] if spec.ending.residual else []
    constants = [("weights", "int8"), ("starts", "int32")]
    ending = ("multipliers", "parameters", ("output", spec.ending.result))
    return [("data", "uint8"), *residual, *constants, *ending]


class LinearFinish:
    """Starts sums of `lanes` filters and stores their results."""

    def __init__(self, spec: LinearSpec, lanes: int, buffers: tuple[Buffer, ...]) -> None:
        self.spec, self.lanes = spec, lanes
        residual = buffers[0] if spec.ending.residual else None
        self.starts, multipliers, parameters, self.output = buffers[-4:]
        self.requantize = Requantize(spec.ending, lanes, parameters, multipliers, residual)
        self.classes = [] if spec.wide else column_classes(spec)

    def start(self, channel: Expr, rows: tuple[Expr, Expr], taps: tuple[Any, ...]) -> Expr:
        """The start of sums over kernel rows `rows` and kernel columns `taps`; of wide ones, their bounds."""
        if not self.spec.border:
            return load(self.starts, channel, self.lanes)
        high = T.max(0, rows[1])
        low = T.min(rows[0], high)
        if self.spec.wide:
            return self._of_corners(channel, (low, high), taps)
        number = self.classes.index(taps) * 2
        places = (self._place(number, high, channel), self._place(number + 1, low, channel))
        first, second = (load(self.starts, place, self.lanes) for place in places)
        return first + second

    def _of_corners(self, channel: Expr, rows: tuple[Expr, Expr], columns: Any) -> Expr:
        end = T.max(0, columns[1])
        first = T.min(columns[0], end)

        def corner(column: Expr, row: Expr) -> Expr:
            return load(self.starts, self._place(column, row, channel), self.lanes)

        inner = (corner(end, rows[1]) - corner(end, rows[0])) - (
            corner(first, rows[1]) - corner(first, rows[0])
        )
        return corner(self.spec.kernel[1] + 1, 0) + inner

    def _place(self, number: Expr, row: Expr, channel: Expr) -> Expr:
        return (number * (self.spec.kernel[0] + 1) + row) * up(self.spec.filters, BLOCK) + channel

    def store(self, total: Expr, image: Expr, pixel: Expr, channel: Expr) -> None:
        """The sums of channels `channel`... at output pixel `pixel`, requantized."""
        at, residual = self._places(image, pixel, channel)
        store(self.output, at, self.requantize.of_wide_sum(total, residual, channel), self.lanes)

    def store_all(self, totals: Iterable[Expr], image: Expr, pixel: Expr, channel: Expr) -> None:
        """`store` of one vector after another, the first of channels `channel`..., together if they can be.

        A register tile's vectors start at a multiple of their number, so those that are joined share a block.
        """
        every, narrowing = list(totals), self.spec.ending.narrowing
        count = gcd(len(every), narrowing.vectors) if narrowing else 1
        for v in range(0, len(every), count):
            if narrowing:
                self._store_joined(every[v : v + count], image, pixel, channel + v * self.lanes)
            else:
                self.store(every[v], image, pixel, channel + v * self.lanes)
        self.clear(image, pixel, channel, len(every))

    def clear(self, image: Expr, pixel: Expr, channel: Expr, vectors: int) -> None:
        """Zeros in the last block's lanes that no group of `vectors` has, where `channel` begins the last."""
        spec, lanes = self.spec, self.lanes
        groups = spec.filter_groups(lanes, vectors)
        filled, end = groups * vectors * lanes, spec.filter_vectors(lanes) * lanes
        if filled == end or spec.groups > 1:
            return
        with when(True if groups == 1 else channel == filled - vectors * lanes):
            for first in range(filled, end, lanes):
                at, _ = self._places(image, pixel, first)
                store(self.output, at, splat(0, lanes, "uint8"), lanes)

    def _store_joined(self, totals: Sequence[Expr], image: Expr, pixel: Expr, channel: Expr) -> None:
        at, residual = self._places(image, pixel, channel)
        value = self.requantize.of_sums(totals, residual, channel)
        store(self.output, at, value, self.lanes * len(totals))

    def _places(self, image: Expr, pixel: Expr, channel: Expr) -> tuple[Expr, Expr]:
        """Where a result and its residual lie."""
        at = self._index(layout_block(self.spec.out_layout), image, pixel, channel, self.spec.filters)
        reach = self.spec.ending.reach
        first, channels = (channel + reach.shift, reach.width) if reach else (channel, self.spec.filters)
        return at, self._index(BLOCK, image, pixel, first, channels)

    def _index(self, block: int, image: Expr, pixel: Expr, channel: Expr, channels: int) -> Expr:
        blocks = up(channels, block) // block
        number, lane = (channel // block, channel % block) if block > self.lanes else (channel // block, 0)
        return ((image * blocks + number) * self.spec.pixels + pixel) * block + lane


def kernel_pointers(spec: ConvSpec) -> list[str | tuple[str, str]]:
    """A kernel's parameters before the workspace: data, extras, weights, other constants, output."""
    return linear_pointers(spec) if isinstance(spec, LinearSpec) else [*pointers(spec)]


def opened(spec: ConvSpec, lanes: int, buffers: tuple[Buffer, ...]) -> tuple[Buffer, Buffer, Any]:
    """(data, weights, ending) of the buffers that `kernel_pointers` names."""
    extras = bool(spec.ending.residual) if isinstance(spec, LinearSpec) else len(spec.extras)
    data, weights = buffers[0], buffers[1 + extras]
    rest = (*buffers[1 : 1 + extras], *buffers[2 + extras :])
    ending = LinearFinish if isinstance(spec, LinearSpec) else FloatFinish
    return data, weights, ending(spec, lanes, rest)  # type: ignore[arg-type]
