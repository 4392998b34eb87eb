"""8-bit depthwise convolution by AVX512-VNNI: four kernel rows to an instruction, four pixels to a vector.

A vector of input is four pixels of one block of channels, a pixel to each 128-bit
lane. Interleaving the bytes of up to four input rows within the lanes gives, for
each of four groups of four channels, a vector whose 32-bit elements hold one column
of the window: one product sums them. Neighbouring columns are the same vectors moved
by whole lanes. Sums are packed back within their lanes, where they were. What is
done once for a column of pixels serves every column of the window.

Kernel rows outside the image have weights of zero, in a copy of the weights for each
such set of rows; columns outside the image hold the zero point.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from secateur.ir.graph import Operator
from secateur.ir.ops.linear import channel_multipliers, one_quant
from secateur.ir.types import ROW_MAJOR, Layout

from ..kernel import Kernel
from ..targets import Target
from .base import seconds, up
from .dot import QUAD
from .linear_conv import linear_spec, refusal
from .linear_finish import LinearSpec
from .operator import Argument, Array, Combination, Constant, Operand, Primitive, constant_of
from .requantize import BLOCK, padded_multipliers
from .shuffles import hold

Expr = Any
Buffer = Any
Ints = NDArray[np.int32]

PIXELS = 4  # of one vector
GROUPS = BLOCK // QUAD
_WIDTH = PIXELS * BLOCK  # bytes of one vector
_SUMS = "int32x16"
_MOST, _INPUT_ZERO, _ZERO, _LOW, _HIGH = range(5)  # of the parameters; _MOST is without the zero point


@dataclass(frozen=True)
class QuadSpec:
    """What determines the code; tables and numbers of a layer are constants beside it.

    `bounded`: no sum can leave int32 in steps of the result. `moved`: its zero point is not 0.
    `low` and `high`: its limits are narrower than a byte's.
    """

    conv: LinearSpec
    bounded: bool
    moved: bool
    low: bool
    high: bool


def quad_spec(op: Operator) -> QuadSpec:
    low, high = op["limits"]
    return QuadSpec(linear_spec(op), _bounded(op), one_quant(op.result.type)[1] != 0, low > 0, high < 255)


def _bounded(op: Operator) -> bool:
    """Whether the largest sums that the weights allow, in steps of the result, are far from int32's ends."""
    weights, bias = (constant_of(v) for v in op.operands[1:3])
    assert weights is not None, "applicable() was not asked"
    assert bias is not None, "applicable() was not asked"
    largest = 255.0 * np.abs(weights.astype(np.float64)).sum((1, 2, 3)) + np.abs(bias.astype(np.float64))
    return bool((largest * channel_multipliers(op)).max() < 1 << 30)


def _quads(spec: LinearSpec) -> int:
    """Vectors of four kernel rows, the last one filled with zero weights."""
    return up(spec.kernel[0], QUAD) // QUAD


def row_sets(spec: LinearSpec) -> list[tuple[int, ...]]:
    """For each output row, the kernel rows inside the image."""
    sets = []
    for row in range(spec.out_height):
        first = row * spec.strides[0] - spec.pads[0]
        places = (first + kh * spec.dilations[0] for kh in range(spec.kernel[0]))
        sets.append(tuple(kh for kh, place in enumerate(places) if 0 <= place < spec.height))
    return sets


