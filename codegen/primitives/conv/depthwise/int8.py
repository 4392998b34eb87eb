"""8-bit depthwise convolution on any target: every lane filters its own channel, in exact int32."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from secateur.codegen.kernel import Kernel
from secateur.codegen.targets.target import Target
from secateur.codegen.tir import Registers, T, load, prim_func, when
from secateur.codegen.vector.requantize import BLOCK

from ...operator import Primitive
from ...specs import seconds, up
from ..ending import LinearFinish
from ..int8 import LinearConvolution
from ..int8_spec import LinearSpec
from ..plan import KernelSpec, Run, even_split, row_runs
from ..tile import kernel_rows
from ..wide import inside, row_taps
from .quads import PRIMITIVES as QUADS

Expr = Any
Buffer = Any
Array = NDArray[Any]


def pack_taps(weights: Array) -> Array:
    """Weights (channels, 1, kh, kw) as int16 of shape (blocks, kh, kw, 16), zero past the last channel."""
    channels, _, kh, kw = weights.shape
    padded = np.zeros((up(channels, BLOCK), kh, kw), np.int16)
    padded[:channels] = weights[:, 0]
    return np.ascontiguousarray(padded.reshape(-1, BLOCK, kh, kw).transpose(0, 2, 3, 1))


@dataclass(frozen=True)
class LinearDepthwise:
    """A vector of bytes times a vector of weights for each tap, widened."""

    name: str = "depthwise"

    def applicable(self, spec: LinearSpec, target: Target) -> str | None:
        if not spec.groups == spec.channels == spec.filters:
            return f"{spec.groups} groups of {spec.channels} channels and {spec.filters} filters"
        if (spec.in_layout, spec.out_layout) not in self.layouts(spec, target):
            return f"layouts {spec.in_layout} -> {spec.out_layout}"
        return None

    def layouts(self, spec: LinearSpec, target: Target) -> tuple[tuple[str, str], ...]:
        return (spec.blocked_layouts(target),)

    def workspace(self, spec: LinearSpec, target: Target) -> int:
        return 0

    def estimate(self, spec: LinearSpec, target: Target) -> float:
        results = spec.batch * spec.pixels * up(spec.channels, BLOCK)
        macs = spec.macs / spec.channels * up(spec.channels, BLOCK)
        # x86-64 widens bytes as it loads them; elsewhere that is one more operation for each multiplication.
        efficiency = 1.0 if target.triple.startswith("x86_64") else 0.5
        return seconds(target, 2 * macs + 8 * results, efficiency, float(results)) + 2e-6

    def pack(self, spec: LinearSpec, target: Target, weights: Array, _bias: None) -> tuple[Array, ...]:
        return (pack_taps(weights),)

    def kernel(self, spec: LinearSpec, target: Target) -> Kernel:
        most = max(2, target.isa.vector_registers * target.lanes // 64)
        pixels = even_split(spec.out_width, most)[0]
        lanes = target.lanes if spec.ending.result == "float32" else BLOCK
        name = f"linear_{self.name}"
        key = KernelSpec(name, spec, pixels, lanes)
        tasks = spec.batch * up(spec.channels, BLOCK) // BLOCK * spec.out_height
        return Kernel(name, key, partial(_build, spec, pixels, lanes), tasks)


def _pointers(spec: LinearSpec) -> list[str | tuple[str, str]]:
    residual = [("residual", "uint8")] if spec.ending.residual else []
    tables = [("weights", "int16"), ("starts", "int32")]
    floats = [("multipliers", "float32"), ("parameters", "float32")]
    return [("data", "uint8"), *residual, *tables, *floats, ("output", spec.ending.result)]


def _build(spec: LinearSpec, pixels: int, lanes: int) -> Any:
    return prim_func(_pointers(spec), _Body(spec, pixels, lanes))


class _Body:
    """Emits the loops: rows of a block of channels as tasks, tiles along the row."""

    def __init__(self, spec: LinearSpec, pixels: int, lanes: int) -> None:
        self.spec, self.lanes = spec, lanes
        self.runs = row_runs(spec, 0, spec.out_width, pixels)
        self.blocks = up(spec.channels, BLOCK) // BLOCK

    def __call__(self, *arguments: Any) -> None:
        *buffers, _, begin, end = arguments
        self.data, self.weights = buffers[0], buffers[-5]
        self.finish = LinearFinish(self.spec, self.lanes, (buffers[1], *buffers[-4:]))
        with T.serial(begin, end) as task:
            plane, row = task // self.spec.out_height, task % self.spec.out_height
            for run in self.runs:
                with T.serial(0, run.tiles) as tile:
                    for lane in range(0, BLOCK, self.lanes):
                        with ExitStack() as stack:
                            if lane:  # the result may have no such block
                                first = plane % self.blocks * BLOCK + lane
                                stack.enter_context(when(first < self.spec.channels))
                            self._tile(run, plane, row, run.start + tile * run.size, lane)

    def _tile(self, run: Run, plane: Expr, row: Expr, column: Expr, lane: int) -> None:
        """`run.size` results of one row in registers."""
        spec, block = self.spec, plane % self.blocks
        acc, channel = Registers(run.size, self.lanes, "int32"), block * BLOCK + lane
        rows = kernel_rows(spec, row)
        for r in range(run.size):
            acc[r] = self.finish.start(channel, rows, inside(spec, run, column, r))
        with T.serial(*rows) as kh:
            read = row * spec.strides[0] - spec.pads[0] + kh * spec.dilations[0]
            line = (plane * spec.height + read) * spec.width + column * spec.strides[1] - spec.pads[1]
            first = (block * spec.kernel[0] + kh) * spec.kernel[1]
            row_taps(spec, run, column, partial(self._tap, acc, line, first, lane))
        for r in range(run.size):
            pixel = row * spec.out_width + column + r
            self.finish.store(acc[r], plane // self.blocks, pixel, channel)

    def _tap(self, acc: Any, line: Expr, first: Expr, lane: int, kw: Expr, pixels: range) -> None:
        wide = f"int32x{self.lanes}"
        weight = load(self.weights, (first + kw) * BLOCK + lane, self.lanes).astype(wide)
        for r in pixels:
            pixel = line + (kw * self.spec.dilations[1] + r * self.spec.strides[1])
            value = load(self.data, pixel * BLOCK + lane, self.lanes).astype(wide)
            acc[r] = acc[r] + value * weight


PRIMITIVES: tuple[Primitive, ...] = (*QUADS, LinearConvolution(LinearDepthwise()))
