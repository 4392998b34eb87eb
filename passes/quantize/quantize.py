"""Quantization: a float network computes in 8 bits, with ranges chosen on calibration data.

    %y = nn.conv(%x, %w, %b) {epilogue = [add, relu]} : tensor<1x16x32x32xf32>
 -> %y = q.linear_conv(%x, %w, %b) {scales = [0.024]} : tensor<1x16x32x32xu8, quant<0.024:0>>

The steps: epilogues are cut where a quantization may stand, calibration data is
streamed through, operators that gain from 8 bits are planned, pairs of quantize
and dequantize are put around them, and rules turn those into integer operators.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from itertools import count
from typing import ClassVar, NamedTuple

from secateur.ir.choice import CostTable, Estimates
from secateur.ir.errors import ModelNote, SecateurError
from secateur.ir.graph import Graph

from ..framework.base import Pass
from .calibrate import Calibration, CalibrationData, calibrate
from .calibration.statistics import value_names
from .judge import LimitError, appoint
from .maker import Maker, chooser, prepare, with_pairs
from .moved import RUNS, Mover, curvatures, first_strength, strongest, weight_bits
from .options import Options
from .report import Moved, QuantizationReport, Tiled
from .search import fastest_ways

_SHOWN = 5


def quantize_graph(
    graph: Graph, data: CalibrationData, options: Options, costs: CostTable | None = None
) -> tuple[Graph, QuantizationReport]:
    """A copy of the float `graph` in 8 bits, and what was done to each layer.

    Tiles are chosen among those that `costs` says are faster, and so are the layers that compute in 8 bits,
    unless `options` wants all of them: the result is never slower than the float network, and is that where
    nothing is faster. Without costs only forced tiles are taken, and all layers. Raises SecateurError where
    the data does not fit, or a limit cannot be kept.
    """
    maker = calibrated(graph, data, options, costs)
    for attempt in maker.attempts():
        names = attempt.layers_in_float()
        made = _made(attempt, names)
        report = made.report(names)
        if attempt.choice is None or report.pays:
            return _moved(made, names, report) if options.weights_sqnr is not None else (made.graph, report)
    real = maker.in_float()
    return real.prepared, real.report(real.prepared, tuple(real.options.keep_float), {})


class Made(NamedTuple):
    """A network in 8 bits, and the one without tiles that it was made of."""

    maker: Maker
    graph: Graph
    direct: Graph
    errors: Mapping[str, float] = {}
    tiles: tuple[Tiled, ...] = ()

    def report(self, names: tuple[str, ...]) -> QuantizationReport:
        errors = self.maker.errors(self.direct) | dict(self.errors)
        return replace(self.maker.report(self.graph, names, errors), tiles=self.tiles)


def _made(maker: Maker, names: tuple[str, ...]) -> Made:
    """With the layers called `names` in float."""
    direct = maker.quantized(names)
    if maker.options.tflite:
        final, tiles = maker.with_file_tiles(direct)
        return Made(maker, final, direct, tiles=tiles)
    ways = fastest_ways(maker.trial, maker.layers(direct, thorough=False))
    if maker.judge.demands and not maker.verdict(direct, ways).passes:
        ways = maker.tightened(direct)
    errors = {op.result.name: way.sqnr for op, way in ways.items()}
    return Made(maker, maker.tiled(direct, ways), direct, errors)


def _moved(
    plain: Made, names: tuple[str, ...], report: QuantizationReport
) -> tuple[Graph, QuantizationReport]:
    """The network again, its weights moved as far as the limit lets them."""
    made = {0.0: plain}

    def graph_of(maker: Maker) -> Graph:
        assert maker.mover is not None, "it moves weights"
        made[maker.mover.strength] = _made(maker, names)
        return made[maker.mover.strength].graph

    mover = found_mover(plain.maker, plain.graph, graph_of)
    best = made[mover.strength]
    bits = weight_bits(plain.graph), weight_bits(best.graph)
    return best.graph, replace(best.report(names), moved=Moved(report.sqnr, *bits))


def found_mover(maker: Maker, plain: Graph, graph_of: Callable[[Maker], Graph]) -> Mover:
    """The mover of the largest strength whose network keeps the limits; `graph_of` makes such a network.

    LimitError where the `plain` network keeps less already.
    """
    judge, options = maker.judge, maker.options
    assert options.weights_sqnr is not None, "a limit is given"
    limit = max(options.weights_sqnr, options.min_sqnr or -math.inf)
    sqnr = judge.verdict(plain).sqnr
    if sqnr < limit:
        raise LimitError(
            f"weights cannot be moved: the outputs' SQNR is {sqnr:.1f} dB without it ({limit:g} dB wanted)"
        )
    found = curvatures(maker.prepared, judge.samples, judge.execute, options.tflite)
    mover, runs = Mover(found, options.weights, 0.0), count()

    def sqnr_of(strength: float) -> float:
        maker.progress("moving weights", next(runs), RUNS)
        verdict = judge.verdict(graph_of(maker.moved_by(replace(mover, strength=strength, known={}))))
        return verdict.sqnr if verdict.passes else -math.inf

    strength = strongest(sqnr_of, limit, sqnr, first_strength(found, maker.prepared, sqnr, limit))
    return replace(mover, strength=strength, known={})


def quantized_pairs(
    graph: Graph, data: CalibrationData, options: Options, costs: CostTable | None = None
) -> tuple[Graph, QuantizationReport]:
    """A copy of the float `graph` with pairs of quantize and dequantize, as in QDQ ONNX, and its report.

    No layer is a Winograd one: that is for the target to choose. Raises as `quantize_graph`.
    """
    maker = calibrated(graph, data, replace(options, winograd="off", layers="all"), costs)
    names = maker.layers_in_float()
    plain = maker.quantized(names)
    if options.weights_sqnr is not None:
        maker = maker.moved_by(found_mover(maker, plain, lambda moved: moved.quantized(names)))
    direct = maker.quantized(names)
    report = maker.report(direct, names, maker.errors(direct))
    if maker.mover is not None:
        sqnr = maker.judge.verdict(plain).sqnr
        report = replace(report, moved=Moved(sqnr, weight_bits(plain), weight_bits(direct)))
    pairs = with_pairs(maker.prepared, maker.calibration, options, names, mover=maker.mover)
    pairs.remove_dead()
    return pairs, report


def calibrated(graph: Graph, data: CalibrationData, options: Options, costs: CostTable | None) -> Maker:
    """Streams the data through `graph`, and is ready to make quantized networks of it.

    A network that rounds as TFLite is in 8 bits as a whole, whatever that costs; its Winograd tiles are
    operators of a file, which `times` are estimated of.
    """
    times = costs if options.tflite and isinstance(costs, Estimates) else None
    if options.tflite:
        options, costs = replace(options, layers="all"), None
    prepared = prepare(graph, options)
    calibration = calibrate(prepared, data, options.method, options.percent, options.equalize)
    options = replace(options, keep_float=(*options.keep_float, *_unbounded(prepared, calibration, options)))
    labelled = data.labels() if options.max_drop is not None else ()
    judge = appoint(prepared, calibration.samples, data.execute, options.min_sqnr, options.max_drop, labelled)
    chosen = chooser(prepared, costs, options).fastest() if costs is not None and options.chooses else None
    return Maker(prepared, calibration, options, judge, costs, data.progress, chosen, times=times)


def _unbounded(prepared: Graph, calibration: Calibration, options: Options) -> tuple[str, ...]:
    """Results of the operators that make or read a value without range: they stay in float, with a note."""
    names = value_names(prepared)
    without = [value for value, name in names.items() if name in calibration.ranges.unbounded]
    if not without:
        return ()
    shown = ", ".join(f"'{names[value]}'" for value in without[:_SHOWN])
    note = f"values {shown} ({len(without)} in all) held NaN or infinity on the calibration images"
    if options.tflite:
        raise SecateurError(f"{note} and have no range; TFLite's 8-bit targets keep no layer in float")
    warnings.warn(f"{note}: layers that make or read them stay in float", ModelNote, stacklevel=2)
    around = [op for value in without for op in (value.producer, *value.users) if op is not None]
    return tuple(dict.fromkeys(names[result] for op in around for result in op.results))


Listener = Callable[[QuantizationReport], object]


def ignored(_: QuantizationReport) -> None:
    """Listens to no report."""


@dataclass(frozen=True, kw_only=True)
class Quantize(Options, Pass):
    """Makes convolutions, matrix products and what lies between them compute in 8 bits.

    Its options are declared in `options.py`. `data`, `costs`, and who listens to the report are handed in by
    the compiler.
    """

    name: ClassVar[str] = "quantize"

    data: CalibrationData | None = field(default=None, compare=False, repr=False, metadata={"option": False})
    costs: CostTable | None = field(default=None, compare=False, repr=False, metadata={"option": False})
    listen: Listener = field(default=ignored, compare=False, repr=False, metadata={"option": False})

    @property
    def tolerance(self) -> float:
        """A quantized answer is of the same order as the real one; `min_sqnr` says more."""
        return 1.0

    def run(self, graph: Graph) -> Graph:
        if self.data is None:
            raise SecateurError("pass quantize needs calibration data; give some (--calibration)")
        quantized, report = quantize_graph(graph, self.data, self, self.costs)
        self.listen(report)
        return quantized
