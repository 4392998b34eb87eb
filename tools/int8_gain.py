"""Whether 8 bits pay on a target, from its cost model alone: known before a single image is calibrated.

The network is quantized with made-up ranges, since estimates depend on types and shapes; each convolution
counts as its fastest way, which is a bound where a Winograd tile turns out to cost too much accuracy.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from secateur.codegen.costs import AnalyticCosts
from secateur.codegen.targets import find
from secateur.compiler import prepare
from secateur.passes.calibration.ranges import Ranges
from secateur.passes.calibration.statistics import value_names
from secateur.passes.manager import PassManager
from secateur.passes.quantize_calibrate import Calibration
from secateur.passes.quantize_maker import Options, lower, with_pairs
from secateur.passes.quantize_maker import prepare as prepare_float
from secateur.passes.quantize_tiles import TILES, Tile, empty_form, seconds_of
from secateur.passes.select import Select
from secateur.passes.winograd import applicable, create_winograd

from .quantization_times import Selection, Timed
from .report import duration

if TYPE_CHECKING:
    from secateur.ir.choice import CostTable
    from secateur.ir.graph import Graph, Operator

PAYS = 1.05
"""The least gain that is more than the cost model's own error."""


@dataclass(frozen=True)
class Gain:
    """Estimated seconds of the float and the int8 network, on one core of `target`."""

    target: str
    float_seconds: float
    int8_seconds: float

    @property
    def ratio(self) -> float:
        """How many times as fast int8 is."""
        return self.float_seconds / self.int8_seconds if self.int8_seconds else 1.0

    @property
    def text(self) -> str:
        """One line for the user."""
        times = f"{duration(self.float_seconds)} in float, {duration(self.int8_seconds)} in int8"
        if self.ratio >= PAYS:
            return f"int8 pays on {self.target}: up to {self.ratio:.1f}x as fast ({times}, estimated)"
        return f"int8 does not pay on {self.target}: {self.ratio:.2f}x as fast ({times}, estimated)"


def int8_gain(graph: Graph, target: str, winograd: str = "auto") -> Gain:
    """What int8 gains for a float `graph`, with the tiles that `winograd` allows.

    Raises SecateurError for an unknown target, or an operator that it cannot compute.
    """
    costs = AnalyticCosts(find(target))
    fused = PassManager(prepare("canonicalize,fuse", find(target))).run(graph).graph
    real = _selected(fused, costs)
    integer = _quantized(fused)
    seconds = [t.seconds for t in _selected(integer, costs)]
    best = [
        min(s, _fastest_tile(op, costs, TILES[winograd]))
        for op, s in zip((op for op in integer.operators if op.name != "nn.constant"), seconds, strict=True)
    ]
    return Gain(target, sum(t.seconds for t in real), sum(best))


def _selected(graph: Graph, costs: CostTable) -> list[Timed]:
    selection = Selection(costs)
    PassManager((Select(costs),), (selection,)).run(graph)
    return selection.timed


def _quantized(fused: Graph) -> Graph:
    """The graph in 8 bits with a range of [0, 1] for every value."""
    options = Options(bias_correction=False)
    prepared = prepare_float(fused, options)
    ranges = dict.fromkeys(value_names(prepared).values(), (0.0, 1.0))
    graph = with_pairs(prepared, Calibration(Ranges("none", 0, ranges), {}, ()), options, ())
    lower(graph)
    return graph


def _fastest_tile(op: Operator, costs: CostTable, tiles: Iterable[Tile]) -> float:
    """Seconds of the fastest Winograd form of a convolution; inf where there is none."""
    if op.name != "q.linear_conv" or applicable(op) is not None:
        return float("inf")
    height, width = op.result.type.shape[2:]
    fitting = [tile for tile in tiles if tile[0] <= height and tile[1] <= width]
    forms = (create_winograd(op, empty_form(op, tile), tile)[-1] for tile in fitting)
    return min((seconds_of(form, costs) for form in forms), default=float("inf"))
