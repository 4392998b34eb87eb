"""Depthwise convolutions, a strip of results a thread: bytes to the bit, floats and binary16."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial
from math import prod
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from ...kernel import Kernel
from ...primitives.conv.ending import kernel_pointers, opened
from ...primitives.conv.int8_spec import LinearSpec
from ...primitives.conv.tile import pack_bias
from ...primitives.specs import ConvSpec, Floats, layout_block
from ...targets.target import Target
from ...tir import Registers, T, load, prim_func, splat, view, when
from ...vector.shuffles import hold
from .block import WORDS, Words, thread
from .implicit_gemm import BytesGemm, FloatGemm, HalfGemm
from .implicit_gemm_kernel import held
from .strips import THREADS, Strip, blocks, fastest, lanes, parts
from .thread import thread_of

Array = NDArray[Any]
Expr = Any
MOST_TAPS = 49  # of a kernel, which are written out


@dataclass(frozen=True)
class DepthwiseStrips:
    """Of one filter for each channel, of any stride, dilation and padding."""

    name: str = "depthwise_strips"
    parted: ClassVar[bool] = False

    def layouts(self, spec: ConvSpec, target: Target) -> tuple[tuple[str, str], ...]:
        thread = thread_of(target)
        return (spec.blocked_layouts(thread.in_half if spec.element_bytes == 2 else thread),)

    def applicable(self, spec: ConvSpec, target: Target) -> str | None:
        if not spec.groups == spec.channels == spec.filters:
            return f"{spec.groups} groups of {spec.channels} channels and {spec.filters} filters"
        if (spec.in_layout, spec.out_layout) not in self.layouts(spec, target):
            return f"layouts {spec.in_layout} -> {spec.out_layout}"
        if spec.element_bytes == 1 and not target.cuda.architecture.dot:
            return "no dot products of bytes"
        taps = prod(spec.kernel)
        return f"{taps} taps, at most {MOST_TAPS} are written out" if taps > MOST_TAPS else None

    def estimate(self, spec: ConvSpec, target: Target) -> float:
        return fastest(spec, target).seconds(spec, target)

    def offset(self, spec: ConvSpec, target: Target) -> int:
        """Bytes are multiplied as they are."""
        return 0

    def workspace(self, spec: ConvSpec, target: Target) -> int:
        return 0

    def tiling_words(self, spec: ConvSpec, target: Target) -> dict[str, str]:
        return fastest(spec, target).words

    def pack(self, spec: ConvSpec, target: Target, weights: Array, bias: Floats | None) -> tuple[Array, ...]:
        """(channels, 1, kh, kw) to [block][kh][kw][channel]; of bytes, each alone in the word of four."""
        count = blocks(spec) * lanes(spec) * parts(spec)
        padded = np.zeros((count, *spec.kernel), weights.dtype)
        padded[: spec.channels] = weights.reshape(spec.channels, *spec.kernel)
        packed = padded.reshape(blocks(spec), -1, *spec.kernel).transpose(0, 2, 3, 1)
        if spec.element_bytes == 1:
            packed = packed[..., None] * np.tile(np.eye(WORDS, dtype=np.int8), (WORDS, 1))
        return (np.ascontiguousarray(packed), *pack_bias(bias, spec.filters, layout_block(spec.out_layout)))

    def kernel(self, spec: ConvSpec, target: Target) -> Kernel:
        strip = fastest(spec, target)
        plain = spec.unbordered() if isinstance(spec, LinearSpec) else spec
        key = StripSpec(replace(plain, workspace_limit=None), strip)
        tasks = -(-strip.threads(spec) // THREADS)
        return Kernel(self.name, key, partial(_build, key), tasks, threads=THREADS)


@dataclass(frozen=True)
class StripSpec:
    """What determines the code."""

    conv: ConvSpec
    strip: Strip


def _build(spec: StripSpec) -> Any:
    pointers = kernel_pointers(spec.conv)
    if isinstance(spec.conv, LinearSpec):
        pointers.insert(pointers.index(("weights", "int8")) + 1, ("padding", "uint8"))
    kind = _Bytes if isinstance(spec.conv, LinearSpec) else _Floats
    return prim_func(pointers, lambda *buffers: kind(spec, buffers).emit())


class _Floats:
    """One thread: its channels are a vector."""

    sums: Any

    def __init__(self, spec: StripSpec, buffers: tuple[Any, ...]) -> None:
        self.conv, self.strip, self.lanes = spec.conv, spec.strip, lanes(spec.conv)
        *given, _, block, __ = buffers
        self._open(tuple(given))
        self.number = held(block * THREADS + thread())

    def _open(self, buffers: tuple[Any, ...]) -> None:
        self.data, self.weights, self.finish = opened(self.conv, self.lanes, buffers)

    def emit(self) -> None:
        with when(self.number < self.strip.threads(self.conv)):
            self._locate()
            self._start()
            for i in range(self.conv.kernel[0]):
                self._add_row(i)
            self._store()

    def _locate(self) -> None:
        """Channels, then strips of a row, rows, blocks of channels and images: the first turn fastest."""
        conv, rest = self.conv, self.number
        found = []
        for count in (parts(conv), self.strip.across(conv), conv.out_height, blocks(conv)):
            found.append(held(T.truncmod(rest, count)))
            rest = held(T.truncdiv(rest, count))
        self.part, strip, self.row, self.block = found
        self.image, self.column = rest, held(strip * self.strip.pixels)
        self.top = held(self.row * conv.strides[0] - conv.pads[0])
        self.left = held(self.column * conv.strides[1] - conv.pads[1])
        self.channel = held((self.block * parts(conv) + self.part) * self.lanes)

    def _start(self) -> None:
        self.sums = Registers(self.strip.pixels, self.lanes, self.conv.dtype)
        first = hold(self.finish.start(self.channel, (0, 0), ()), self.lanes, self.conv.dtype)
        for p in range(self.strip.pixels):
            self.sums[p] = first

    def _add_row(self, i: int) -> None:
        """The products of one row of the kernel."""
        conv, row = self.conv, [self._pixel(i, j) for j in range(self.strip.columns(self.conv))]
        for tap in range(conv.kernel[1]):
            weights = self._weights(i * conv.kernel[1] + tap)
            for p in range(self.strip.pixels):
                self._add(p, row[p * conv.strides[1] + tap * conv.dilations[1]], weights)

    def _pixel(self, i: int, j: int) -> Expr:
        """The thread's channels at a row and column of what it needs, read inside the image and replaced."""
        conv, down, along = self.conv, self.top + i * self.conv.dilations[0], self.left + j
        near = T.max(0, T.min(conv.height - 1, down)), T.max(0, T.min(conv.width - 1, along))
        plane = (self.image * blocks(conv) + self.block) * conv.height
        value = self._read(((plane + near[0]) * conv.width + near[1]) * parts(conv) + self.part)
        inside = T.And(T.And(down >= 0, down < conv.height), T.And(along >= 0, along < conv.width))
        return self._held(T.Select(inside, value, self._outside()) if any(conv.pads) else value)

    def _read(self, at: Expr) -> Expr:
        return load(self.data, at * self.lanes, self.lanes)

    def _outside(self) -> Expr:
        return splat(0.0, self.lanes, self.conv.dtype)

    def _held(self, value: Expr) -> Expr:
        return hold(value, self.lanes, self.conv.dtype)

    def _weights(self, tap: int) -> Any:
        at = (self.block * prod(self.conv.kernel) + tap) * parts(self.conv) + self.part
        return self._held(load(self.weights, at * self.lanes, self.lanes))

    def _add(self, p: int, value: Expr, weights: Any) -> None:
        self.sums[p] = T.fma(value, weights, self.sums[p])

    def _store(self) -> None:
        for p in range(self.strip.pixels):
            with when(self.column + p < self.conv.out_width):
                pixel = self.row * self.conv.out_width + self.column + p
                self.finish.store(self.sums[p], self.image, pixel, self.channel)


