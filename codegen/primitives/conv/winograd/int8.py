"""Convolution quantized in the Winograd domain, one fused kernel per block of tiles.

A task takes a block of tiles through all phases while they stay in the second-level
cache: the input transform with its quantization writes one byte matrix (tiles x
channels) for each position; then, for one group of filters after another, the
int8 products of every position and their output transform with requantization.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache, partial
from math import prod
from typing import Any

import numpy as np

from secateur.codegen.kernel import Kernel
from secateur.codegen.targets.target import Target
from secateur.codegen.tir import T, prim_func
from secateur.codegen.vector.dot import dot_of
from secateur.codegen.vector.fixed_point import fixed_point
from secateur.codegen.vector.requantize import (
    BLOCK,
    Requantization,
    Requantize,
    requantization,
    result_parameters,
)
from secateur.ir.graph import Operator
from secateur.ir.ops.linear import one_quant
from secateur.ir.types import ROW_MAJOR, Layout, blocked

from ...operator import (
    Adjustable,
    Argument,
    Array,
    Combination,
    Constant,
    Cost,
    Operand,
    constant_of,
    workspace_limit,
)
from ...specs import up
from ..plan import KernelSpec, cheapest, even_split, worth_offering

PRODUCTS = "products"
PHASES = ("input", PRODUCTS, "output")
"""Of a task."""
_LINE = 64
_SHARE = 0.6  # of the second-level cache for what a task keeps


@dataclass(frozen=True)
class WinogradSpec:
    """What determines the code besides blocking and target; `pads` are (top, left, bottom, right)."""

    batch: int
    channels: int
    height: int
    width: int
    filters: int
    out_height: int
    out_width: int
    tile: tuple[int, int]
    pads: tuple[int, int, int, int]
    zero_point: int
    block: int  # channel lanes of the result's layout
    ending: Requantization


@dataclass(frozen=True)
class Blocking:
    """Tiles of a task, register tile (tiles x filter vectors), filters of a range, bytes of weights ahead."""

    tiles: int
    rows: int
    vectors: int
    filters: int
    ahead: int = 0


@dataclass(frozen=True)
class Shape:
    """Sizes of a whole layer, whole blocks of channels and filters included."""

    spec: WinogradSpec
    lanes: int
    wide: int  # channels of one vector of the input transform, which takes two

    @property
    def extent(self) -> tuple[int, int]:
        """Rows and columns of an input tile."""
        return self.spec.tile[0] + 2, self.spec.tile[1] + 2

    @property
    def positions(self) -> int:
        return prod(self.extent)

    @property
    def grid(self) -> tuple[int, int]:
        """Tiles down and across one image."""
        tall, wide = self.spec.tile
        return -(-self.spec.out_height // tall), -(-self.spec.out_width // wide)

    @property
    def tiles(self) -> int:
        return self.spec.batch * prod(self.grid)

    @property
    def channels(self) -> int:
        return up(self.spec.channels, BLOCK)

    @property
    def filters(self) -> int:
        return up(self.spec.filters, BLOCK)

    def transformed_stride(self, blocking: Blocking) -> int:
        """Bytes from one position's matrix of transformed inputs to the next."""
        return up(blocking.tiles * self.channels, _LINE) + _LINE

    def products_start(self, blocking: Blocking) -> int:
        """Bytes before the products in the workspace."""
        return self.positions * self.transformed_stride(blocking)

    def product_stride(self, blocking: Blocking) -> int:
        """Floats from one position's products to the next."""
        return (blocking.tiles * blocking.vectors + 1) * self.lanes

    def workspace(self, blocking: Blocking) -> int:
        return self.products_start(blocking) + 4 * self.positions * self.product_stride(blocking)

    def tasks(self, blocking: Blocking) -> int:
        return -(-self.tiles // blocking.tiles) * (self.filters // blocking.filters)


def shape_of(spec: WinogradSpec, target: Target) -> Shape:
    return Shape(spec, target.lanes, fixed_point(target, up(spec.channels, BLOCK)).lanes)


def step_cycles(rows: int, vectors: int, target: Target) -> float:
    """Cycles to multiply a quad of channels of `rows` tiles at one position with `vectors` filter vectors."""
    dot = dot_of(target)
    operations = rows * vectors * dot.operations + (rows + vectors) * dot.preparation
    cycles = operations / (dot.rate or target.fma_per_cycle)
    return max(cycles, (rows + vectors) / 2, _LATENCY) + 0.1 * rows


def _cycles(shape: Shape, blocking: Blocking, target: Target) -> float:
    """Time of a convolution in cycles: arithmetic, and the weights that stream in meanwhile."""
    rows, vectors = blocking.rows, blocking.vectors
    blocks, ranges = -(-shape.tiles // blocking.tiles), shape.filters // blocking.filters
    parts = -(-blocking.tiles // rows)
    step = step_cycles(rows, vectors, target)
    width = vectors * shape.lanes
    register_tiles = shape.positions * blocks * parts * shape.filters / width
    products = register_tiles * (shape.channels / 4 * step + 2 * rows * vectors + 20)
    read = shape.tiles * shape.channels / shape.wide * shape.positions * _READ
    written = shape.tiles * shape.filters / shape.lanes * shape.positions * _WRITTEN
    streamed = _streaming(shape, blocking, target)
    computing = products + read * ranges + written
    alone = _ALONE if shape.tasks(blocking) == 1 else 1.0
    return alone * (max(computing, streamed) + 0.3 * min(computing, streamed))


def _is_far(shape: Shape, target: Target) -> bool:
    """Whether the weights have no room in the second-level cache."""
    return shape.positions * shape.channels * shape.filters > target.l2_bytes / 2


def _streaming(shape: Shape, blocking: Blocking, target: Target) -> float:
    """Cycles to read the weights: once for each block of tiles, and once for each register tile beyond the
    first where a panel, all channels of one group at one position, does not stay in the first-level cache."""
    blocks, parts = -(-shape.tiles // blocking.tiles), -(-blocking.tiles // blocking.rows)
    read = shape.positions * shape.channels * shape.filters * blocks
    stays = shape.channels * blocking.vectors * shape.lanes <= target.l1_bytes / 3
    again = 0.0 if stays else read * (parts - 1) / _L2_RATE
    rate = target.far_gbps(read) / target.clock_ghz * _NEAR if _is_far(shape, target) else _L2_RATE
    return read / rate + again


_PARTS = (1, 2, 3, 4, 8, 16)  # of the tiles that fit
_AHEAD = 2048  # bytes between the weights in use and those asked for, where they come from far
_LATENCY = 5.0  # cycles of a dependent dot product
_READ = 5.5  # cycles for each position of a tile and vector of the input transform
_WRITTEN = 4.5  # and of the output transform
_L2_RATE = 32.0  # bytes per cycle
_NEAR = 2.0  # times the memory's bandwidth, as the third level holds some of the weights
_ALONE = 1.1  # what one task for all is worth avoiding: a second thread finds nothing to do


def _choices(shape: Shape, target: Target) -> Iterator[Blocking]:
    """Blockings that fit the cache, those of less workspace among them; where none does, the smallest."""
    blocks, dot = shape.filters // shape.lanes, dot_of(target)
    ahead = _AHEAD if _is_far(shape, target) else 0
    for vectors in [v for v in (1, 2, 4) if blocks % v == 0]:
        weights = vectors * dot.weight_registers + dot.element_registers
        most = max(1, (target.isa.vector_registers - weights) // vectors)
        tile_bytes = shape.positions * (shape.channels + 4 * vectors * shape.lanes)
        fitting = max(1, int(_SHARE * target.l2_bytes) // tile_bytes)
        sizes = {even_split(shape.tiles, max(1, min(fitting, shape.tiles // n)))[0] for n in _PARTS}
        for tiles in sizes:
            for ranges in [r for r in (1, 2, 4) if blocks // vectors % r == 0]:
                for rows in range(1, most + 1):
                    yield Blocking(up(tiles, rows), rows, vectors, shape.filters // ranges, ahead)


@lru_cache(maxsize=512)
def _costs(shape: Shape, target: Target) -> dict[Blocking, Cost]:
    """Of every blocking."""
    clock = target.clock_ghz * 1e9
    return {
        blocking: Cost(_cycles(shape, blocking, target) / clock + 3e-6, shape.workspace(blocking))
        for blocking in _choices(shape, target)
    }


@lru_cache(maxsize=512)
def choose_blocking(shape: Shape, target: Target, limit: int | None = None) -> Blocking:
    """The cheapest blocking of at most `limit` bytes of workspace."""
    return cheapest(_costs(shape, target), limit)


class LinearWinograd(Adjustable):
    """`q.winograd_conv` on NCHW16c."""

    name = "linear_winograd"
    operators = ("winograd_conv",)

    def applicable(self, op: Operator, target: Target) -> str | None:
        if any(constant_of(v) is None for v in op.operands[1:5]):
            return "needs constant weights"
        return None if op.result.type.elements else "empty tensors"

    def layouts(self, op: Operator, target: Target) -> tuple[Combination, ...]:
        layout = blocked(BLOCK)
        operands: list[Layout] = [layout, *[ROW_MAJOR] * 4, *[layout] * (len(op.operands) - 5)]
        return ((tuple(operands), blocked(_result_block(op, target))),)

    def _shape(self, op: Operator, target: Target) -> Shape:
        x, result = op.operands[0].type, op.result.type
        n, c, h, w = x.shape
        (tall, wide), pads = op["tile"], op["pads"]
        _, filters, out_height, out_width = result.shape
        sizes = (n, c, h, w, filters, out_height, out_width)
        block = _result_block(op, target)
        ending = requantization(op, 5, block)
        spec = WinogradSpec(*sizes, (tall, wide), pads, one_quant(x)[1], block, ending)
        return shape_of(spec, target)

    def costs(self, op: Operator, target: Target) -> tuple[Cost, ...]:
        costs = _costs(self._shape(op, target), target)
        limit = workspace_limit(op)
        return worth_offering(costs.values()) if limit is None else (costs[cheapest(costs, limit)],)

    def arguments(self, op: Operator, target: Target) -> tuple[Argument, ...]:
        shape = self._shape(op, target)
        blocking = choose_blocking(shape, target, workspace_limit(op))
        packed = pack(shape, blocking, target, *map(_constant, op.operands[1:5]))
        residual = map(Operand, range(5, len(op.operands)))
        return (Operand(0), *residual, *map(Constant, (*packed, result_parameters(op, 5))))

    def kernel(self, op: Operator, target: Target) -> Kernel:
        return self._kernel(op, target, PHASES)

    def products(self, op: Operator, target: Target) -> Kernel:
        """The matrix products alone, for measuring them; the results mean nothing."""
        return self._kernel(op, target, (PRODUCTS,))

    def _kernel(self, op: Operator, target: Target, phases: tuple[str, ...]) -> Kernel:
        shape = self._shape(op, target)
        blocking = choose_blocking(shape, target, workspace_limit(op))
        return kernel_of(shape, blocking, target, phases)


def kernel_of(shape: Shape, blocking: Blocking, target: Target, phases: tuple[str, ...] = PHASES) -> Kernel:
    """Those `phases` of every task."""
    key = KernelSpec(LinearWinograd.name, shape, (blocking, dot_of(target), phases), target.lanes)
    return Kernel(
        LinearWinograd.name,
        key,
        partial(_build, shape, blocking, target, phases),
        shape.tasks(blocking),
        shape.workspace(blocking),
    )


def _result_block(op: Operator, target: Target) -> int:
    return BLOCK if op.result.type.quant is not None else target.lanes


def _constant(value: Any) -> Array:
    array = constant_of(value)
    assert array is not None, "applicable() was not asked"
    return array


def pack(
    shape: Shape,
    blocking: Blocking,
    target: Target,
    weights: Array,
    factors: Array,
    scales: Array,
    bias: Array,
) -> tuple[Array, ...]:
    """(weights, start, scales, factors, bias): by group of filters, then position, then quad of channels.

    `start` holds -128 times the sum of a filter's weights, which the offset of the bytes adds.
    Weights follow the channels in the order in which the input transform packs them.
    """
    dot, positions = dot_of(target), shape.positions
    width = blocking.vectors * dot.lanes
    padded = np.zeros((positions, shape.filters, shape.channels), np.int8)
    padded[:, : weights.shape[1], : weights.shape[2]] = weights
    start = -128 * padded.sum(axis=2, dtype=np.int32)
    order = fixed_point(target, shape.channels).order()
    ordered = padded.reshape(positions, shape.filters, -1, len(order))[..., order]
    quads = ordered.reshape(positions, -1, blocking.vectors, dot.lanes, shape.channels // 4, 4)
    quads = dot.pack(np.ascontiguousarray(quads.transpose(1, 0, 4, 2, 3, 5)))
    real, fixed = np.zeros(start.shape, np.float32), np.zeros((positions, shape.channels), np.int16)
    real[:, : scales.shape[1]], fixed[:, : factors.shape[1]] = scales, factors
    ending = np.zeros(shape.filters, np.float32)
    ending[: bias.size] = bias
    return quads, _by_group(start, width), _by_group(real, width), fixed, ending


def _by_group(values: Array, width: int) -> Array:
    """(positions, filters) as (group, positions, width)."""
    split = values.reshape(values.shape[0], -1, width)
    return np.ascontiguousarray(split.transpose(1, 0, 2))


def _build(shape: Shape, blocking: Blocking, target: Target, phases: tuple[str, ...]) -> Any:
    from .int8_nest import Nest

    dot, fixed, ending = dot_of(target), fixed_point(target, shape.channels), shape.spec.ending
    residual = [("residual", "uint8")] if ending.residual else []
    constants = [("weights", "int8"), ("start", "int32"), ("scales", "float32"), ("factors", "int16")]
    constants += [("bias", "float32"), ("parameters", "float32")]
    pointers = [("data", "uint8"), *residual, *constants, ("output", ending.result)]

    def body(*args: Any) -> None:
        *named, begin, end = args
        buffers = dict(zip([*[name for name, _ in pointers], "workspace"], named, strict=True))
        last = Requantize(ending, dot.lanes, buffers["parameters"], residual=buffers.get("residual"))
        fused = target.isa.name != "sse"  # which would call a library
        nest = Nest(shape, blocking, dot, fixed, last, fused, buffers, phases)
        with T.serial(begin, end) as task:
            nest.task(task)

    return prim_func(pointers, body)


PRIMITIVES = (LinearWinograd(),)
