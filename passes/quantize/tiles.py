"""Ways to compute each convolution: how fast and how exact each is, and which one is taken.

A way is a Winograd tile, or the direct one with weights that leave room (`room.py`). That counts as a tile of
one output, or of as many as blocks of channels meet, which is how ways stand by their error.

A layer's SQNR compares what the integer operator makes of stored inputs, bias,
residual, limits and rounding to 8 bits included, with what the real operator
makes of the same inputs. It is measured on patches that the constants were not
chosen on.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from math import inf, prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from secateur.ir.choice import CostTable
from secateur.ir.errors import ModelError
from secateur.ir.graph import Graph, Operator, Value, constant_of
from secateur.ir.interpreter import evaluate
from secateur.ir.ops.linear import one_quant
from secateur.ir.registry import create
from secateur.ir.types import DType, TensorType

from ..winograd.room import PAIR, is_paired
from ..winograd.winograd import Form, Options, applicable, create_winograd, winograd_form
from ..winograd.words import may_end_in_words
from .insert import real_bias
from .measure import decibels, power
from .room import (
    UNSIGNED,
    Kind,
    Roomy,
    can_leave_room,
    create_roomy,
    empty_roomy,
    kinds,
    lone,
    roomy_form,
)
from .split import residual_of

Tile = tuple[int, int]
Array = NDArray[Any]

ROOMY: Tile = (1, 1)
"""The direct way with weights that leave room, of every kind: (1, 1), or (1, blocks) for signed bytes."""
TILES: dict[str, tuple[Tile, ...]] = {
    "auto": (ROOMY, (2, 2), (4, 2), (2, 4), (4, 4)),
    "off": (),
    "2": ((2, 2),),
    "4x2": ((4, 2),),
    "4": ((4, 4),),
    "lance": ((2, 2),),
}
PATCH = 16
"""Outputs of a patch, down and across."""


@dataclass(frozen=True, eq=False)
class Patches:
    """Corresponding parts of a convolution's input (already padded), residual, and real result."""

    x: NDArray[np.uint8]
    residual: NDArray[np.uint8] | None
    wanted: Array


Halves = tuple[Patches, Patches]


@dataclass(frozen=True, eq=False)
class Way:
    """One way to compute a layer: a tile (none: directly), seconds on one core, SQNR in dB."""

    tile: Tile | None
    seconds: float
    sqnr: float
    form: Form | Roomy | None = None


@dataclass(frozen=True, eq=False)
class Layer:
    """A `q.linear_conv` and the ways to compute it, the direct one first."""

    op: Operator
    ways: tuple[Way, ...]


def detached(op: Operator) -> Operator:
    """The operator on values of the same types that belong to no graph; constants keep their elements."""
    return create(op.name, [_detached_value(v) for v in op.operands], op.attributes, op.loc)


def _detached_value(value: Value) -> Value:
    array = constant_of(value)
    made = Value(value.type) if array is None else create("nn.constant", [], {"value": array}).result
    made.type, made.name = value.type, value.name
    return made


# Patches -------------------------------------------------------------------------------------------


def _real_operator(real: Operator, x: TensorType, residual: TensorType | None) -> Operator:
    """The real convolution on patches that hold their padding."""
    constants = detached(real).operands[1 : len(real.operands) - (residual is not None)]
    operands = [Value(x), *constants, *([Value(residual)] if residual is not None else [])]
    return create("nn.conv", operands, {**real.attributes, "pads": (0, 0, 0, 0)})


def _dequantized(array: Array, type: TensorType) -> Array:
    scale, zero = one_quant(type)
    return ((array.astype(np.int64) - zero) * scale).astype(np.float32)


def _cut(op: Operator, arrays: Sequence[Array], choose: np.random.Generator) -> list[Array]:
    """A patch of each image of the input, padded, and of the residual, at one place."""
    pads, (height, width) = op["pads"], op.result.type.shape[2:]
    spans = [d * (k - 1) + 1 for d, k in zip(op["dilations"], op.operands[1].type.shape[2:], strict=True)]
    zero = one_quant(op.operands[0].type)[1]
    edges = [(0, 0), (0, 0), (pads[0], pads[2]), (pads[1], pads[3])]
    x = np.pad(arrays[0], edges, constant_values=zero)
    tall, wide = min(height, PATCH), min(width, PATCH)
    i, j = (int(choose.integers(0, whole - part + 1)) for whole, part in ((height, tall), (width, wide)))
    rest = [r[:, :, i : i + tall, j : j + wide] for r in arrays[1:]]
    down, across = (
        slice(at * step, (at + size - 1) * step + span)
        for at, size, step, span in zip((i, j), (tall, wide), op["strides"], spans, strict=True)
    )
    return [x[:, :, down, across], *rest]