class DepthwiseQuads(Primitive):
    """u8 in and out, blocks of 16; windows that span at most five steps of the stride."""

    name = "depthwise_quads"
    operators = ("linear_conv",)

    def applicable(self, op: Operator, target: Target) -> str | None:
        reason = refusal(op)
        if reason:
            return reason
        if "avx512vnni" not in target.features:
            return "needs AVX512-VNNI"
        spec = linear_spec(op)
        if not spec.groups == spec.channels == spec.filters:
            return f"{spec.groups} groups of {spec.channels} channels and {spec.filters} filters"
        if spec.ending.residual or spec.ending.result != "uint8":
            return "has a residual or a real result"
        reach = (spec.kernel[1] - 1) * spec.dilations[1] // spec.strides[1]
        return "wide windows or strides" if reach > PIXELS or spec.strides[1] > 2 else None

    def layouts(self, op: Operator, target: Target) -> tuple[Combination, ...]:
        layout = Layout(f"NCHW{BLOCK}c")
        return (((layout, ROW_MAJOR, ROW_MAJOR), layout),)

    def estimate(self, op: Operator, target: Target) -> float:
        spec = linear_spec(op)
        results = spec.batch * up(spec.out_width, PIXELS) * spec.out_height * up(spec.channels, BLOCK)
        operations = (24 + 4 * _quads(spec) * (spec.kernel[1] + 4 * spec.strides[1])) / PIXELS
        return seconds(target, results * operations, 0.8, float(results)) + 1e-6

    def arguments(self, op: Operator, target: Target) -> tuple[Argument, ...]:
        return (Operand(0), *map(Constant, _packed(op)))

    def kernel(self, op: Operator, target: Target) -> Kernel:
        spec = quad_spec(op)
        tasks = spec.conv.batch * up(spec.conv.channels, BLOCK) // BLOCK * spec.conv.out_height
        return Kernel("linear_depthwise_quads", spec, partial(_build, spec), tasks)


def _packed(op: Operator) -> tuple[Array, ...]:
    """Number of each output row's set; weights and starts for each set; multipliers; parameters."""
    spec, zero = linear_spec(op), one_quant(op.operands[0].type)[1]
    weights, bias = (constant_of(v) for v in op.operands[1:3])
    assert weights is not None, "applicable() was not asked"
    assert bias is not None, "applicable() was not asked"
    of_rows = row_sets(spec)
    sets = sorted(set(of_rows))
    numbers = np.array([sets.index(s) for s in of_rows], np.int32)
    masked = [_of_rows(weights[:, 0].astype(np.int64), rows) for rows in sets]
    starts = np.stack([_padded(bias - zero * w.sum((1, 2))) for w in masked]).astype(np.int32)
    result_zero, (low, high) = one_quant(op.result.type)[1], op["limits"]
    parameters = np.array([high - result_zero, zero, result_zero, low, high], np.float32)
    return numbers, _in_quads(masked), starts, padded_multipliers(op), parameters


def _of_rows(weights: Array, rows: Sequence[int]) -> Array:
    """Weights (channels, kh, kw), other rows zeroed."""
    kept = np.zeros_like(weights)
    kept[:, list(rows)] = weights[:, list(rows)]
    return kept


def _padded(values: Array) -> Array:
    """Along the first axis, to whole blocks."""
    padded = np.zeros((up(len(values), BLOCK), *values.shape[1:]), values.dtype)
    padded[: len(values)] = values
    return padded


