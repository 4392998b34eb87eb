"""Convolution quantized in the Winograd domain, one fused kernel per block of tiles.

The input transform with its quantization writes a matrix of bytes for each position; one group of filters
after another then goes through the products and the output transform with requantization.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np

from secateur.codegen.kernel import Kernel
from secateur.codegen.targets.target import Target
from secateur.codegen.vector.across import Across, across
from secateur.codegen.vector.dot import Dot, dot_of, is_full
from secateur.codegen.vector.fixed_point import fixed_point
from secateur.codegen.vector.requantize import (
    BLOCK,
    narrowed,
    of_residual,
    requantization,
    result_parameters,
)
from secateur.codegen.vector.saturating import saturating
from secateur.ir.filters import byte_matrix
from secateur.ir.graph import Operator
from secateur.ir.ops.linear import WORDS, one_quant
from secateur.ir.reference.winograd import domain_weights
from secateur.ir.reference.words import columns_fit, word_factors
from secateur.ir.support.room import Room, domain_room
from secateur.ir.types import ROW_MAJOR, Layout, blocked

from ....rounding import up
from ....weights.origin import Bytes, Origin, places_of
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
from ...remembered import remembered
from ..int8_spec import LinearSpec
from ..plan import cheapest, largest_part, worth_offering
from ..rows_of_bytes import bytes_by
from ..sums_of_channels import SumsOfChannels
from .arithmetic import ByteArithmetic
from .nest import PHASES, PRODUCTS, kernel_of
from .plan import Blocking, Shape, costs, far_gbps
from .words import WordArithmetic, packed_bias, packed_parameters

_SHARE = 0.6  # of the second-level cache for what a task keeps
_PARTS = (1, 2, 3, 4, 8, 16)  # of the tiles that fit
_AHEAD = 2048  # bytes between the weights in use and those asked for, where they come from far
_READ = 5.5  # cycles for each position of a tile and vector of the input transform
_WRITTEN = 4.5  # and of the output transform
_WORDS_WRITTEN = 3.0  # the same, of words
_L2_RATE = 32.0  # bytes per cycle
_NEAR = 2.0  # times the memory's bandwidth, as the third level holds some of the weights
_LONG = 64  # channels from which on sums of channels pay without room
_ALONE = 1.1  # what one task for all is worth avoiding: a second thread finds nothing to do


class ByteShape(Shape[ByteArithmetic]):
    """Of bytes."""

    def cycles(self, blocking: Any, target: Target) -> Any:
        arithmetic = self.arithmetic
        products = (
            self.positions * self.filters / self.width(blocking) * self._register_tiles(blocking, target)
        )
        read = self.tiles * self.channels / arithmetic.wide * self.positions * _READ
        vectors = self.tiles * self.filters / arithmetic.result_lanes
        written = vectors * self.positions * (_WRITTEN if arithmetic.sums == "float32" else _WORDS_WRITTEN)
        streamed = self._streaming(blocking, target)
        computing = products * self.used(blocking.rows) + read * self.ranges(blocking) + written
        alone = np.where(self.tasks(blocking) == 1, _ALONE, 1.0)
        return alone * (np.maximum(computing, streamed) + 0.3 * np.minimum(computing, streamed))

    def _register_tiles(self, blocking: Any, target: Target) -> Any:
        """Cycles of all those of a position and group of filters."""
        rows, vectors, products = blocking.rows, blocking.vectors, self.arithmetic.products

        def each(tiles: Any) -> Any:
            step = self.step_cycles(tiles, vectors, target)
            ending = tiles * vectors * (2 + products.closing) + 20
            return self.channels / products.step * step + ending

        if not self.arithmetic.rests:
            return self.blocks(blocking) * -(-blocking.tiles // rows) * each(rows)
        rest = self.tiles % rows
        return self.tiles // rows * each(rows) + np.where(rest > 0, each(rest), 0.0)

    def _streaming(self, blocking: Any, target: Target) -> Any:
        """Cycles to read the weights: once for each block of tiles, and once for each register tile beyond
        the first where a panel, all channels of one group at one position, does not stay in the first-level
        cache."""
        parts = -(-blocking.tiles // blocking.rows)
        read = self.positions * self.channels * self.filters * self.blocks(blocking)
        stays = self.channels * self.width(blocking) <= target.l1_bytes / 3
        again = np.where(stays, 0.0, read * (parts - 1) / _L2_RATE)
        far = far_gbps(read, target) / target.clock_ghz * _NEAR
        return read / (far if self._is_far(target) else _L2_RATE) + again

    def _is_far(self, target: Target) -> bool:
        """Whether the weights have no room in the second-level cache."""
        return self.positions * self.channels * self.filters > target.l2_bytes / 2

    def blockings(self, target: Target) -> Iterator[Blocking]:
        blocks, dot = self.filters // self.lanes, self.arithmetic.products.dot
        ahead = _AHEAD if self._is_far(target) else 0
        for vectors in [v for v in (1, 2, 4) if blocks % v == 0]:
            most = self._most_rows(dot, vectors, target.isa.vector_registers)
            tile_bytes = self.positions * (self.channels + 4 * vectors * self.lanes)
            fitting = max(1, int(_SHARE * target.l2_bytes) // tile_bytes)
            sizes = {largest_part(self.tiles, max(1, min(fitting, self.tiles // n))) for n in _PARTS}
            for tiles in sizes:
                for ranges in [r for r in (1, 2, 4) if blocks // vectors % r == 0]:
                    filters = self.filters // ranges
                    if filters % self.arithmetic.result_lanes:
                        continue
                    for rows in range(1, most + 1):
                        yield Blocking(up(tiles, rows), rows, vectors, self.channels, filters, ahead)

    def _most_rows(self, dot: Dot, vectors: int, registers: int) -> int:
        """Tiles of a register tile."""
        if dot.quads > 1:
            return self.arithmetic.products.tile_pixels(registers, vectors)
        weights = vectors * dot.weight_registers + dot.element_registers
        return max(1, (registers - weights) // vectors)


def shape_of(
    spec: LinearSpec,
    tile: tuple[int, int],
    zero_point: int,
    target: Target,
    words: tuple[int, bool] | None = None,
) -> ByteShape:
    """Results are in `words` of sums that are shifted by so many bits, down a column limited or not."""
    dot, fixed = dot_of(target, full=spec.full), fixed_point(target, up(spec.channels, BLOCK))
    products, signed = bytes_by(dot.of_centred(), target), dot.offset > 0
    if not spec.full and (summed := _across(spec, target)):
        products = SumsOfChannels(target.lanes, summed)
    given = products, zero_point, fixed, target.isa.fused, signed
    if words is None:
        return ByteShape(spec, tile, ByteArithmetic(*given))
    return ByteShape(spec, tile, WordArithmetic(*given, tile, *words, saturating(target)))


def _across(spec: LinearSpec, target: Target) -> Across | None:
    """Where a sum of channels is long enough for what adds it up."""
    channels = up(spec.channels, BLOCK)
    if spec.room.signed < 2 and channels < _LONG:
        return None
    found = across(target, max(1, spec.room.signed))
    return found.of_centred() if found else None


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

    def shape(self, op: Operator, target: Target) -> ByteShape:
        x, block = op.operands[0].type, _result_block(op, target)
        n, c, height, width = x.shape
        ending = of_residual(narrowed(requantization(op, 5, block), op, target), op, 5)
        ending = replace(
            ending, limited=ending.limited or (op["results"] == WORDS and op["limits"] != (0, 255))
        )
        spec = LinearSpec(
            n, c, height, width, op.result.type.shape[1], (3, 3), pads=op["pads"], in_layout=f"NCHW{BLOCK}c",
            out_layout=f"NCHW{block}c", bias=True, ending=ending,
            full=target.isa.dot.full is not None and _given_full(_constant(op.operands[1])),
            room=_room(op, target),
        )  # fmt: skip
        return shape_of(spec, op["tile"], one_quant(x)[1], target, _words(op))

    def blocking(self, op: Operator, target: Target) -> Blocking:
        """The cheapest within the limit on workspace."""
        return cheapest(costs(self.shape(op, target), target), workspace_limit(op))

    def tiling(self, op: Operator, target: Target) -> Mapping[str, str]:
        tile = {"tile of Winograd": f"F({'x'.join(map(str, op['tile']))}, 3x3)"}
        return {**super().tiling(op, target), **tile, **self.blocking(op, target).words}

    def costs(self, op: Operator, target: Target) -> tuple[Cost, ...]:
        found = costs(self.shape(op, target), target)
        limit = workspace_limit(op)
        return worth_offering(found.values()) if limit is None else (found[cheapest(found, limit)],)

    def arguments(self, op: Operator, target: Target) -> tuple[Argument, ...]:
        weights, factors, scales, bias = map(_constant, op.operands[1:5])
        domain = domain_weights(op, weights, factors, scales)
        shape, blocking = self.shape(op, target), self.blocking(op, target)
        given = Operand(0), *map(Operand, range(5, len(op.operands)))
        if op["results"] == WORDS:
            numbers = word_factors(domain[1], op["factor_bits"]).numbers
            weights, start, scales, fixed, _ = pack(shape, blocking, domain[0], factors, numbers, bias)
            ending = packed_bias(op, bias), packed_parameters(op)
            return (*given, *map(Constant, (weights, start, scales, fixed, *ending)))
        packed = pack(shape, blocking, domain[0], factors, domain[1], bias)
        return (*given, *map(Constant, (*packed, result_parameters(op, 5))))

    def origin(self, op: Operator, target: Target) -> Origin | None:
        filters = _constant(op.operands[1])
        if filters.ndim != 4:
            return None
        shape, blocking, (tall, wide) = self.shape(op, target), self.blocking(op, target), op["tile"]
        places = places_of(partial(_arranged, shape, blocking), _extents(shape))
        more = Bytes(_constant(op.operands[3]), shape.width(blocking), shape.channels)
        matrices, first = (byte_matrix(tall), byte_matrix(wide)), len(op.operands) - 4
        starts = () if shape.arithmetic.signed else (first + 1,)
        return Origin(filters, *matrices, places, (first, *starts, first + 2), more, first + 3)

    def kernel(self, op: Operator, target: Target, phases: tuple[str, ...] = PHASES) -> Kernel:
        return kernel_of(self.name, self.shape(op, target), self.blocking(op, target), phases)

    def products(self, op: Operator, target: Target) -> Kernel:
        """The matrix products alone, for measuring them; the results mean nothing."""
        return self.kernel(op, target, (PRODUCTS,))


def _words(op: Operator) -> tuple[int, bool] | None:
    """The shift of results in words, and whether sums down a column must be limited."""
    if op["results"] != WORDS:
        return None
    factors = word_factors(_constant(op.operands[3]), op["factor_bits"])
    return factors.shift, not columns_fit(factors.numbers, op["tile"])


def _given_full(weights: Array) -> bool:
    """Whether weights in the Winograd domain may be -128: those that are made of filters are not."""
    return weights.ndim == 3 and is_full(weights)


def _room(op: Operator, target: Target) -> Room:
    """Of weights in the Winograd domain, as kernels of the target take it."""
    weights = _constant(op.operands[1])
    if weights.ndim != 3 or across(target, 1) is None:
        return Room()
    return Room(signed=_room_of(weights).signed)


_room_of = remembered(domain_room)


def _result_block(op: Operator, target: Target) -> int:
    return BLOCK if op.result.type.quant is not None else target.lanes


def _constant(value: Any) -> Array:
    array = constant_of(value)
    assert array is not None, "applicable() was not asked"
    return array


def pack(
    shape: ByteShape, blocking: Blocking, weights: Array, factors: Array, scales: Array, bias: Array
) -> tuple[Array, ...]:
    """(weights, start, scales, factors, bias): by group of filters, then position, then quad of channels.

    `start` holds -128 times the sum of a filter's weights, which the offset of unsigned bytes adds.
    Weights follow the channels in the order in which the input transform packs them.
    """
    positions, width = shape.positions, shape.width(blocking)
    padded = np.zeros(_extents(shape), np.int8)
    padded[:, : weights.shape[1], : weights.shape[2]] = weights
    start = (0 if shape.arithmetic.signed else -128) * padded.sum(axis=2, dtype=np.int32)
    quads = _arranged(shape, blocking, padded)
    real, fixed = np.zeros(start.shape, scales.dtype), np.zeros((positions, shape.channels), np.int16)
    real[:, : scales.shape[1]], fixed[:, : factors.shape[1]] = scales, factors
    ending = np.zeros(shape.filters, np.float32)
    ending[: bias.size] = bias
    return quads, _by_group(start, width), _by_group(real, width), fixed, ending


def _extents(shape: ByteShape) -> tuple[int, int, int]:
    return shape.positions, shape.filters, shape.channels


def _arranged(shape: ByteShape, blocking: Blocking, padded: Array) -> Array:
    """(positions, filters, channels) as `pack` orders them."""
    dot, order = shape.arithmetic.products.dot, shape.arithmetic.fixed.order()
    ordered = padded.reshape(shape.positions, shape.filters, -1, len(order))[..., order]
    step = shape.arithmetic.products.step
    quads = ordered.reshape(shape.positions, -1, blocking.vectors, dot.lanes, shape.channels // step, step)
    return dot.pack(np.ascontiguousarray(quads.transpose(1, 0, 4, 2, 3, 5)))


def _by_group(values: Array, width: int) -> Array:
    """(positions, filters) as (group, positions, width)."""
    split = values.reshape(values.shape[0], -1, width)
    return np.ascontiguousarray(split.transpose(1, 0, 2))


PRIMITIVES = (LinearWinograd(),)