class _Bytes(_Floats):
    """Four channels are a word, which a dot product multiplies with one byte and three zeros."""

    def _open(self, buffers: tuple[Any, ...]) -> None:
        assert isinstance(self.conv, LinearSpec)
        place = 2 + bool(self.conv.ending.residual)
        self.padding = view(buffers[place], "int32")
        super()._open((*buffers[:place], *buffers[place + 1 :]))
        self.data, self.weights = view(self.data, "int32"), view(self.weights, "int32")

    def _start(self) -> None:
        self.sums = Words(self.strip.pixels * WORDS, "int32")
        first = hold(self.finish.start(self.channel, (0, 0), ()), WORDS, "int32")
        for p in range(self.strip.pixels):
            self.sums.put(p * WORDS, first)

    def _read(self, at: Expr) -> Expr:
        return self.data[at]

    def _outside(self) -> Expr:
        return self.padding[0]

    def _held(self, value: Expr) -> Expr:
        return held(value)

    def _weights(self, tap: int) -> Words:
        at = (self.block * prod(self.conv.kernel) + tap) * parts(self.conv) + self.part
        found = Words(WORDS, "int32")
        found.fetch(0, self.weights, at * WORDS, WORDS)
        return found

    def _add(self, p: int, value: Expr, weights: Words) -> None:
        for k in range(WORDS):
            at = p * WORDS + k
            self.sums[at] = T.call_llvm_pure_intrin(
                "int32", "llvm.nvvm.idp4a.u.s", value, weights[k], self.sums[at]
            )

    def _store(self) -> None:
        for p in range(self.strip.pixels):
            with when(self.column + p < self.conv.out_width):
                pixel = self.row * self.conv.out_width + self.column + p
                quad = self.sums.quad(p * WORDS)
                self.finish.store(quad, self.image, pixel, self.channel)


STRIPS = DepthwiseStrips()
PRIMITIVES = (FloatGemm(STRIPS), HalfGemm(STRIPS), BytesGemm(STRIPS))
