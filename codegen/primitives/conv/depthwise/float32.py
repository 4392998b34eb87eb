"""Depthwise convolution on blocked channels: every lane filters its own channel."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Any

from secateur.codegen.kernel import Kernel
from secateur.codegen.targets.target import Target
from secateur.codegen.tir import Registers, T, load, prim_func, store

from ...specs import ConvSpec, Floats, block_name, seconds, up
from ..ending import Finish, pointers, split_buffers
from ..plan import KernelSpec, Run, even_split, row_runs
from ..tile import kernel_rows, pack_bias, pack_weights
from ..wide import row_taps

Expr = Any
Buffer = Any


def efficiency(target: Target) -> float:
    """A share of the multiply-adds that the target can do, start and end of tiles included.

    x86-64 reads one operand in the multiplication itself.
    """
    return 0.6 if target.triple.startswith("x86_64") else 0.35


def tile_pixels(spec: ConvSpec, target: Target) -> int:
    """Output pixels of the largest register tile."""
    return even_split(spec.out_width, target.isa.vector_registers // 4)[0]


def tap_cycles(pixels: int, target: Target) -> float:
    """Cycles of one tap of `pixels` pixels."""
    return pixels / (target.fma_per_cycle * efficiency(target))


@dataclass(frozen=True)
class Depthwise:
    """One filter for each channel: a vector of channels times a vector of weights."""

    name: str = "depthwise"

    def applicable(self, spec: ConvSpec, target: Target) -> str | None:
        if not spec.groups == spec.channels == spec.filters:
            return f"{spec.groups} groups of {spec.channels} channels and {spec.filters} filters"
        if (spec.in_layout, spec.out_layout) not in self.layouts(spec, target):
            return f"layouts {spec.in_layout} -> {spec.out_layout}"
        return None

    def layouts(self, spec: ConvSpec, target: Target) -> tuple[tuple[str, str], ...]:
        return ((block_name(target), block_name(target)),)

    def workspace(self, spec: ConvSpec, target: Target) -> int:
        return 0

    def estimate(self, spec: ConvSpec, target: Target) -> float:
        pixels = spec.batch * (spec.height * spec.width + spec.pixels)
        macs = spec.macs / spec.channels * up(spec.channels, target.lanes)
        traffic = max(0, 4 * pixels * spec.channels - target.l2_bytes) / 2
        return seconds(target, macs, efficiency(target), traffic) + 2e-6

    def pack(
        self, spec: ConvSpec, target: Target, weights: Floats, bias: Floats | None
    ) -> tuple[Floats, ...]:
        packed = pack_weights(weights.transpose(1, 0, 2, 3), 1, 1, target.lanes)[0]
        return (packed, *pack_bias(bias, spec.filters, target.lanes))

    def kernel(self, spec: ConvSpec, target: Target) -> Kernel:
        pixels = tile_pixels(spec, target)
        key, lanes = KernelSpec(self.name, spec, pixels, target.lanes), target.lanes
        tasks = spec.batch * up(spec.channels, lanes) // lanes * spec.out_height
        return Kernel(self.name, key, partial(_build, spec, pixels, lanes), tasks)


def _build(spec: ConvSpec, pixels: int, lanes: int) -> Any:
    runs = row_runs(spec, 0, spec.out_width, pixels)
    blocks = up(spec.channels, lanes) // lanes

    def body(*args: Any) -> None:
        *inputs, output, _, begin, end = args
        data, extras, constants = split_buffers(spec, tuple(inputs))
        finish = Finish(spec, lanes, extras, constants[1] if spec.bias else None)
        with T.serial(begin, end) as task:
            plane, row = task // spec.out_height, task % spec.out_height
            for run in runs:
                with T.serial(0, run.tiles) as tile:
                    column = run.start + tile * run.size
                    _tile(
                        spec,
                        run,
                        lanes,
                        (data, constants[0], output),
                        finish,
                        (plane, plane % blocks, row, column),
                    )

    return prim_func(pointers(spec), body)


def _tile(
    spec: ConvSpec,
    run: Run,
    lanes: int,
    buffers: tuple[Buffer, Buffer, Buffer],
    finish: Finish,
    place: tuple[Expr, Expr, Expr, Expr],
) -> None:
    """`run.size` output pixels of one row in registers; loads shared by neighbouring taps are made once."""
    (data, weights, output), (plane, block, row, column) = buffers, place
    acc = Registers(run.size, lanes)
    for r in range(run.size):
        acc[r] = finish.start(block * lanes)
    low, high = kernel_rows(spec, row)
    with T.serial(low, high) as kh:
        in_row = row * spec.strides[0] - spec.pads[0] + kh * spec.dilations[0]
        line = (plane * spec.height + in_row) * spec.width + column * spec.strides[1] - spec.pads[1]

        def tap(kw: Expr, pixels: range) -> None:
            weight = load(weights, ((block * spec.kernel[0] + kh) * spec.kernel[1] + kw) * lanes, lanes)
            for r in pixels:
                pixel = line + (kw * spec.dilations[1] + r * spec.strides[1])
                acc[r] = T.fma(load(data, pixel * lanes, lanes), weight, acc[r])

        row_taps(spec, run, column, tap)
    for r in range(run.size):
        index = ((plane * spec.out_height + row) * spec.out_width + column + r) * lanes
        store(output, index, finish.finish(acc[r], index, block * lanes), lanes)


DEPTHWISE = Depthwise()
