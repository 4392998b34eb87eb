"""Whether 8 bits pay on a target, from its cost model alone: known before a single image is calibrated.

The network is quantized with made-up ranges, since estimates depend on types and shapes; each convolution
counts as its fastest way, which is a bound where a Winograd tile turns out to cost too much accuracy.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from secateur.codegen.targets.find import find
from secateur.ir.graph import constant_of
from secateur.passes.framework.manager import PassManager
from secateur.passes.fuse.affine import LINEAR
from secateur.passes.quantize.choice import PAYS, Choice, Chooser
from secateur.passes.quantize.maker import chooser
from secateur.passes.quantize.maker import prepare as prepare_float
from secateur.passes.quantize.options import Options
from secateur.passes.quantize.tiles import seconds_of
from secateur.pipeline import in_float32
from secateur.prepare import cost_table, prepare

from ..report import duration

if TYPE_CHECKING:
    from secateur.ir.graph import Graph
    from secateur.prepare import Costs


_MOST = 0.5  # of a network's time


@dataclass(frozen=True)
class Gain:
    """Estimated seconds of the float and the int8 network, on one core of `target`.

    Of `layers` convolutions and matrix products, `in_float` stay in float because they are slower in int8.
    Where int8 does not pay, and `chosen` tells that time decides, all do: `int8_seconds` are then those of
    the network that is not made. `slowest` are operators without 8 bits, and their seconds.
    """

    target: str
    float_seconds: float
    int8_seconds: float
    layers: int = 0
    in_float: int = 0
    chosen: bool = False
    slowest: tuple[str, float] | None = None

    @property
    def ratio(self) -> float:
        """How many times as fast int8 is."""
        return self.float_seconds / self.int8_seconds if self.int8_seconds else 1.0

    @property
    def pays(self) -> bool:
        return self.ratio >= PAYS

    @property
    def expected(self) -> float:
        """How many times as fast the network is that is made: 1 where it stays in float."""
        return self.ratio if self.pays or not self.chosen else 1.0

    @property
    def times(self) -> str:
        return f"{duration(self.float_seconds)} in float, {duration(self.int8_seconds)} in int8, estimated"

    @property
    def text(self) -> str:
        """One line for the user."""
        if self.pays:
            kept = f"{self.in_float} of {self.layers} layers stay in float, where int8 is slower"
            rest = f"; {kept}" if self.in_float else ""
            return f"int8 pays on {self.target}: up to {self.ratio:.1f}x as fast ({self.times}){rest}"
        rest = "; the network stays in float" if self.chosen else ""
        return (
            f"int8 does not pay on {self.target}: {self.ratio:.2f}x as fast ({self.times}){self._why}{rest}"
        )

    @property
    def _why(self) -> str:
        """Which operators take most of the time whatever the others gain, if some do."""
        name, seconds = self.slowest or ("", 0.0)
        if seconds < _MOST * self.int8_seconds:
            return ""
        return f"; {name.removeprefix('nn.')}, which has no int8, takes {duration(seconds)} of both"


def int8_gain(
    graph: Graph, target: str, options: Options | None = None, costs: Costs | None = None, qdq: bool = False
) -> Gain:
    """What int8 gains for a float `graph`, quantized as `options` say, by estimates or the table `costs`.

    With `qdq`, what a file of quantize and dequantize operators gains, which holds no Winograd tiles.
    Raises SecateurError for an unknown target, or an operator that it cannot compute.
    """
    row, options = find(target), options or Options()
    fused = PassManager(prepare(in_float32(graph, "canonicalize,fuse"), row)).run(graph).graph
    prepared = prepare_float(fused, options)
    found = chooser(prepared, cost_table(row, costs=costs), options, winograd=not qdq)
    chooses = options.chooses and not qdq
    return _gain(target, found, found.fastest() if chooses else found.everything(), chooses)


def _gain(target: str, found: Chooser, choice: Choice, chosen: bool) -> Gain:
    linear = [i for i, op in enumerate(found.prepared.operators) if op.name in LINEAR]
    kept = sum(i in choice.operators for i in linear)
    seconds = found.everything().seconds if choice.is_float else choice.seconds
    gain = Gain(target, choice.float_seconds, seconds, len(linear), kept, chosen)
    return gain if gain.pays else replace(gain, slowest=_slowest(found))


def _slowest(found: Chooser) -> tuple[str, float] | None:
    """Of the operators without 8 bits in the network that has them wherever it can."""
    seconds = defaultdict[str, float](float)
    for op in found.integer(found.given).operators:
        if op.name.startswith("nn.") and constant_of(op.results[0]) is None:
            seconds[op.name] += seconds_of(op, found.costs)
    return max(seconds.items(), key=lambda item: item[1], default=None)
