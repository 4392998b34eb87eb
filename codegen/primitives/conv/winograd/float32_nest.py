"""The code of a Winograd convolution: the phases of one task, in TIR."""

from __future__ import annotations

from typing import Any

from secateur.codegen.tir import Registers, T, fence, load, prefetch, prim_func, splat, store, when
from secateur.ir.winograd import Winograd

from ..ending import Finish, pointers, split_buffers
from .float32 import Blocking, Shape
from .straight_line import multiply

Expr = Any
Buffer = Any

_LINE = 16  # floats of a cache line
UNROLL = 4  # channels of one pass through the inner loop
_AHEAD = 2  # panels of weights between what is read and what is asked for


def build(shape: Shape, blocking: Blocking, matrices: Winograd) -> Any:
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
        self.chunks = shape.channels // blocking.channels
        self.width = blocking.vectors * shape.lanes
        self.groups = blocking.filters // self.width
        self.patch = 0
        self.transformed = shape.positions * shape.lanes
        self.products = self.transformed + shape.positions * shape.transformed_stride(blocking)

    def task(self, task: Expr) -> None:
        shape, blocking, lanes = self.shape, self.blocking, self.lanes
        blocks = -(-shape.tiles // blocking.tiles)
        self.first, self.range = task % blocks * blocking.tiles, task // blocks
        self.count = T.min(blocking.tiles, shape.tiles - self.first)
        parts = (self.count + blocking.rows - 1) // blocking.rows
        with T.serial(0, self.chunks) as chunk:
            with T.serial(0, blocking.channels // lanes) as cb, T.serial(0, self.count) as t:
                self._transform_input(chunk, cb, t)
            with T.serial(0, shape.positions) as p, T.serial(0, self.groups) as g, T.serial(0, parts) as part:
                self._register_tile(chunk, p, g, part * blocking.rows)
        with T.serial(0, self.groups) as g, T.serial(0, self.count) as t, T.serial(0, blocking.vectors) as v:
            self._transform_output(g, t, v)

    # Input transform

    def _transform_input(self, chunk: Expr, cb: Expr, t: Expr) -> None:
        spec, lanes = self.spec, self.lanes
        image, row, column = self._place(self.first + t)
        top, left = row * self.shape.outputs - spec.pads[0], column * self.shape.outputs - spec.pads[1]
        block = chunk * (self.blocking.channels // lanes) + cb
        plane = (image * (self.shape.channels // lanes) + block) * spec.height
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

    def _register_tile(self, chunk: Expr, p: Expr, g: Expr, first: Expr) -> None:
        """At position `p`: some tiles by the chunk's channels, times those by one group of filters."""
        blocking, lanes, width = self.blocking, self.lanes, self.width
        acc = Registers(blocking.rows * blocking.vectors, lanes)
        sums = self.products + p * self.shape.product_stride(blocking) + (g * blocking.tiles + first) * width
        if self.chunks == 1:
            acc.fill(0.0)
        else:
            with T.If(chunk == 0):
                with T.Then():
                    acc.fill(0.0)
                with T.Else():
                    for at in range(acc.count):
                        acc[at] = load(self.workspace, sums + at * lanes, lanes)
        source = self.transformed + p * self.shape.transformed_stride(blocking) + first * lanes
        panel = ((self.range * self.chunks + chunk) * self.shape.positions + p) * self.groups + g
        with T.serial(0, blocking.channels // lanes) as cb, T.serial(0, lanes // UNROLL) as outer:
            for inner in range(UNROLL):
                lane = outer * UNROLL + inner
                place = source + cb * (blocking.tiles * lanes) + lane
                self._step(acc, place, (panel * blocking.channels + cb * lanes + lane) * width)
        for at in range(acc.count):
            store(self.workspace, sums + at * lanes, acc[at], lanes)

    def _step(self, acc: Any, place: Expr, weight: Expr) -> None:
        """acc[r][v] += element r of one channel * weights[v]; asks for weights of panels ahead."""
        lanes, vectors = self.lanes, self.blocking.vectors
        for v in range(0, self.width, _LINE):
            prefetch(self.weights, weight + _AHEAD * self.blocking.channels * self.width + v, 1)
        for r in range(self.blocking.rows):
            element = splat(self.workspace[place + r * lanes], lanes)
            for v in range(vectors):
                at = r * vectors + v
                acc[at] = T.fma(element, load(self.weights, weight + v * lanes, lanes), acc[at])
        fence(self.workspace, self.weights)

    # Output transform

    def _transform_output(self, g: Expr, t: Expr, v: Expr) -> None:
        """A^T m A of one tile and filter block, bias and epilogue, stored where it lies in the image."""
        n, m, lanes, vectors = self.n, self.shape.outputs, self.lanes, self.blocking.vectors
        rows, stride = self.matrices.a_t, self.shape.product_stride(self.blocking)
        start = self.products + ((g * self.blocking.tiles + t) * vectors + v) * lanes
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
        self._store_tile(result, self.first + t, (self.range * self.groups + g) * vectors + v)

    def _store_tile(self, result: Any, tile: Expr, block: Expr) -> None:
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
