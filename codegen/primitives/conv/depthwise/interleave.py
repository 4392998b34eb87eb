"""The loops of 8-bit depthwise convolution by AVX512-VNNI, on interleaved rows; `quads.py` tells how."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from secateur.codegen.tir import Registers, T, load, prim_func, splat, store
from secateur.codegen.vector.dot import QUAD
from secateur.codegen.vector.requantize import BLOCK
from secateur.codegen.vector.shuffles import hold

from ....rounding import up
from ..int8_spec import LinearSpec

Expr = Any
Buffer = Any

PIXELS = 4  # of one vector
_GROUPS = BLOCK // QUAD
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


def quads(spec: LinearSpec) -> int:
    """Vectors of four kernel rows, the last one filled with zero weights."""
    return up(spec.kernel[0], QUAD) // QUAD


def build(spec: QuadSpec) -> Any:
    """The PrimFunc."""
    tables = [("numbers", "int32"), ("weights", "int8"), ("starts", "int32")]
    floats = [("multipliers", "float32"), ("parameters", "float32")]
    return prim_func([("data", "uint8"), *tables, *floats, ("output", "uint8")], _Body(spec))


class _Columns:
    """The interleaved columns of one vector of input pixels: [phase of the stride][quad of rows][group]."""

    def __init__(self, phases: int, quads: int) -> None:
        self.quads = quads
        self._registers = Registers(phases * quads * _GROUPS, _WIDTH, "int8")

    def __getitem__(self, place: tuple[int, int, int]) -> Expr:
        return self._registers[self._at(place)]

    def __setitem__(self, place: tuple[int, int, int], value: Expr) -> None:
        self._registers[self._at(place)] = value

    def take(self, other: _Columns) -> None:
        for at in range(self._registers.count):
            self._registers[at] = other._registers[at]

    def _at(self, place: tuple[int, int, int]) -> int:
        phase, quad, group = place
        return (phase * self.quads + quad) * _GROUPS + group


class _Body:
    """Emits the loops: rows of a block of channels as tasks; along the row, vectors of four results."""

    def __init__(self, quad: QuadSpec) -> None:
        self.ending, spec = quad, quad.conv
        self.spec, self.blocks = spec, up(spec.channels, BLOCK) // BLOCK
        self.quads, self.stride = quads(spec), spec.strides[1]
        self.phases = min(self.stride, (spec.kernel[1] - 1) * spec.dilations[1] + 1)

    def __call__(self, *arguments: Any) -> None:
        *buffers, _, begin, end = arguments
        self.data, self.numbers, self.weights, self.starts, self.multipliers, numbers, self.output = buffers
        self.most = hold(numbers[_MOST], 1)
        whole = (hold(T.Cast("int32", numbers[i]), 1, "int32") for i in range(_INPUT_ZERO, _HIGH + 1))
        self.input_zero, self.zero, self.low, self.high = whole
        with T.serial(begin, end) as task:
            self._row(task // self.spec.out_height, task % self.spec.out_height)

    def _row(self, plane: Expr, row: Expr) -> None:
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
        if self.stride == 1:
            return row
        order = [(p * self.stride + phase) * BLOCK + b for p in range(PIXELS) for b in range(BLOCK)]
        return hold(T.Shuffle([row], order), _WIDTH, "int8")

    def _results(self, columns: _Columns, following: _Columns, vector: Expr, count: int) -> None:
        sums = Registers(_GROUPS, PIXELS * QUAD, "int32")
        for group in range(_GROUPS):
            sums[group] = self._spread(self.starts, self.set * self.blocks + self.block, group, "int32")
        for kw in range(self.spec.kernel[1]):
            steps, phase = divmod(kw * self.spec.dilations[1], self.stride)
            for quad in range(self.quads):
                for group in range(_GROUPS):
                    place = (phase, quad, group)
                    column = _moved(columns[place], following[place], steps)
                    weights = self._weights(kw, quad, group)
                    sums[group] = _call("llvm.x86.avx512.vpdpbusd.512", _SUMS, sums[group], column, weights)
        packed = self._requantized([sums[g] for g in range(_GROUPS)])
        if count < PIXELS:
            packed = T.Shuffle([hold(packed, _WIDTH, "uint8")], list(range(count * BLOCK)))
        store(self.output, (self.written + vector * PIXELS) * BLOCK, packed, count * BLOCK)

    def _weights(self, kw: int, quad: int, group: int) -> Expr:
        block = self.set * self.blocks + self.block
        place = ((block * self.spec.kernel[1] + kw) * self.quads + quad) * _GROUPS + group
        one = hold(load(self.weights, place * BLOCK, BLOCK), BLOCK, "int8")
        return hold(_joined([one] * PIXELS, _WIDTH), _WIDTH, "int8")

    def _spread(self, buffer: Buffer, block: Expr, group: int, dtype: str) -> Expr:
        """The values of a group's four channels for each pixel."""
        four = hold(load(buffer, block * BLOCK + group * QUAD, QUAD), QUAD, dtype)
        return hold(_joined([four] * PIXELS, QUAD * PIXELS), QUAD * PIXELS, dtype)

    def _requantized(self, sums: list[Expr]) -> Expr:
        """Bytes of the sums: limited from above as floats where integers could overflow; then as integers."""
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
        if self.ending.low:
            stored = hold(T.max(stored, splat(T.Cast("uint8", self.low), _WIDTH)), _WIDTH, "uint8")
        if self.ending.high:
            stored = T.min(stored, splat(T.Cast("uint8", self.high), _WIDTH))
        return hold(stored, _WIDTH, "uint8")

    def _masked(self, stored: Expr) -> Expr:
        """Lanes past the last channel set to zero."""
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
    order = []
    for pixel in range(PIXELS):
        start = pixel * BLOCK + half * BLOCK // 2
        for element in range(start, start + BLOCK // 2, size):
            order += [element + k for k in range(size)]
            order += [_WIDTH + element + k for k in range(size)]
    return hold(T.Shuffle([a, b], order), _WIDTH, "int8")


def _joined(vectors: Sequence[Expr], lanes: int) -> Expr:
    """One after the other."""
    return T.Shuffle(list(vectors), list(range(lanes)))


def _moved(left: Expr, right: Expr, pixels: int) -> Expr:
    """Pixels `pixels` and up of `left`, followed by those of `right`."""
    if pixels in (0, PIXELS):
        return right if pixels else left
    order = list(range(pixels * BLOCK, pixels * BLOCK + _WIDTH))
    return hold(T.Shuffle([left, right], order), _WIDTH, "int8")


def _nearest(value: Expr) -> Expr:
    """The nearest integers, half to even."""
    none, every, rounding = splat(0, 16, "int32"), T.int16(-1), T.int32(4)
    return _call("llvm.x86.avx512.mask.cvtps2dq.512", _SUMS, value, none, every, rounding)


def _call(intrinsic: str, dtype: str, *arguments: Expr) -> Expr:
    return T.call_llvm_pure_intrin(dtype, intrinsic, *arguments)
