"""Winograd convolution F(m x m, 3 x 3), one fused kernel per block of tiles.

A task takes a block of tiles through all phases while they stay in the second
level cache: the input transform writes one matrix (tiles x channels) for each
of the (m+2)^2 positions; then, group of filters by group, the products with the
transformed weights and the output transform with the epilogue.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from ..kernel import Kernel
from ..targets import Target
from ..winograd_matrices import Winograd, winograd
from .base import ConvSpec, Floats, block_name, seconds, up
from .conv_tile import Finish, KernelSpec, max_pixels, pack_bias, pointers, split_buffers

Expr = Any
Buffer = Any

_PAD = 16  # floats between matrices, so that their rows do not fall into the same cache sets


@dataclass(frozen=True)
class Blocking:
    """Tiles of a task, register tile (tiles x filter vectors), and parts into which filters are split."""

    tiles: int
    rows: int
    vectors: int
    splits: int


@dataclass(frozen=True)
class Shape:
    """Sizes that the kernel and its packing share."""

    spec: ConvSpec
    outputs: int
    lanes: int

    @property
    def tile(self) -> int:
        return self.outputs + 2

    @property
    def positions(self) -> int:
        return self.tile**2

    @property
    def grid(self) -> tuple[int, int]:
        """Tiles down and across one image."""
        return -(-self.spec.out_height // self.outputs), -(-self.spec.out_width // self.outputs)

    @property
    def tiles(self) -> int:
        return self.spec.batch * self.grid[0] * self.grid[1]

    @property
    def channels(self) -> int:
        return up(self.spec.channels, self.lanes)

    @property
    def filters(self) -> int:
        return up(self.spec.filters, self.lanes)

    def transformed_stride(self, blocking: Blocking) -> int:
        """Floats from one position's matrix of transformed inputs to the next."""
        return blocking.tiles * self.channels + _PAD

    def product_stride(self, blocking: Blocking) -> int:
        return blocking.tiles * self.filters // blocking.splits + _PAD

    def workspace(self, blocking: Blocking) -> int:
        patch = self.positions * self.lanes
        return 4 * (
            patch + self.positions * (self.transformed_stride(blocking) + self.product_stride(blocking))
        )