def _in_quads(sets: Sequence[Array]) -> Array:
    """i8 of shape (sets, blocks, kw, quads of rows, 16 channels, 4 rows) from (channels, kh, kw) each."""
    padded = np.stack([_padded(w) for w in sets])
    count, channels, kh, kw = padded.shape
    rows = np.zeros((count, channels, up(kh, QUAD), kw), np.int8)
    rows[:, :, :kh] = padded
    split = rows.reshape(count, channels // BLOCK, BLOCK, -1, QUAD, kw)
    return np.ascontiguousarray(split.transpose(0, 1, 5, 3, 2, 4))


def _build(spec: QuadSpec) -> Any:
    from ..tvm_adapter import prim_func

    tables = [("numbers", "int32"), ("weights", "int8"), ("starts", "int32")]
    floats = [("multipliers", "float32"), ("parameters", "float32")]
    return prim_func([("data", "uint8"), *tables, *floats, ("output", "uint8")], _Body(spec))


class _Columns:
    """The interleaved columns of one vector of input pixels: [phase of the stride][quad of rows][group]."""

    def __init__(self, phases: int, quads: int) -> None:
        from ..tvm_adapter import Registers

        self.quads = quads
        self._registers = Registers(phases * quads * GROUPS, _WIDTH, "int8")

    def __getitem__(self, place: tuple[int, int, int]) -> Expr:
        return self._registers[self._at(place)]

    def __setitem__(self, place: tuple[int, int, int], value: Expr) -> None:
        self._registers[self._at(place)] = value

    def take(self, other: _Columns) -> None:
        for at in range(self._registers.count):
            self._registers[at] = other._registers[at]

    def _at(self, place: tuple[int, int, int]) -> int:
        phase, quad, group = place
        return (phase * self.quads + quad) * GROUPS + group


class _Body:
    """Emits the loops: rows of a block of channels as tasks; along the row, vectors of four results."""

    def __init__(self, quad: QuadSpec) -> None:
        self.ending, spec = quad, quad.conv
        self.spec, self.blocks = spec, up(spec.channels, BLOCK) // BLOCK
        self.quads, self.stride = _quads(spec), spec.strides[1]
        self.phases = min(self.stride, (spec.kernel[1] - 1) * spec.dilations[1] + 1)

    def __call__(self, *arguments: Any) -> None:
        from ..tvm_adapter import T

        *buffers, _, begin, end = arguments
        self.data, self.numbers, self.weights, self.starts, self.multipliers, numbers, self.output = buffers
        self.most = hold(numbers[_MOST], 1)
        whole = (hold(T.Cast("int32", numbers[i]), 1, "int32") for i in range(_INPUT_ZERO, _HIGH + 1))
        self.input_zero, self.zero, self.low, self.high = whole
        with T.serial(begin, end) as task:
            self._row(task // self.spec.out_height, task % self.spec.out_height)

    def _row(self, plane: Expr, row: Expr) -> None:
        from ..tvm_adapter import T

        spec = self.spec
        self.block = plane % self.blocks
        self.set = hold(self.numbers[row], 1, "int32")
        self.lines = []
        for kh in range(spec.kernel[0]):
            place = row * spec.strides[0] - spec.pads[0] + kh * spec.dilations[0]
            inside = T.max(0, T.min(spec.height - 1, place))
            line = (plane * spec.height + inside) * spec.width - spec.pads[1]
            self.lines.append(hold(line * BLOCK, 1, "int32"))
        self.written = (plane * spec.out_height + row) * spec.out_width
        self._walk()

    def _walk(self) -> None:
        """Vectors of results from left to right; the columns read for one are kept for the next."""
        from ..tvm_adapter import T

        vectors = up(self.spec.out_width, PIXELS) // PIXELS
        columns, following = (_Columns(self.phases, self.quads) for _ in range(2))
        self._read(columns, 0)
        first, last = self._inner(vectors)
        for vector in range(vectors):
            if vector == first:
                with T.serial(first, last) as inner:
                    self._step(columns, following, inner, PIXELS, True)
            if not first <= vector < last:
                count = min(PIXELS, self.spec.out_width - vector * PIXELS)
                self._step(columns, following, vector, count, False)

    def _inner(self, vectors: int) -> tuple[int, int]:
        """The vectors [first, last) of four results whose following columns lie inside the image."""
        inside = [v for v in range(vectors) if self._inside(v + 1) == (0, PIXELS * self.stride)]
        full = [v for v in inside if (v + 1) * PIXELS <= self.spec.out_width]
        return (full[0], full[-1] + 1) if len(full) > 1 else (0, 0)

    def _inside(self, vector: int) -> tuple[int, int]:
        """Of the pixels that a vector of columns is taken from, the range inside the image."""
        first, count = vector * PIXELS * self.stride - self.spec.pads[1], PIXELS * self.stride
        low = min(count, max(0, -first))
        return low, max(low, min(count, self.spec.width - first))

    def _step(self, columns: _Columns, following: _Columns, vector: Expr, count: int, inside: bool) -> None:
        self._read(following, vector + 1, inside)
        self._results(columns, following, vector, count)
        columns.take(following)

    def _read(self, columns: _Columns, vector: Expr, inside: bool = False) -> None:
        rows = [self._pixels(line, vector, inside) for line in self.lines]
        for phase in range(self.phases):
            picked = [self._phase(row, phase) for row in rows]
            for quad in range(self.quads):
                four = [picked[min(QUAD * quad + k, len(rows) - 1)] for k in range(QUAD)]
                for group, column in enumerate(_interleaved(four)):
                    columns[phase, quad, group] = column

    def _pixels(self, line: Expr, vector: Expr, inside: bool) -> Expr:
        """The pixels of a row that four steps of the stride pass; outside the image, the zero point."""
        from ..tvm_adapter import T, load, splat

        count = PIXELS * self.stride
        low, high = (0, count) if inside else self._inside(vector)
        width, inner = count * BLOCK, (high - low) * BLOCK
        if not inner:
            return hold(splat(T.Cast("int8", self.input_zero), width), width, "int8")
        loaded = load(self.data, line + vector * width + low * BLOCK, inner)
        kept = hold(T.reinterpret(f"int8x{inner}", loaded), inner, "int8")
        if inner == width:
            return kept
        zeros = hold(splat(T.Cast("int8", self.input_zero), BLOCK), BLOCK, "int8")
        return hold(_joined([*[zeros] * low, kept, *[zeros] * (count - high)], width), width, "int8")

    def _phase(self, row: Expr, phase: int) -> Expr:
        """Every `stride`-th pixel."""
        from ..tvm_adapter import T

        if self.stride == 1:
            return row
        order = [(p * self.stride + phase) * BLOCK + b for p in range(PIXELS) for b in range(BLOCK)]
        return hold(T.Shuffle([row], order), _WIDTH, "int8")

    def _results(self, columns: _Columns, following: _Columns, vector: Expr, count: int) -> None:
        from ..tvm_adapter import Registers, T, store

        sums = Registers(GROUPS, PIXELS * QUAD, "int32")
        for group in range(GROUPS):
            sums[group] = self._spread(self.starts, self.set * self.blocks + self.block, group, "int32")
        for kw in range(self.spec.kernel[1]):
            steps, phase = divmod(kw * self.spec.dilations[1], self.stride)
            for quad in range(self.quads):
                for group in range(GROUPS):
                    place = (phase, quad, group)
                    column = _moved(columns[place], following[place], steps)
                    weights = self._weights(kw, quad, group)
                    sums[group] = _call("llvm.x86.avx512.vpdpbusd.512", _SUMS, sums[group], column, weights)
        packed = self._requantized([sums[g] for g in range(GROUPS)])
        if count < PIXELS:
            packed = T.Shuffle([hold(packed, _WIDTH, "uint8")], list(range(count * BLOCK)))
        store(self.output, (self.written + vector * PIXELS) * BLOCK, packed, count * BLOCK)

    def _weights(self, kw: int, quad: int, group: int) -> Expr:
        from ..tvm_adapter import load

        block = self.set * self.blocks + self.block
        place = ((block * self.spec.kernel[1] + kw) * self.quads + quad) * GROUPS + group
        one = hold(load(self.weights, place * BLOCK, BLOCK), BLOCK, "int8")
        return hold(_joined([one] * PIXELS, _WIDTH), _WIDTH, "int8")

    def _spread(self, buffer: Buffer, block: Expr, group: int, dtype: str) -> Expr:
        """The values of a group's four channels for each pixel."""
        from ..tvm_adapter import load

        four = hold(load(buffer, block * BLOCK + group * QUAD, QUAD), QUAD, dtype)
        return hold(_joined([four] * PIXELS, QUAD * PIXELS), QUAD * PIXELS, dtype)

    def _requantized(self, sums: list[Expr]) -> Expr:
        """Bytes of the sums: limited from above as floats where integers could overflow; then as integers."""
        from ..tvm_adapter import T, splat

        steps = []
        for group, total in enumerate(sums):
            factor = self._spread(self.multipliers, self.block, group, "float32")
            t = hold(total.astype("float32x16") * factor, 16)
            if not self.ending.bounded:
                t = hold(T.min(splat(self.most, 16), t), 16)
            steps.append(hold(_nearest(t), 16, "int32"))
        halves = [_call("llvm.x86.avx512.packssdw.512", "int16x32", *steps[i : i + 2]) for i in (0, 2)]
        words = [hold(h, 32, "int16") for h in halves]
        if self.ending.moved:
            zero = splat(T.Cast("int16", self.zero), 32)
            words = [hold(_call("llvm.sadd.sat.v32i16", "int16x32", w, zero), 32, "int16") for w in words]
        packed = hold(_call("llvm.x86.avx512.packuswb.512", f"int8x{_WIDTH}", *words), _WIDTH, "int8")
        return self._masked(self._limited(T.reinterpret(f"uint8x{_WIDTH}", packed)))

    def _limited(self, stored: Expr) -> Expr:
        from ..tvm_adapter import T, splat

        if self.ending.low:
            stored = hold(T.max(stored, splat(T.Cast("uint8", self.low), _WIDTH)), _WIDTH, "uint8")
        if self.ending.high:
            stored = T.min(stored, splat(T.Cast("uint8", self.high), _WIDTH))
        return hold(stored, _WIDTH, "uint8")

    def _masked(self, stored: Expr) -> Expr:
        """Lanes past the last channel set to zero."""
        from ..tvm_adapter import T, splat

        filters = self.spec.ending.filters
        if not filters:
            return stored
        lane = T.Ramp(self.block * BLOCK, 1, BLOCK)
        kept = T.Select(
            lane < splat(filters, BLOCK, "int32"), splat(255, BLOCK, "uint8"), splat(0, BLOCK, "uint8")
        )
        return stored & _joined([hold(kept, BLOCK, "uint8")] * PIXELS, _WIDTH)


def _interleaved(rows: Sequence[Expr]) -> list[Expr]:
    """Within each pixel's 16 bytes, bytes 4g to 4g + 3 of four rows, channel by channel, for each group g."""
    pairs = [[_zipped(rows[k], rows[k + 1], 1, half) for k in (0, 2)] for half in (0, 1)]
    return [_zipped(first, second, 2, half) for first, second in pairs for half in (0, 1)]


def _zipped(a: Expr, b: Expr, size: int, half: int) -> Expr:
    """Elements of `size` bytes of one half of each pixel's bytes, alternating."""
    from ..tvm_adapter import T

    order = []
    for pixel in range(PIXELS):
        start = pixel * BLOCK + half * BLOCK // 2
        for element in range(start, start + BLOCK // 2, size):
            order += [element + k for k in range(size)]
            order += [_WIDTH + element + k for k in range(size)]
    return hold(T.Shuffle([a, b], order), _WIDTH, "int8")


def _joined(vectors: Sequence[Expr], lanes: int) -> Expr:
    """One after the other."""
    from ..tvm_adapter import T

    return T.Shuffle(list(vectors), list(range(lanes)))


def _moved(left: Expr, right: Expr, pixels: int) -> Expr:
    """Pixels `pixels` and up of `left`, followed by those of `right`."""
    from ..tvm_adapter import T

    if pixels in (0, PIXELS):
        return right if pixels else left
    order = list(range(pixels * BLOCK, pixels * BLOCK + _WIDTH))
    return hold(T.Shuffle([left, right], order), _WIDTH, "int8")


def _nearest(value: Expr) -> Expr:
    """The nearest integers, half to even."""
    from ..tvm_adapter import T, splat

    none, every, rounding = splat(0, 16, "int32"), T.int16(-1), T.int32(4)
    return _call("llvm.x86.avx512.mask.cvtps2dq.512", _SUMS, value, none, every, rounding)


def _call(intrinsic: str, dtype: str, *arguments: Expr) -> Expr:
    from ..tvm_adapter import T

    return T.call_llvm_pure_intrin(dtype, intrinsic, *arguments)


PRIMITIVES: tuple[Primitive, ...] = (DepthwiseQuads(),)
