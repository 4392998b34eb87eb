"""Winograd tiles of files: which 3x3 layers become the operators that stand for a tile (`tflite/tiles.py`).

A layer takes the tile where the machine's model says that it is faster so, and its own SQNR stays above the
limit of layers. Limits on the whole network take tiles away again, the noisiest first.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial

import numpy as np

from secateur.ir.choice import Estimates
from secateur.ir.graph import Graph, Operator, constant_of
from secateur.ir.interpreter import run
from secateur.ir.registry import create
from secateur.ir.types import DType, TensorType

from ..tflite.tiles import TAPS, Form, create_tiles, fits, tile_form
from ..winograd.winograd import applicable
from .insert import real_bias
from .measure import decibels, power
from .report import Tiled, dequantized
from .search import smallest_that_passes
from .tiles import Halves, Patches, detached, eligible, patch_sqnr, with_forms


@dataclass(frozen=True, eq=False)
class FileTile:
    """A 3x3 layer, what was found of it, and the tile's constants where it was tried."""

    op: Operator
    row: Tiled
    form: Form | None = None


def layers_of(graph: Graph, real: dict[str, Operator], times: Estimates) -> Iterator[FileTile]:
    """The 3x3 layers of a quantized graph, with both times."""
    for op, _ in eligible(graph, real):
        if applicable(op) is None and fits(op):
            yield FileTile(op, Tiled(op.loc or op.result.name, *_seconds(graph, op, times)))


def _seconds(graph: Graph, op: Operator, times: Estimates) -> tuple[float, float]:
    """Of the operator, and of those that stand for a tile; the constants' values do not matter.

    Weights stay on the machine where those of the whole network do, with this layer as it is or as a tile.
    """
    bare = detached(op)
    made, others = create_tiles(bare, empty_form(op)), _weights(graph.operators) - _weights([bare])
    ways = ([bare], made)
    streams = [not times.holds(others + _weights(way)) for way in ways]
    direct, tile = (sum(times.seconds(o, late) for o in way) for way, late in zip(ways, streams, strict=True))
    return direct, tile


def _weights(operators: Iterable[Operator]) -> int:
    """The bytes of what the operators multiply by."""
    found = {v for op in operators for v in op.operands if v.is_constant}
    return sum(value.type.bytes for value in found)


def empty_form(op: Operator) -> Form:
    """Constants of the right shapes that hold nothing: enough to estimate them."""
    filters, channels = op.operands[1].type.shape[:2]
    return Form(
        np.ones((TAPS, channels)),
        np.zeros((TAPS, filters, channels), np.int8),
        np.ones((TAPS, filters)),
        np.ones((TAPS, filters), np.int8),
        np.ones(filters),
        np.zeros(filters),
    )


def tried(tile: FileTile, real: Operator, patches: Halves, least: float) -> FileTile:
    """The layer with constants chosen on one half of its patches, measured on the other."""
    weights = constant_of(real.operands[1])
    assert weights is not None, "a planned operator's weights are constant"
    fit, check = patches
    form = tile_form(detached(tile.op), weights, real_bias(real), fit.x)
    sqnr = tile_sqnr(tile.op, form, check)
    row = replace(tile.row, sqnr=patch_sqnr(tile.op, check), tile_sqnr=sqnr, taken=sqnr >= least)
    return replace(tile, row=row, form=form)


def tile_sqnr(op: Operator, form: Form, patches: Patches) -> float:
    """The SQNR of the operators that stand for a tile, on patches that hold their padding."""
    quant = op.operands[0].type.quant
    graph = Graph("tile")
    x = graph.add_input(TensorType(patches.x.shape, DType.U8, quant=quant), "x")
    bare = create(op.name, [x, *detached(op).operands[1:3]], {**op.attributes, "pads": (0, 0, 0, 0)}, op.loc)
    for made in create_tiles(bare, form):
        graph.append(made)
    graph.set_outputs([graph.operators[-1].result], ["y"])
    got = dequantized(run(graph, {"x": patches.x})["y"], op.result.type)
    return decibels(power(patches.wanted), power(got - patches.wanted))


def with_file_tiles(graph: Graph, tiles: Sequence[FileTile]) -> Graph:
    """A copy of `graph` in which tiles stand in place of the layers that take them."""
    taken = [(tile.op, tile.form) for tile in tiles if tile.row.taken]
    makers = {op: partial(create_tiles, form=form) for op, form in taken if form is not None}
    return with_forms(graph, makers)


def within(tiles: Sequence[FileTile], passes: Callable[[Sequence[FileTile]], bool]) -> list[FileTile]:
    """As many tiles as `passes` allows: the noisiest go first."""
    order = sorted((t for t in tiles if t.row.taken), key=lambda t: t.row.tile_sqnr or 0.0)
    count = smallest_that_passes(len(order), lambda n: n == len(order) or passes(_without(tiles, order[:n])))
    assert count is not None, "all of them may go"
    return _without(tiles, order[:count])


def _without(tiles: Sequence[FileTile], less: Sequence[FileTile]) -> list[FileTile]:
    gone = {tile.op for tile in less}
    return [replace(t, row=replace(t.row, taken=t.row.taken and t.op not in gone)) for t in tiles]