def cut_patches(op: Operator, real: Operator, images: Iterable[Sequence[Array]]) -> Patches:
    """One patch of each image (arrays of the input and the residual), and the real result on them."""
    choose = np.random.default_rng(0)
    parts = [_cut(op, arrays, choose) for arrays in images]
    stacked = [np.concatenate(column) for column in zip(*parts, strict=True)]
    x, residual = stacked[0], stacked[1] if len(stacked) > 1 else None
    floats = [_dequantized(a, op.operands[i].type) for a, i in zip(stacked, (0, 3), strict=False)]
    types = [TensorType(a.shape) for a in floats]
    bare = _real_operator(real, types[0], types[1] if len(types) > 1 else None)
    constants = [constant_of(v) for v in bare.operands]
    free = iter(floats)
    (wanted,) = evaluate(bare, [next(free) if c is None else c for c in constants])
    return Patches(x, residual, wanted)


def halves(op: Operator, real: Operator, images: Sequence[Sequence[Array]]) -> Halves:
    """Patches to choose constants on, and others to measure on; the same where there is only one image."""
    return cut_patches(op, real, images[::2]), cut_patches(op, real, images[1::2] or images)


# Measuring -----------------------------------------------------------------------------------------


def _byte_type(array: Array, like: TensorType) -> TensorType:
    return TensorType(array.shape, DType.U8, quant=like.quant)


def patch_sqnr(op: Operator, patches: Patches) -> float:
    """The SQNR of `op` (a q.linear_conv or q.winograd_conv) on patches, in dB."""
    last = 5 if op.name == "q.winograd_conv" else 3
    constants = detached(op).operands[1:last]
    operands = [Value(_byte_type(patches.x, op.operands[0].type)), *constants]
    arrays: list[Array] = [patches.x, *(c for v in constants if (c := constant_of(v)) is not None)]
    if patches.residual is not None:
        operands.append(Value(_byte_type(patches.residual, op.operands[last].type)))
        arrays.append(patches.residual)
    bare = create(op.name, operands, {**op.attributes, "pads": (0, 0, 0, 0)})
    (got,) = evaluate(bare, arrays)
    found = got if bare.result.type.quant is None else _dequantized(got, bare.result.type)
    return decibels(power(patches.wanted), power(found.astype(np.float64) - patches.wanted))


def seconds_of(op: Operator, costs: CostTable) -> float:
    """The cheapest choice for the operator; inf where the target has none."""
    try:
        return min(choice.seconds for choice in costs.choices(op))
    except ModelError:
        return float("inf")


def _uncorrected(op: Operator, real: Operator) -> Operator:
    """`op`, detached, with the real layer's bias: what rounding adds differs from way to way."""
    weights = op.operands[1].type.quant
    assert weights is not None, "the type rule wants quantized weights"
    unit = np.float64(one_quant(op.operands[0].type)[0]) * np.array(weights.scales)
    stored = np.clip(np.rint(real_bias(real) / unit), -(2**31), 2**31 - 1).astype(np.int32)
    bare = detached(op)
    bias = create("nn.constant", [], {"value": stored}).result
    return create(op.name, [*bare.operands[:2], bias, *bare.operands[3:]], op.attributes, op.loc)


def empty_form(op: Operator, tile: Tile, options: Options) -> Form:
    """Constants of the right shapes that hold next to nothing: enough to estimate a Winograd convolution."""
    (filters, channels), taps = op.operands[1].type.shape[:2], (tile[0] + 2) * (tile[1] + 2)
    weights = np.zeros((taps, filters, channels), np.int8)
    weights[0, 0] = lone(weights[0, 0], PAIR if options.paired and is_paired(channels) else 1)
    return Form(
        weights,
        np.ones((taps, channels), np.int16),
        np.ones((taps, filters), np.float32),
        np.zeros(filters, np.float32),
        13 if options.words and may_end_in_words(op) else 0,
    )


def fitting(op: Operator, tiles: Sequence[Tile]) -> list[Tile]:
    """Those of the tiles that the operator can be computed by."""
    if not can_leave_room(op):
        return []
    height, width = op.result.type.shape[2:]
    whole = applicable(op) is None
    roomy = [(1, kind.blocks or 1) for kind in kinds(op)] if ROOMY in tiles else []
    return [*roomy, *(t for t in tiles if t != ROOMY and whole and t[0] <= height and t[1] <= width)]


def is_roomy(tile: Tile) -> bool:
    """Whether it stands for the direct way."""
    return tile[0] == 1


def _kind(tile: Tile) -> Kind:
    return UNSIGNED if tile == ROOMY else Kind(tile[1])


def with_nothing(op: Operator, tile: Tile, options: Options) -> Way:
    """A way whose constants hold nothing: enough to estimate it."""
    form = empty_roomy(op, _kind(tile)) if is_roomy(tile) else empty_form(op, tile, options)
    return Way(tile, 0.0, inf, form)


def created(op: Operator, way: Way) -> list[Operator]:
    """Constants and the operator (last) that stands for the `q.linear_conv` `op`."""
    if isinstance(way.form, Roomy):
        return create_roomy(op, way.form)
    if way.form is None or way.tile is None:
        raise ValueError("the direct way is the operator itself")
    return create_winograd(op, way.form, way.tile)


def eligible(graph: Graph, real: Mapping[str, Operator]) -> Iterator[tuple[Operator, Operator]]:
    """The convolutions that have other ways, with the real ones by the name of the result."""
    for op in graph.operators:
        found = real.get(op.results[0].name) if can_leave_room(op) else None
        if found is not None and _alike(op, found):
            yield op, found


