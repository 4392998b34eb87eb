"""Convolution of bytes by Winograd in whole numbers: the bits of the direct sums, without noise."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields, replace
from functools import cached_property, lru_cache, partial
from typing import Any, Self

import numpy as np

from secateur.codegen.kernel import Kernel
from secateur.codegen.targets.target import Target
from secateur.codegen.vector.requantize import BLOCK
from secateur.codegen.vector.words import word_step
from secateur.ir.graph import Operator
from secateur.ir.ops.linear import one_quant

from ....rounding import up
from ....weights.origin import Origin, places_of
from ...operator import Array, Cost, constant_of
from ...remembered import remembered
from ...specs import Floats
from ..int8_spec import FEW, LinearSpec, starts
from ..linear_operators import PlainConvolution
from ..plan import largest_part
from ..planned import Planned
from .exact_arithmetic import ExactArithmetic, ExactFew, Int16
from .integers import INTEGERS, Ends, largest_sum, transformed
from .nest import kernel_of
from .phases import phased
from .plan import Blocking, Shape, costs, far_gbps

_largest_sum = remembered(largest_sum)
_SHARE = 0.6  # of the second-level cache for what a task keeps
_PARTS = (1, 2, 4, 8, 16)  # of the tiles that fit
_AHEAD = 2048  # elements between the weights in use and those asked for, where they come from far
_L2_RATE = 32.0  # bytes per cycle
_ALONE = 1.1  # what one task for all is worth avoiding: a second thread finds nothing to do
_ISSUED = 1.6  # vector instructions other than multiply-adds for each of these that a core does in a cycle
_READ, _WRITTEN = {2: 4, 3: 17, 4: 17}, {2: 4, 3: 10, 4: 13}  # instructions of a column of the transforms
_END = 7  # of an element of the result, from its sum to its byte


@dataclass(frozen=True)
class ExactSpec(LinearSpec):
    """Padding is read as the zero point, which is part of the code."""

    zero_point: int = 0

    def costed(self) -> Self:
        return replace(super().costed(), zero_point=0)


class ExactShape(Shape[ExactArithmetic]):
    """Of int16 between bytes."""

    @cached_property
    def filters(self) -> int:
        """Without vectors of none, whose results `ExactEnding` clears."""
        return self.spec.filter_groups(self.lanes, 1) * self.lanes

    @property
    def stored(self) -> int:
        return self.filters

    @property
    def multiplied(self) -> int:
        """Without steps of channels that are none."""
        if self.scattered:
            return self.channels
        step = self.arithmetic.products.step * self.arithmetic.unroll
        return min(self.channels, up(self.spec.channels, step))

    def cycles(self, blocking: Any, target: Target) -> Any:
        rows, vectors, arithmetic = blocking.rows, blocking.vectors, self.arithmetic
        parts, step = -(-blocking.tiles // rows), self.step_cycles(rows, vectors, target)
        groups = self.ranges(blocking) * blocking.filters / self.width(blocking)
        register_tiles = self.positions * self.blocks(blocking) * parts * groups
        products = register_tiles * (self.multiplied / arithmetic.products.step * step + rows * vectors + 20)
        issued = _ISSUED * target.fma_per_cycle
        read = self.tiles * -(-self.multiplied // arithmetic.wide) * self._reading / issued
        written = self.tiles * self.filters / self.lanes * self._writing / issued
        streamed = self._streaming(blocking, target)
        computing = products * self.used(blocking.rows) + read * self.ranges(blocking) + written
        alone = np.where(self.tasks(blocking) == 1, _ALONE, 1.0)
        return alone * (np.maximum(computing, streamed) + 0.3 * np.minimum(computing, streamed))

    @property
    def _reading(self) -> int:
        """Instructions to transform a tile of the input: steps, loads, stores, and some on the stack."""
        (tall, wide), (high, broad) = self.tile, self.extent
        return 4 * self.positions + broad * _READ[tall] + high * _READ[wide]

    @property
    def _writing(self) -> int:
        (tall, wide), broad = self.tile, self.extent[1]
        return 2 * self.positions + broad * _WRITTEN[tall] + tall * _WRITTEN[wide] + tall * wide * _END

    def _streaming(self, blocking: Any, target: Target) -> Any:
        """Cycles to read the weights: once for each block of tiles, and once for each register tile beyond
        the first where a panel, all channels of one group at one position, does not stay in the first-level
        cache."""
        parts = -(-blocking.tiles // blocking.rows)
        read = self.weight_bytes * self.blocks(blocking)
        stays = 2 * self.channels * self.width(blocking) <= target.l1_bytes / 2
        again = np.where(stays, 0.0, read * (parts - 1) / _L2_RATE)
        far = far_gbps(read, target) / target.clock_ghz
        return read / (far if self._is_far(target) else _L2_RATE) + again

    @property
    def weight_bytes(self) -> int:
        return 2 * self.positions * self.channels * self.filters

    def _is_far(self, target: Target) -> bool:
        """Whether the weights have no room in the second-level cache."""
        return self.weight_bytes > target.l2_bytes / 2

    def blockings(self, target: Target) -> Iterator[Blocking]:
        products = self.arithmetic.products
        ahead = _AHEAD if self._is_far(target) else 0
        for vectors in self.spec.tile_vectors(self.lanes):
            groups = self.spec.filter_groups(self.lanes, vectors)
            most = products.tile_pixels(target.isa.vector_registers, vectors)
            tile_bytes = self.positions * (2 * self.channels + 4 * vectors * self.lanes)
            fitting = max(1, int(_SHARE * target.l2_bytes) // tile_bytes)
            sizes = {largest_part(self.tiles, max(1, min(fitting, self.tiles // n))) for n in _PARTS}
            for tiles in sizes:
                for ranges in [r for r in (1, 2, 4) if groups % r == 0]:
                    for rows in range(max(1, most // 2), most + 1):
                        filters = groups // ranges * vectors * self.lanes
                        yield Blocking(up(tiles, rows), rows, vectors, self.channels, filters, ahead)


@dataclass(frozen=True)
class ExactWinograd(Planned[ExactSpec, Blocking]):
    """F(tile, 3x3), down and across: 3x3 kernels, stride 1, one group."""

    name: str
    tile: tuple[int, int]

    def refusal(self, spec: ExactSpec) -> str | None:
        """Why the tile is none of this convolution, or None."""
        if spec.kernel != (3, 3) or spec.strides != (1, 1) or spec.dilations != (1, 1):
            return f"kernel {spec.kernel}, strides {spec.strides}, dilations {spec.dilations}"
        return None

    def applicable(self, spec: ExactSpec, target: Target) -> str | None:
        if refused := self.refusal(spec):
            return refused
        if word_step(target) is None:
            return f"{target.name} multiplies bytes faster than words"
        return super().applicable(spec, target)

    def layouts(self, spec: ExactSpec, target: Target) -> tuple[tuple[str, str], ...]:
        return (spec.blocked_layouts(target),)

    def plans(self, spec: ExactSpec, target: Target) -> Mapping[Blocking, Cost]:
        return _plans(self, spec.costed(), target)

    def plan_words(self, plan: Blocking) -> dict[str, str]:
        taps = "x".join(str(INTEGERS[outputs].taps) for outputs in self.tile)
        return {"tile of Winograd": f"F({'x'.join(map(str, self.tile))}, {taps}), exact", **plan.words}

    def pack(self, spec: ExactSpec, target: Target, weights: Array, bias: Floats | None) -> tuple[Array, ...]:
        """G g G^T by group of filters, then position, then step of channels."""
        shape, plan = self.shape(spec, target), self.plan(spec, target)
        padded = np.zeros(_extents(shape, plan), np.int16)
        spread = transformed(phased(weights, shape), self.tile)
        padded[:, : spec.filters, : spread.shape[1]] = spread.swapaxes(1, 2)
        return (_arranged(shape, plan, padded),)

    def origin(self, spec: ExactSpec, target: Target, weights: Array) -> Origin:
        """Of the weights, wherever among the kernel's arguments they are; of strides, each phase's kernels.

        Kernels may read no weights of channels that are none.
        """
        shape, plan = self.shape(spec, target), self.plan(spec, target)
        extents, arrange = _extents(shape, plan), partial(_arranged, shape, plan)
        numbers = np.broadcast_to(np.arange(shape.channels), extents)
        read = np.flatnonzero(np.bincount(arrange(numbers).reshape(-1)))
        places, filters = places_of(arrange, extents, read), phased(weights, shape)
        down, across = (tuple(tuple(map(float, row)) for row in INTEGERS[m].g) for m in self.tile)
        return Origin(filters[:, read[read < filters.shape[1]]], down, across, places)

    def kernel(self, spec: ExactSpec, target: Target) -> Kernel:
        made = kernel_of(self.name, self.shape(spec, target), self.plan(spec, target))
        return replace(made, wraps=True)

    def shape(self, spec: ExactSpec, target: Target) -> ExactShape:
        wide = max(w for w in (8, 16, 32) if w <= 2 * target.lanes and up(spec.channels, BLOCK) % w == 0)
        return self.shaped(spec, target, ExactArithmetic, wide)

    def shaped(
        self, spec: ExactSpec, target: Target, arithmetic: type[ExactArithmetic], wide: int
    ) -> ExactShape:
        """With an arithmetic that transforms so many channels at once."""
        few = spec.in_layout == spec.few_channels_layout()
        words = word_step(target, spec.channels) if few else word_step(target)
        assert words is not None, "applicable() was not asked"
        if wide == words.channels:  # one step has them all
            words = replace(words, at_once=1)
        fixed = target.isa.narrowing.fixed if target.isa.narrowing else ""
        products = Int16(target.lanes, words)
        made = arithmetic(products, spec.zero_point, wide, Ends(self.tile), fixed)
        return ExactShape(replace(spec, workspace_limit=None), self.tile, made)


class ExactImage(ExactWinograd):
    """Of an image of few channels, where a vector of sums is as long as a pixel of them."""

    def refusal(self, spec: ExactSpec) -> str | None:
        return super().refusal(spec) or (f"{spec.channels} channels" if spec.channels > FEW else None)

    def applicable(self, spec: ExactSpec, target: Target) -> str | None:
        return super().applicable(spec, target) or (f"{target.lanes} lanes" if target.lanes != FEW else None)

    def layouts(self, spec: ExactSpec, target: Target) -> tuple[tuple[str, str], ...]:
        return ((spec.few_channels_layout(), spec.blocked_layouts(target)[1]),)

    def shape(self, spec: ExactSpec, target: Target) -> ExactShape:
        return self.shaped(spec, target, ExactArithmetic, FEW)


class ExactStem(ExactWinograd):
    """F(3x3, 4x4) of the four phases of 7x7 and 8x8 kernels at stride 2, of an image of few channels."""

    def refusal(self, spec: ExactSpec) -> str | None:
        if spec.strides != (2, 2) or spec.dilations != (1, 1) or not {*spec.kernel} <= {7, 8}:
            return f"kernel {spec.kernel}, strides {spec.strides}, dilations {spec.dilations}"
        return f"{spec.channels} channels" if spec.channels > FEW else None

    def layouts(self, spec: ExactSpec, target: Target) -> tuple[tuple[str, str], ...]:
        return ((spec.few_channels_layout(), spec.blocked_layouts(target)[1]),)

    def shape(self, spec: ExactSpec, target: Target) -> ExactShape:
        return self.shaped(spec, target, ExactFew, 2 * FEW)


@lru_cache(maxsize=512)
def _plans(primitive: ExactWinograd, spec: ExactSpec, target: Target) -> Mapping[Blocking, Cost]:
    return costs(primitive.shape(spec, target), target)


class ExactConvolution(PlainConvolution):
    """A `q.linear_conv` whose sums have room in the ring that `integers.py` describes."""

    def refusal(self, op: Operator) -> str | None:
        weights, bias = map(constant_of, op.operands[1:3])
        refused = super().refusal(op)
        if refused or weights is None or bias is None:
            return refused
        largest = _largest_sum(weights, one_quant(op.operands[0].type)[1]) + int(
            np.abs(bias.astype(np.int64)).max()
        )
        limit = Ends(self.primitive.tile).limit
        return f"sums up to {largest}, of which less than {limit} are exact" if largest >= limit else None

    def spec(self, op: Operator) -> ExactSpec:
        found = super().spec(op).unbordered()
        given = {field.name: getattr(found, field.name) for field in fields(found)}
        return ExactSpec(**{**given, "bias": True}, zero_point=one_quant(op.operands[0].type)[1])

    def offset(self, spec: LinearSpec, target: Target) -> int:
        """Bytes are read as they are."""
        return 0

    def starts(self, spec: LinearSpec, weights: Array, bias: Array, zero_point: int) -> Array:
        """The biases as one product takes them: inputs are less their zero point."""
        return starts(spec, weights, bias, 0) * np.int32(Ends(self.primitive.tile).shared)

    def origin(self, op: Operator, target: Target) -> Origin | None:
        spec, weights = self.on(op, target), constant_of(op.operands[1])
        assert weights is not None, "applicable() was not asked"
        found: Origin = self.primitive.origin(spec, target, weights)
        return replace(found, made=(1 + bool(spec.ending.residual),))


def _extents(shape: ExactShape, plan: Blocking) -> tuple[int, int, int]:
    return shape.positions, shape.ranges(plan) * plan.filters, shape.channels


def _arranged(shape: ExactShape, plan: Blocking, padded: Array) -> Array:
    """(positions, filters, channels) as `pack` orders them."""
    split = padded.reshape(shape.positions, -1, shape.width(plan), shape.channels)
    return shape.arithmetic.products.pack_words(split.transpose(1, 0, 3, 2))


_TILES = ((2, 2), (4, 2), (2, 4), (4, 4))
EXACT_STEM = ExactStem("exact_strided_winograd", (3, 3))
EXACT_IMAGE = ExactImage("exact_image_winograd", (4, 4))
EXACT = tuple(ExactWinograd(f"exact_winograd{m}x{n}", (m, n)) for m, n in _TILES)
