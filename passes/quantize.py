"""Quantization: a float network computes in 8 bits, with ranges chosen on calibration data.

    %y = nn.conv(%x, %w, %b) {epilogue = [add, relu]} : tensor<1x16x32x32xf32>
 -> %y = q.linear_conv(%x, %w, %b) {scales = [0.024]} : tensor<1x16x32x32xu8, quant<0.024:0>>

The steps: epilogues are cut where a quantization may stand, calibration data is
streamed through, operators that gain from 8 bits are planned, pairs of quantize
and dequantize are put around them, and rules turn those into integer operators.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar

from secateur.ir.choice import CostTable
from secateur.ir.errors import SecateurError
from secateur.ir.graph import Graph, Operator
from secateur.ir.rewrite import rewrite
from secateur.ir.stages import QUANTIZED, READ, Stage

from . import epilogues
from .base import Pass
from .calibration.methods import METHODS
from .calibration.statistics import value_names
from .calibration.words import listed
from .equalize import Equalize
from .integer import make_integer
from .quantize_calibrate import Calibration, CalibrationData, calibrate, corrections, quantizations
from .quantize_insert import insert
from .quantize_plan import make_plan
from .quantize_split import split_epilogues

WINOGRAD = ("auto", "off", "2", "4x2", "4", "lance")


@dataclass(frozen=True)
class Options:
    """How a network is quantized; `float_layers` are ONNX node names that stay in float."""

    method: str = "percentile"
    percent: float = 99.99
    layer_sqnr: float = 20.0
    min_sqnr: float | None = None
    max_drop: float | None = None
    winograd: str = "auto"
    float_layers: tuple[str, ...] = ()
    bias_correction: bool = True
    equalize: bool = False


def quantize_graph(
    graph: Graph, data: CalibrationData, options: Options, costs: CostTable | None = None
) -> Graph:
    """A copy of the float `graph` in 8 bits."""
    prepared = prepare(graph, options)
    calibration = calibrate(prepared, data, options.method, options.percent, options.equalize)
    inserted = with_pairs(prepared, calibration, options)
    lower(inserted)
    return inserted


def prepare(graph: Graph, options: Options) -> Graph:
    """A copy that computes the same, cut and equalized as quantization wants it."""
    graph = graph.clone()
    if options.equalize:
        graph = Equalize().run(graph)
    split_epilogues(graph)
    return graph


def float_operators(graph: Graph, names: tuple[str, ...]) -> set[Operator]:
    """The operators that `names` (of ONNX nodes or values) stand for; SecateurError for an unknown one."""
    values, found = value_names(graph), set[Operator]()
    known: dict[str, list[Operator]] = {}
    for op in graph.operators:
        if op.name != "nn.constant":
            for name in {*op.loc.split("+"), *(values[r] for r in op.results)} - {""}:
                known.setdefault(name, []).append(op)
    if unknown := [name for name in names if name not in known]:
        raise SecateurError(f"no layer to keep in float is called {listed(unknown, known)}")
    for name in names:
        found.update(known[name])
    return found


def with_pairs(prepared: Graph, calibration: Calibration, options: Options) -> Graph:
    """A copy of a prepared graph with pairs of quantize and dequantize in place: what QDQ ONNX holds."""
    graph = prepared.clone()
    plan = make_plan(graph, float_operators(graph, options.float_layers))
    quants, names = quantizations(graph, plan, calibration.ranges), value_names(graph)
    corrected = corrections(graph, plan, quants, calibration) if options.bias_correction else {}
    insert(graph, plan, quants, corrected, names)
    return graph


def lower(graph: Graph) -> None:
    """Turns the pairs into integer operators, in place; what stays float is fused again."""
    make_integer(graph)
    rewrite(graph, epilogues.RULES)
    graph.remove_dead()


@dataclass(frozen=True)
class Quantize(Pass):
    """Makes convolutions, matrix products and what lies between them compute in 8 bits.

    `float_layers` are names joined by `;`. `data` and `costs` are handed in by the compiler.
    """

    name: ClassVar[str] = "quantize"
    takes: ClassVar[Stage] = READ
    gives: ClassVar[Stage] = QUANTIZED

    method: str = "percentile"
    percent: float = 99.99
    layer_sqnr: float = 20.0
    min_sqnr: float | None = None
    max_drop: float | None = None
    winograd: str = "auto"
    float_layers: str = ""
    bias_correction: bool = True
    equalize: bool = False
    data: CalibrationData | None = field(default=None, compare=False, repr=False, metadata={"option": False})
    costs: CostTable | None = field(default=None, compare=False, repr=False, metadata={"option": False})

    def __post_init__(self) -> None:
        _known("method", self.method, tuple(METHODS))
        _known("winograd", self.winograd, WINOGRAD)

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
            tuple(filter(None, self.float_layers.split(";"))),
            self.bias_correction,
            self.equalize,
        )

    def run(self, graph: Graph) -> Graph:
        if self.data is None:
            raise SecateurError("pass quantize needs calibration data; give some (--calibration)")
        return quantize_graph(graph, self.data, self.options, self.costs)


def _known(option: str, value: str, known: tuple[str, ...]) -> None:
    if value not in known:
        raise SecateurError(f"pass quantize: unknown {option} '{value}'; known: {', '.join(known)}")
