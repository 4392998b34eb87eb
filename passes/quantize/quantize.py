"""Quantization: a float network computes in 8 bits, with ranges chosen on calibration data.

    %y = nn.conv(%x, %w, %b) {epilogue = [add, relu]} : tensor<1x16x32x32xf32>
 -> %y = q.linear_conv(%x, %w, %b) {scales = [0.024]} : tensor<1x16x32x32xu8, quant<0.024:0>>

The steps: epilogues are cut where a quantization may stand, calibration data is
streamed through, operators that gain from 8 bits are planned, pairs of quantize
and dequantize are put around them, and rules turn those into integer operators.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import ClassVar

from secateur.ir.choice import CostTable
from secateur.ir.errors import SecateurError
from secateur.ir.graph import Graph
from secateur.ir.stages import QUANTIZED, READ, Stage
from secateur.ir.support.words import known_names

from ..framework.base import Pass
from .calibrate import CalibrationData, calibrate
from .calibration.methods import METHODS
from .judge import appoint
from .maker import Maker, Options, chooser, prepare, with_pairs
from .report import QuantizationReport
from .search import fastest_ways
from .tiles import TILES

WINOGRAD = tuple(TILES)
LAYERS = ("auto", "all")


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
        final, report = _quantized(attempt)
        if attempt.choice is None or report.pays:
            return final, report
    real = maker.in_float()
    return real.prepared, real.report(real.prepared, options.float_layers, {})


def _quantized(maker: Maker) -> tuple[Graph, QuantizationReport]:
    names, judge = maker.layers_in_float(), maker.judge
    direct = maker.quantized(names)
    errors = maker.errors(direct)
    ways = fastest_ways(maker.trial, maker.layers(direct, thorough=False))
    if judge.demands and not maker.verdict(direct, ways).passes:
        ways = maker.tightened(direct)
    errors |= {op.result.name: way.sqnr for op, way in ways.items()}
    final = maker.tiled(direct, ways)
    return final, maker.report(final, names, errors)


def quantized_pairs(
    graph: Graph, data: CalibrationData, options: Options, costs: CostTable | None = None
) -> tuple[Graph, QuantizationReport]:
    """A copy of the float `graph` with pairs of quantize and dequantize, as in QDQ ONNX, and its report.

    No layer is a Winograd one: that is for the target to choose. Raises as `quantize_graph`.
    """
    maker = calibrated(graph, data, replace(options, winograd="off", layers="all"), costs)
    names = maker.layers_in_float()
    direct = maker.quantized(names)
    errors = maker.errors(direct)
    pairs = with_pairs(maker.prepared, maker.calibration, options, names)
    pairs.remove_dead()
    return pairs, maker.report(direct, names, errors)


def calibrated(graph: Graph, data: CalibrationData, options: Options, costs: CostTable | None) -> Maker:
    """Streams the data through `graph`, and is ready to make quantized networks of it."""
    prepared = prepare(graph, options)
    calibration = calibrate(prepared, data, options.method, options.percent, options.equalize)
    labelled = data.labels() if options.max_drop is not None else ()
    judge = appoint(prepared, calibration.samples, data.execute, options.min_sqnr, options.max_drop, labelled)
    chosen = chooser(prepared, costs, options).fastest() if costs is not None and options.chooses else None
    return Maker(prepared, calibration, options, judge, costs, data.progress, chosen)


Listener = Callable[[QuantizationReport], object]


def ignored(_: QuantizationReport) -> None:
    """Listens to no report."""


@dataclass(frozen=True)
class Quantize(Pass):
    """Makes convolutions, matrix products and what lies between them compute in 8 bits.

    `float_layers` are names, one a line; with `layers=all`, those compute in 8 bits too that are slower so.
    `data`, `costs`, and who listens to the report are handed in by
    the compiler.
    """

    name: ClassVar[str] = "quantize"
    takes: ClassVar[Stage] = READ
    gives: ClassVar[Stage] = QUANTIZED

    method: str = "mse"
    percent: float = 99.99
    layer_sqnr: float = 20.0
    min_sqnr: float | None = None
    max_drop: float | None = None
    winograd: str = "auto"
    float_layers: str = ""
    bias_correction: bool = True
    equalize: bool = False
    reduce_range: bool = False
    layers: str = "auto"
    data: CalibrationData | None = field(default=None, compare=False, repr=False, metadata={"option": False})
    costs: CostTable | None = field(default=None, compare=False, repr=False, metadata={"option": False})
    listen: Listener = field(default=ignored, compare=False, repr=False, metadata={"option": False})

    def __post_init__(self) -> None:
        _known("method", self.method, tuple(METHODS))
        _known("winograd", self.winograd, WINOGRAD)
        _known("layers", self.layers, LAYERS)

    @property
    def tolerance(self) -> float:
        """A quantized answer is of the same order as the real one; `min_sqnr` says more."""
        return 1.0

    @property
    def options(self) -> Options:
        return Options(
            self.method,
            self.percent,
            self.layer_sqnr,
            self.min_sqnr,
            self.max_drop,
            self.winograd,
            tuple(filter(None, self.float_layers.split("\n"))),
            self.bias_correction,
            self.equalize,
            self.reduce_range,
            self.layers,
        )

    def run(self, graph: Graph) -> Graph:
        if self.data is None:
            raise SecateurError("pass quantize needs calibration data; give some (--calibration)")
        quantized, report = quantize_graph(graph, self.data, self.options, self.costs)
        self.listen(report)
        return quantized


def _known(option: str, value: str, known: tuple[str, ...]) -> None:
    if value not in known:
        raise SecateurError(f"pass quantize: unknown {option} '{value}'{known_names(value, known)}")