def _cost(shape: Shape, blocking: Blocking, target: Target) -> float:
    """Seconds of a convolution: products, transforms, and what streams past the second-level cache."""
    tiles = up(shape.tiles, blocking.rows)
    loads = 1 / blocking.rows + 1 / blocking.vectors
    products = shape.positions * tiles * shape.channels * shape.filters * (1 + 0.25 * loads)
    transforms = tiles * shape.positions * (shape.channels * blocking.splits + shape.filters) * 4
    tasks = -(-shape.tiles // blocking.tiles)
    streamed = 4.0 * tasks * shape.positions * shape.channels * shape.filters
    if shape.workspace(blocking) > target.l2_bytes * 5 // 8:
        streamed += 8.0 * shape.positions * tiles * (shape.channels + shape.filters)
    return seconds(target, products + transforms, 1.0, 0.0) + streamed / (target.dram_gbps * 2e9)


def _splits(shape: Shape, blocking: Blocking) -> int:
    """Parts of the filters, each a task: for threads, where tiles make few tasks and the input transform is cheap."""
    groups = shape.filters // shape.lanes // blocking.vectors
    tasks = -(-shape.tiles // blocking.tiles)
    if tasks >= 4 or shape.filters < 16 * shape.lanes:
        return 1
    return max(s for s in (1, 2, 4) if groups % s == 0 and (s == 1 or s * tasks <= 4))


@dataclass(frozen=True)
class WinogradConv:
    """F(outputs, 3) on both axes: 3x3 kernels, stride 1, one group."""

    name: str
    outputs: int

    def applicable(self, spec: ConvSpec, target: Target) -> str | None:
        if spec.kernel != (3, 3) or spec.strides != (1, 1) or spec.dilations != (1, 1):
            return f"kernel {spec.kernel}, strides {spec.strides}, dilations {spec.dilations}"
        if spec.groups != 1:
            return f"{spec.groups} groups"
        if (spec.in_layout, spec.out_layout) not in self.layouts(spec, target):
            return f"layouts {spec.in_layout} -> {spec.out_layout}"
        return None

    def layouts(self, spec: ConvSpec, target: Target) -> tuple[tuple[str, str], ...]:
        return ((block_name(target), block_name(target)),)

    def workspace(self, spec: ConvSpec, target: Target) -> int:
        return self._shape(spec, target).workspace(self.blocking(spec, target))

    def estimate(self, spec: ConvSpec, target: Target) -> float:
        return _cost(self._shape(spec, target), self.blocking(spec, target), target) + 3e-6

    def pack(
        self, spec: ConvSpec, target: Target, weights: Floats, bias: Floats | None
    ) -> tuple[Floats, ...]:
        shape, blocking = self._shape(spec, target), self.blocking(spec, target)
        g = np.array([[float(x) for x in row] for row in self._matrices().g])
        spread = np.einsum("ia,ocab,jb->ijco", g, weights.astype(np.float64), g, optimize=True)
        width = blocking.vectors * target.lanes
        padded = np.zeros((shape.positions, shape.channels, up(spec.filters, width)), np.float32)
        padded[:, : spec.channels, : spec.filters] = spread.reshape(
            shape.positions, spec.channels, spec.filters
        )
        grouped = padded.reshape(shape.positions, shape.channels, -1, width).transpose(0, 2, 1, 3)
        return (np.ascontiguousarray(grouped), *pack_bias(bias, spec.filters, target.lanes))

    def kernel(self, spec: ConvSpec, target: Target) -> Kernel:
        shape, blocking = self._shape(spec, target), self.blocking(spec, target)
        key = KernelSpec(self.name, spec, blocking, target.lanes)
        tasks = -(-shape.tiles // blocking.tiles) * blocking.splits
        return Kernel(
            self.name,
            key,
            lambda: _build(shape, blocking, self._matrices()),
            tasks,
            shape.workspace(blocking),
        )

    def blocking(self, spec: ConvSpec, target: Target) -> Blocking:
        """The register tile and the tiles of a task for which `_cost` is least."""
        shape = self._shape(spec, target)
        blocks = shape.filters // target.lanes
        vectors = 2 if blocks % 2 == 0 else 1
        most = max_pixels(target.isa.vector_registers, vectors)
        choices = [
            Blocking(rows * parts, rows, vectors, 1)
            for rows in range(max(1, most // 2), most + 1)
            for parts in range(1, -(-shape.tiles // rows) + 1)
        ]
        best = min(choices, key=lambda c: _cost(shape, c, target))
        return replace(best, splits=_splits(shape, best))

    def _shape(self, spec: ConvSpec, target: Target) -> Shape:
        return Shape(spec, self.outputs, target.lanes)

    def _matrices(self) -> Winograd:
        return winograd(self.outputs)


def _build(shape: Shape, blocking: Blocking, matrices: Winograd) -> Any:
    from ..tvm_adapter import T, prim_func

    spec = shape.spec

    def body(*args: Any) -> None:
        *inputs, output, workspace, begin, end = args
        data, extras, constants = split_buffers(spec, tuple(inputs))
        finish = Finish(spec, shape.lanes, extras, constants[1] if spec.bias else None)
        nest = _Nest(shape, blocking, matrices, data, constants[0], output, workspace, finish)
        with T.serial(begin, end) as task:
            nest.task(task)

    return prim_func(pointers(spec), body)


class _Nest:
    """Emits one task."""

    def __init__(
        self,
        shape: Shape,
        blocking: Blocking,
        matrices: Winograd,
        data: Buffer,
        weights: Buffer,
        output: Buffer,
        workspace: Buffer,
        finish: Finish,
    ) -> None:
        self.shape, self.blocking, self.matrices = shape, blocking, matrices
        self.spec, self.lanes, self.n = shape.spec, shape.lanes, shape.tile
        self.data, self.weights, self.output = data, weights, output
        self.workspace, self.finish = workspace, finish
        self.patch = 0
        self.transformed = shape.positions * shape.lanes
        self.products = self.transformed + shape.positions * shape.transformed_stride(blocking)

    def task(self, task: Expr) -> None:
        from ..tvm_adapter import T

        blocking, splits = self.blocking, self.blocking.splits
        blocks = -(-self.shape.tiles // blocking.tiles)
        first = task % blocks * blocking.tiles
        count = T.min(blocking.tiles, self.shape.tiles - first)
        with T.serial(0, self.shape.channels // self.lanes) as cb, T.serial(0, count) as t:
            self._transform_input(first + t, t, cb)
        groups = self.shape.filters // self.lanes // blocking.vectors // splits
        start = task // blocks * groups
        parts = (count + blocking.rows - 1) // blocking.rows
        with T.serial(0, self.shape.positions) as p, T.serial(0, groups) as g, T.serial(0, parts) as part:
            self._register_tile(start + g, g, p, part * blocking.rows)
        with T.serial(0, groups) as g, T.serial(0, count) as t, T.serial(0, blocking.vectors) as v:
            self._transform_output(first + t, t, start + g, g, v)

    # Input transform

    def _transform_input(self, tile: Expr, t: Expr, cb: Expr) -> None:
        from ..tvm_adapter import T

        spec, lanes = self.spec, self.lanes
        image, row, column = self._place(tile)
        top, left = row * self.shape.outputs - spec.pads[0], column * self.shape.outputs - spec.pads[1]
        plane = (image * (self.shape.channels // lanes) + cb) * spec.height
        place = self.transformed + (cb * self.blocking.tiles + t) * lanes
        inside = (top >= 0) & (left >= 0) & (top + self.n <= spec.height) & (left + self.n <= spec.width)
        with T.If(inside):
            with T.Then():
                start = ((plane + top) * spec.width + left) * lanes
                self._transform(self.data, start, spec.width * lanes, place)
            with T.Else():
                self._copy_patch(plane, top, left)
                self._transform(self.workspace, self.patch, self.n * lanes, place)

    def _place(self, tile: Expr) -> tuple[Expr, Expr, Expr]:
        down, across = self.shape.grid
        image: Expr = 0 if self.spec.batch == 1 else tile // (down * across)
        inner = tile if self.spec.batch == 1 else tile % (down * across)
        return image, inner // across, inner % across

    def _copy_patch(self, plane: Expr, top: Expr, left: Expr) -> None:
        """The input tile with zeros where it leaves the image."""
        from ..tvm_adapter import T, load, splat, store

        spec, lanes = self.spec, self.lanes
        with T.serial(0, self.n) as i, T.serial(0, self.n) as j:
            row, column = top + i, left + j
            inside = (row >= 0) & (row < spec.height) & (column >= 0) & (column < spec.width)
            to = self.patch + (i * self.n + j) * lanes
            with T.If(inside):
                with T.Then():
                    store(
                        self.workspace,
                        to,
                        load(self.data, ((plane + row) * spec.width + column) * lanes, lanes),
                        lanes,
                    )
                with T.Else():
                    store(self.workspace, to, splat(0.0, lanes), lanes)

    def _transform(self, source: Buffer, start: Expr, pitch: int, place: Expr) -> None:
        """B^T d B of one tile; element (i, j) goes to the matrix of position i n + j."""
        from ..tvm_adapter import Registers, load, store
        from .conv_linear import multiply

        n, lanes, rows = self.n, self.lanes, self.matrices.b_t
        half = Registers(n * n, lanes)
        for j in range(n):
            tile = Registers(n, lanes)
            for i in range(n):
                tile[i] = load(source, start + i * pitch + j * lanes, lanes)
            for i, value in enumerate(multiply(rows, [tile[i] for i in range(n)], lanes)):
                half[i * n + j] = value
        stride = self.shape.transformed_stride(self.blocking)
        for i in range(n):
            for j, value in enumerate(multiply(rows, [half[i * n + j] for j in range(n)], lanes)):
                store(self.workspace, place + (i * n + j) * stride, value, lanes)

    # Products

    def _register_tile(self, group: Expr, local: Expr, p: Expr, first: Expr) -> None:
        """At position `p`: some tiles by all channels, times all channels by one group of filters."""
        from ..tvm_adapter import Registers, T, load, prefetch, splat, store

        blocking, lanes = self.blocking, self.lanes
        vectors, width = blocking.vectors, blocking.vectors * self.lanes
        source = self.transformed + p * self.shape.transformed_stride(blocking) + first * lanes
        panel = (p * (self.shape.filters // width) + group) * self.shape.channels * width
        acc = Registers(blocking.rows * vectors, lanes)
        acc.fill(0.0)
        unroll = min(lanes, 4)
        with T.serial(0, self.shape.channels // lanes) as cb, T.serial(0, lanes // unroll) as outer:
            for inner in range(unroll):
                lane = outer * unroll + inner
                weight = panel + (cb * lanes + lane) * width
                if blocking.tiles <= 2 * blocking.rows:
                    for v in range(vectors):  # the next panel, while this one is used at most twice
                        prefetch(self.weights, weight + self.shape.channels * width + v * lanes, 1)
                for r in range(blocking.rows):
                    element = splat(
                        self.workspace[source + cb * (blocking.tiles * lanes) + r * lanes + lane], lanes
                    )
                    for v in range(vectors):
                        at = r * vectors + v
                        acc[at] = T.fma(element, load(self.weights, weight + v * lanes, lanes), acc[at])
        to = (
            self.products + p * self.shape.product_stride(blocking) + (local * blocking.tiles + first) * width
        )
        for at in range(blocking.rows * vectors):
            store(self.workspace, to + at * lanes, acc[at], lanes)

    # Output transform

    def _transform_output(self, tile: Expr, t: Expr, group: Expr, local: Expr, v: Expr) -> None:
        """A^T m A of one tile and filter block, bias and epilogue, stored where it lies in the image."""
        from ..tvm_adapter import Registers, load
        from .conv_linear import multiply

        n, m, lanes, vectors = self.n, self.shape.outputs, self.lanes, self.blocking.vectors
        rows, stride = self.matrices.a_t, self.shape.product_stride(self.blocking)
        start = self.products + ((local * self.blocking.tiles + t) * vectors + v) * lanes
        half = Registers(m * n, lanes)
        for j in range(n):
            column = Registers(n, lanes)
            for i in range(n):
                column[i] = load(self.workspace, start + (i * n + j) * stride, lanes)
            for i, value in enumerate(multiply(rows, [column[i] for i in range(n)], lanes)):
                half[i * n + j] = value
        result = Registers(m * m, lanes)
        for i in range(m):
            for j, value in enumerate(multiply(rows, [half[i * n + j] for j in range(n)], lanes)):
                result[i * m + j] = value
        self._store_tile(result, tile, group * vectors + v)

    def _store_tile(self, result: Any, tile: Expr, block: Expr) -> None:
        from ..tvm_adapter import store, when

        spec, m, lanes = self.spec, self.shape.outputs, self.lanes
        image, row, column = self._place(tile)
        plane = (image * (self.shape.filters // lanes) + block) * spec.out_height
        start = self.finish.start(block * lanes)
        whole_rows, whole_columns = spec.out_height % m == 0, spec.out_width % m == 0
        for i in range(m):
            with when(True if whole_rows else row * m + i < spec.out_height):
                for j in range(m):
                    with when(True if whole_columns else column * m + j < spec.out_width):
                        at = ((plane + row * m + i) * spec.out_width + column * m + j) * lanes
                        value = result[i * m + j] + start if spec.bias else result[i * m + j]
                        store(self.output, at, self.finish.finish(value, at, block * lanes), lanes)


WINOGRAD = tuple(WinogradConv(f"winograd{m}", m) for m in (2, 4, 6))
