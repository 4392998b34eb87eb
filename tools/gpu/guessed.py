"""Networks in 8 bits whose kernels are to be timed: quantized on a guess of their values, and never run.

Which range a value has and how well weights are rounded changes no kernel. What is guessed repeats as the
network's filters do, so that what is stored can be packed.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from math import inf
from typing import Any

import numpy as np
from numpy.typing import NDArray

from secateur.codegen.backends.registry import backend_of
from secateur.codegen.targets.find import find
from secateur.ir.graph import Graph, Operator, Value, constant_of
from secateur.options import Int8
from secateur.passes.framework.manager import PassManager
from secateur.passes.framework.pipeline import parse_pipeline
from secateur.passes.quantize.calibrate import CalibrationData
from secateur.passes.quantize.maker import Maker
from secateur.passes.quantize.options import Options
from secateur.passes.quantize.quantize import calibrated
from secateur.passes.quantize.tiles import Tile, Way, eligible, is_roomy, with_tiles
from secateur.passes.winograd.winograd import Options as WinogradOptions
from secateur.passes.winograd.winograd import winograd_form

Array = NDArray[Any]
PERIOD = 16  # channels after which what is guessed repeats
_NO_LESS_THAN_NOTHING = ("relu", "relu6", "sigmoid", "clip")
_KEEPING = ("nn.max_pool", "nn.avg_pool", "nn.reshape", "nn.flatten", "nn.transpose")


def quantized(graph: Graph, target: str, asked: Int8) -> Graph:
    """`graph` fused and in 8 bits, with the tiles that `asked` forces or the model finds faster."""
    fused = PassManager(parse_pipeline("canonicalize,fuse")).run(graph).graph
    row = find(target)
    options = Options(layers="all", winograd=asked.winograd, bias_correction=False)
    data = Guess([{v.name: _guess(v) for v in fused.inputs}], execute=_executed)
    maker = calibrated(fused, data, options, backend_of(row).costs(row))
    direct = maker.quantized(())
    return with_tiles(direct, dict(_ways(maker, direct)))


@dataclass(frozen=True, eq=False)
class Guess(CalibrationData):
    """Shows a few elements of each value, without running anything."""

    def run(self, graph: Graph, _inputs: Any, observe: Any) -> None:
        for value in graph.values():
            observe(value, _guess(value))


def _executed(graph: Graph, batches: Iterable[Any], values: Sequence[Value]) -> Iterator[list[Array]]:
    del graph  # it is not run
    for _ in batches:
        yield [_guess(value) for value in values]


def _guess(value: Value) -> Array:
    """A few elements of each channel."""
    shape = [1, *value.type.shape[1:2], *(min(extent, 2) for extent in value.type.shape[2:])]
    found = np.random.default_rng(0).standard_normal(shape).astype(np.float32)
    return np.abs(found) if _is_positive(value) else found


def _is_positive(value: Value) -> bool:
    op = value.producer
    if op is None:
        return False
    last = tuple(op.attributes.get("epilogue", ()))[-1:] or (op.name.removeprefix("nn."),)
    return last[0] in _NO_LESS_THAN_NOTHING or (op.name in _KEEPING and _is_positive(op.operands[0]))


def _ways(maker: Maker, direct: Graph) -> Iterator[tuple[Operator, Way]]:
    for op, real in eligible(direct, maker.real):
        if tile := _tile(maker, op):
            samples = _samples(op.operands[0].type.shape[1], tile)
            weights = constant_of(real.operands[1])
            assert weights is not None, "a planned operator's weights are constant"
            form = winograd_form(op, weights, tile, samples, WinogradOptions(rounding="nearest"))
            yield op, Way(tile, 0.0, inf, form)


def _tile(maker: Maker, op: Operator) -> Tile | None:
    """The fastest one, if it is faster than none or forced."""
    maker.trial.time(op)
    direct, tiles = maker.trial.timed[op]
    found = [(seconds, tile) for tile, seconds in tiles if not is_roomy(tile) and seconds < inf]
    seconds, tile = min(found, default=(inf, None))
    return tile if maker.trial.forced or seconds < direct else None


def _samples(channels: int, tile: Tile) -> NDArray[np.uint8]:
    shape = (1, PERIOD, tile[0] + 2, tile[1] + 2)
    few = np.random.default_rng(0).integers(0, 200, shape, np.uint8)
    return np.tile(few, (1, -(-channels // PERIOD), 1, 1))[:, :channels]