def _alike(op: Operator, real: Operator) -> bool:
    residuals = (len(op.operands) > 3, residual_of(real) is not None)
    return residuals[0] == residuals[1] and op.result.type.shape == real.result.type.shape


def captured(op: Operator) -> list[Value]:
    """The values whose arrays a layer's patches are cut from."""
    return [op.operands[0], *op.operands[3:]]


@dataclass(frozen=True, eq=False)
class Trial:
    """What is tried for a layer: tiles, how their constants are chosen, and what costs say.

    Where `forced`, a tile is taken although it is slower.
    """

    tiles: tuple[Tile, ...]
    options: Options
    costs: CostTable | None
    forced: bool = False
    known: dict[tuple[Operator, Tile | None], Way] = field(default_factory=dict)
    timed: dict[Operator, tuple[float, list[tuple[Tile, float]]]] = field(default_factory=dict)

    def time(self, op: Operator) -> None:
        """Asks costs for the direct way and for every tile; a table that measures does so one by one."""
        if op not in self.timed:
            tiles = fitting(op, self.tiles)
            empty = [(t, with_nothing(op, t, self.options)) for t in tiles]
            ways = [(t, self._seconds(created(op, way)[-1])) for t, way in empty]
            self.timed[op] = self._seconds(detached(op)), ways

    def worth(self, op: Operator) -> bool:
        """Whether the layer has other ways that are worth measuring; a 3x3 one's error is always measured."""
        self.time(op)
        direct, tiles = self.timed[op]
        return applicable(op) is None or bool(self._worth(tiles, direct))

    def layer(self, op: Operator, real: Operator, patches: Halves, least: float, thorough: bool) -> Layer:
        """The direct way, and tiles that are faster and leave the layer `least` dB: all, or the fastest."""
        bare, (fit, check) = _uncorrected(op, real), patches
        self.time(op)
        direct, tiles = self.timed[op]
        ways = [self._once(op, None, lambda: Way(None, direct, patch_sqnr(op, check)))]
        for tile, seconds in self._worth(tiles, direct):
            way = self._once(op, tile, partial(self._way, bare, real, tile, seconds, fit, check))
            if way.sqnr >= least:
                ways.append(way)
                if not thorough:
                    break
        return Layer(op, tuple(ways))

    def _once(self, op: Operator, tile: Tile | None, make: Callable[[], Way]) -> Way:
        if (op, tile) not in self.known:
            self.known[op, tile] = make()
        return self.known[op, tile]

    def _seconds(self, op: Operator) -> float:
        return seconds_of(op, self.costs) if self.costs is not None else 0.0

    def _worth(self, timed: Sequence[tuple[Tile, float]], direct: float) -> list[tuple[Tile, float]]:
        """Tiles that are faster than the direct way, the fastest first, with seconds.

        Only such as have fewer outputs than all faster ones: a larger tile is never more exact.
        """
        found: list[tuple[Tile, float]] = []
        for tile, seconds in sorted(timed, key=lambda pair: pair[1]):
            worth = seconds < direct or (self.forced and np.isfinite(seconds))
            if worth and all(prod(tile) < prod(faster) for faster, _ in found):
                found.append((tile, seconds))
        return found

    def _way(
        self, bare: Operator, real: Operator, tile: Tile, seconds: float, fit: Patches, check: Patches
    ) -> Way:
        """`bare` by a tile, constants chosen on one half of the patches, measured on the other."""
        weights = constant_of(real.operands[1])
        assert weights is not None, "a planned operator's weights are constant"
        form: Form | Roomy
        if is_roomy(tile):
            form = roomy_form(bare, weights, real_bias(real), fit.x, _kind(tile))
        else:
            form = winograd_form(bare, weights, tile, fit.x, self.options)
        way = Way(tile, seconds, inf, form)
        return replace(way, sqnr=patch_sqnr(created(detached(bare), way)[-1], check))

    def price(self, way: Way) -> float:
        """What is to be small: seconds; where tiles are forced, how many layers go without."""
        return float(way.tile is None) if self.forced else way.seconds


def noise(way: Way) -> float:
    """The share of a layer's power that is noise."""
    return float(10 ** (-way.sqnr / 10))


def with_tiles(graph: Graph, ways: Mapping[Operator, Way]) -> Graph:
    """A copy of `graph` in which the chosen forms stand in place of its convolutions."""
    tiled = {op: partial(created, way=way) for op, way in ways.items() if way.tile is not None}
    return with_forms(graph, tiled)


def with_forms(graph: Graph, makers: Mapping[Operator, Callable[[Operator], Sequence[Operator]]]) -> Graph:
    """A copy of `graph` in which what `makers` create, the result last, stands for their operators."""
    copy = graph.clone()
    for op, twin in zip(graph.operators, list(copy.operators), strict=True):
        if op in makers:
            made = makers[op](twin)
            copy.insert_before(twin, made)
            copy.replace_value(twin.result, made[-1].result)
            copy.erase(twin)
    copy.remove_dead()
    return copy
