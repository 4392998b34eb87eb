"""The steps of quantization on one network: prepared, calibrated, then made as often as limits ask for."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property, partial

import numpy as np

from secateur.ir.choice import CostTable, Estimates
from secateur.ir.errors import SecateurError
from secateur.ir.graph import Graph, Operator, Value
from secateur.ir.support.cores import on_all_cores
from secateur.ir.support.progress import Progress, silent
from secateur.ir.support.words import listed

from ..fuse.affine import LINEAR
from ..tflite.rounding import in_tflite_terms
from ..tflite.shaping import shape_for_tflite
from ..winograd.winograd import Options as WinogradOptions
from .calibrate import Calibration, corrections, quantizations
from .calibration.executor import Array
from .calibration.statistics import value_names
from .choice import Choice, Chooser, Indices, lower, planned_seconds
from .equalize import Equalize
from .file_tiles import FileTile, layers_of, tried, with_file_tiles, within
from .insert import QUANTIZED, Floats, insert, round_weights
from .judge import Judge, LimitError, Verdict
from .measure import decibels, power
from .moved import Mover
from .options import Options
from .plan import make_plan
from .report import QuantizationReport, Tiled, data_values, dequantized, own_sqnr, rows, saturated_share
from .search import choose_ways, smallest_that_passes
from .split import split_epilogues
from .tiles import ROOMY, TILES, Halves, Layer, Trial, Way, captured, eligible, halves, with_tiles
from .warning import Accumulated, is_poor


def prepare(graph: Graph, options: Options) -> Graph:
    """A copy that computes the same, cut and equalized as quantization wants it."""
    graph = graph.clone()
    if options.equalize:
        graph = Equalize().run(graph)
    split_epilogues(graph, residuals=not options.tflite)
    if options.tflite:
        shape_for_tflite(graph)
        split_epilogues(graph, residuals=False)
    return graph


def float_operators(graph: Graph, names: Sequence[str]) -> set[Operator]:
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


def with_pairs(
    prepared: Graph,
    calibration: Calibration,
    options: Options,
    float_layers: Sequence[str],
    kept: Indices = frozenset(),
    mover: Mover | None = None,
) -> Graph:
    """A copy of a prepared graph with pairs of quantize and dequantize in place: what QDQ ONNX holds.

    None around `float_layers`, by name, nor around the operators `kept` in float, by number. A `mover` rounds
    the weights where there is one.
    """
    graph = prepared.clone()
    numbered = {op for i, op in enumerate(graph.operators) if i in kept}
    plan = make_plan(graph, float_operators(graph, float_layers) | numbered, whole=options.tflite)
    quants, names = quantizations(graph, plan, calibration.ranges), value_names(graph)
    corrected, usual = dict[Operator, Floats](), partial(round_weights, form=options.weights)
    rounder = usual if mover is None else mover.rounder(graph)
    if options.bias_correction:
        corrected = corrections(graph, plan, quants, calibration, rounder)
    insert(graph, plan, quants, corrected, names, rounder)
    return graph


def chooser(prepared: Graph, costs: CostTable, options: Options, winograd: bool = True) -> Chooser:
    """Of the operators that are faster in 8 bits; with `winograd`, convolutions as their fastest tiles."""
    named = float_operators(prepared, options.keep_float)
    numbers = frozenset(i for i, op in enumerate(prepared.operators) if op in named)
    tiles = TILES[options.winograd] if winograd else ()
    return Chooser(prepared, costs, tiles, numbers, tile_options(options))


def tile_options(options: Options) -> WinogradOptions:
    """LANCE's one scale for all weights is not of filters."""
    if options.winograd == "lance":
        return WinogradOptions(mode="lance")
    rounding = "spatial" if options.tiles_of_filters else "compensated"
    words = options.tile_results == "words" and not options.tiles_of_filters
    return WinogradOptions(rounding=rounding, paired=options.paired_tiles, words=words)


@dataclass(frozen=True, eq=False)
class Maker:
    """Makes quantized networks of a prepared graph and measures them.

    `choice` is what stays in float because 8 bits would be slower; None where every layer is taken that
    can compute in 8 bits. `times` are of operators of a file, which have no costs.
    A `mover` rounds weights to what takes few bits.
    """

    prepared: Graph
    calibration: Calibration
    options: Options
    judge: Judge
    costs: CostTable | None
    progress: Progress = silent
    choice: Choice | None = None
    times: Estimates | None = None
    mover: Mover | None = None
    made: dict[tuple[str, ...], Graph] = field(default_factory=dict)
    cut: dict[Graph, list[tuple[Operator, Operator, Halves]]] = field(default_factory=dict)
    with_ways: dict[tuple[Way, ...], Graph] = field(default_factory=dict)

    def quantized(self, names: Sequence[str]) -> Graph:
        """The network in 8 bits but for the layers called `names`, without tiles; made once."""
        key = tuple(names)
        if key not in self.made:
            graph = with_pairs(self.prepared, self.calibration, self.options, key, self.kept, self.mover)
            lower(graph)
            if self.options.tflite:
                in_tflite_terms(graph)
            self.made[key] = graph
        return self.made[key]

    @property
    def kept(self) -> Indices:
        """The operators that stay in float because 8 bits would be slower."""
        return self.choice.operators if self.choice is not None else frozenset()

    def attempts(self) -> Iterator[Maker]:
        """Makers of networks to try, the most promising first; those whose choice is the float network, none.

        Where tiles turn out to cost too much accuracy, what is faster without them is still worth trying.
        """
        if self.choice is None or not self.choice.is_float:
            yield self
        if self.choice is not None and self.costs is not None and self.options.winograd == "auto":
            plain = chooser(self.prepared, self.costs, self.options, winograd=False).fastest()
            if not plain.is_float and plain.operators != self.choice.operators:
                yield self._with(self.prepared, plain)

    def moved_by(self, mover: Mover) -> Maker:
        """A maker of the same networks whose weights the mover rounds."""
        given = (self.calibration, self.options, self.judge, self.costs, self.progress)
        return Maker(self.prepared, *given, self.choice, self.times, mover)

    def in_float(self) -> Maker:
        """A maker whose prepared network is the float one, fused again; all of it is kept in float."""
        graph = self.prepared.clone()
        lower(graph)
        assert self.float_seconds is not None, "costs decide"
        everything = frozenset(range(len(graph.operators)))
        return self._with(graph, Choice(everything, self.float_seconds, self.float_seconds, True))

    def _with(self, prepared: Graph, choice: Choice) -> Maker:
        given = (self.calibration, self.options, self.judge, self.costs, self.progress)
        return Maker(prepared, *given, choice)

    @property
    def slower(self) -> tuple[str, ...]:
        """Names of the linear layers among those, which `keep_float` would keep in float as well."""
        operators = self.prepared.operators
        found = (operators[i] for i in sorted(self.kept) if operators[i].name in LINEAR)
        return tuple(dict.fromkeys(map(_first_node, found)))

    @cached_property
    def float_seconds(self) -> float | None:
        """What the float network is estimated to take; None without costs."""
        if self.choice is not None or self.costs is None:
            return self.choice.float_seconds if self.choice is not None else None
        return chooser(self.prepared, self.costs, self.options).float_seconds

    @cached_property
    def trial(self) -> Trial:
        winograd = "off" if self.options.tflite else self.options.winograd
        tiles = TILES[winograd] if self.costs is not None or winograd != "auto" else ()
        if self.options.weights_sqnr is not None:
            tiles = tuple(tile for tile in tiles if tile != ROOMY)  # which rounds weights anew
        return Trial(tiles, tile_options(self.options), self.costs, winograd != "auto")

    @cached_property
    def real(self) -> dict[str, Operator]:
        """The real linear operators by the names that their results have when they are quantized, or not."""
        found: dict[str, Operator] = {}
        names = value_names(self.prepared)
        for op in self.prepared.operators:
            if op.name in LINEAR:
                found |= dict.fromkeys((names[op.result], names[op.result] + QUANTIZED), op)
        return found

    def tiled(self, direct: Graph, ways: Mapping[Operator, Way]) -> Graph:
        """`direct` with the chosen tiles; made once for the same ways, so that it is compiled once."""
        key = tuple(ways.values())
        if key not in self.with_ways:
            self.with_ways[key] = with_tiles(direct, ways)
        return self.with_ways[key]

    def verdict(self, direct: Graph, ways: Mapping[Operator, Way]) -> Verdict:
        """How the network does with the chosen tiles."""
        return self.judge.verdict(self.tiled(direct, ways))

    def tightened(self, direct: Graph) -> dict[Operator, Way]:
        """Slower ways than the fastest, as few as the limits need; none at all where only that passes."""
        layers, limit = self.layers(direct, thorough=True), self.options.min_sqnr
        ways = choose_ways(self.trial, layers, lambda ways: self.verdict(direct, ways), limit)
        return ways if self.verdict(direct, ways).passes else {}

    def with_file_tiles(self, direct: Graph) -> tuple[Graph, tuple[Tiled, ...]]:
        """`direct` with tiles made of a file's operators where they are asked for, and what was found."""
        if self.options.winograd != "2" or self.times is None:
            return direct, ()
        tiles = [self._file_tile(direct, tile) for tile in layers_of(direct, self.real, self.times)]
        if self.judge.demands:
            tiles = within(tiles, lambda some: self.judge.verdict(with_file_tiles(direct, some)).passes)
        return with_file_tiles(direct, tiles), tuple(tile.row for tile in tiles)

    def _file_tile(self, direct: Graph, tile: FileTile) -> FileTile:
        if not tile.row.faster:
            return tile
        images = self._arrays(direct, captured(tile.op), len(self.judge.samples))
        real = self.real[tile.op.result.name]
        return tried(tile, real, _halves(tile.op, real, images), self.options.layer_sqnr)

    # Layers that stay in float ---------------------------------------------------------------------

    def layers_in_float(self) -> tuple[str, ...]:
        """The layers asked for, and as few more, noisiest first, as the limits need.

        LimitError where the limits are missed although every layer is in float that may be.
        """
        given = tuple(self.options.keep_float)
        if not self.judge.demands:
            return given
        first = self.quantized(given)
        verdict = self.judge.verdict(first)
        if verdict.passes:
            return given
        if self.options.tflite:
            raise LimitError(
                f"the limit cannot be kept, as no layer stays in float: {self.judge.complaint(verdict)}"
            )
        order = self._noisiest(first)
        most = len(order) - 1  # one layer at least computes in 8 bits, or nothing was quantized
        count = smallest_that_passes(most, lambda n: self._enough((*given, *order[:n]))) if order else None
        if count is None:
            verdict = self.judge.verdict(self.quantized((*given, *order[:most])) if order else first)
            raise LimitError(
                f"the limit cannot be kept, even with {max(most, 0)} of {len(order)} layers in float: "
                f"{self.judge.complaint(verdict)}"
            )
        return (*given, *order[:count])

    def _enough(self, names: Sequence[str]) -> bool:
        return self.judge.verdict(self.quantized(names)).passes

    def _noisiest(self, graph: Graph) -> list[str]:
        """Names of the linear layers, that of the least SQNR first."""
        errors = self._own_errors(graph, [op for op in graph.operators if op.name.startswith("q.linear_")])
        found = sorted((e, i, n) for i, (n, e) in enumerate(errors.items()))
        return [_first_node(self.real[name]) for _, _, name in found]

    # Measuring -------------------------------------------------------------------------------------

    def layers(self, direct: Graph, thorough: bool) -> list[Layer]:
        """The ways of every convolution that has some: the direct one and the fastest, or all."""
        least = self.options.layer_sqnr
        for op, *_ in self._patches(direct):
            self.trial.time(op)
        return on_all_cores(
            lambda row: self.trial.layer(*row, least, thorough), self._patches(direct), self._told(direct)
        )

    def _told(self, direct: Graph) -> Callable[[int], None]:
        """Tells the progress of choosing tiles, of so many layers."""
        total = len(self._patches(direct))
        return lambda done: self.progress("tiles", done, total)

    def _patches(self, direct: Graph) -> list[tuple[Operator, Operator, Halves]]:
        """Convolutions that may take tiles, the real ones, and patches of their data; cut once."""
        if direct not in self.cut:
            pairs = (
                [p for p in eligible(direct, self.real) if self.trial.worth(p[0])] if self.trial.tiles else []
            )
            values = list(dict.fromkeys(v for op, _ in pairs for v in captured(op)))
            images = self._arrays(direct, values, len(self.judge.samples)) if values else []
            self.cut[direct] = on_all_cores(lambda pair: (*pair, _halves(*pair, images)), pairs)
        return self.cut[direct]

    def errors(self, direct: Graph) -> dict[str, float]:
        """The SQNR of linear operators that take no tile, by the name of their result."""
        tiled = {op for op, *_ in self._patches(direct)}
        return self._own_errors(direct, [op for op in direct.operators if op not in tiled])

    def _arrays(self, graph: Graph, values: Sequence[Value], count: int) -> list[dict[Value, Array]]:
        runs = self.judge.execute(graph, self.judge.samples[:count], values)
        return [dict(zip(values, arrays, strict=True)) for arrays in runs]

    def _own_errors(self, graph: Graph, operators: Sequence[Operator]) -> dict[str, float]:
        """The SQNR of linear operators on one image."""
        chosen = [
            op for op in operators if op.name in ("q.linear_conv", "q.linear_matmul") and self._is_whole(op)
        ]
        values = list(dict.fromkeys(v for op in chosen for v in (*data_values(op), op.result)))
        found: dict[str, float] = {}
        for image in self._arrays(graph, values, 1) if values else []:
            for op in chosen:
                data = [image[v] for v in data_values(op)]
                found[op.result.name] = own_sqnr(op, self.real[op.result.name], data, image[op.result])
        return found

    def _is_whole(self, op: Operator) -> bool:
        """Whether the operator computes all that the real one of its name does."""
        real = self.real.get(op.result.name)
        return real is not None and len(data_values(real)) == len(data_values(op))

    def report(self, graph: Graph, names: tuple[str, ...], errors: Mapping[str, float]) -> QuantizationReport:
        results = [op.result for op in graph.operators if op.name.startswith("q.")]
        images = self._arrays(graph, results, 2) if results else []
        shares = {
            v.name: saturated_share(v.producer, [image[v] for image in images])
            for v in results
            if v.producer is not None
        }
        verdict = self.judge.verdict(graph)
        both = (self.judge.accuracy, verdict.accuracy)
        percent = (both[0], both[1]) if both[0] is not None and both[1] is not None else None
        return QuantizationReport(
            tuple(rows(graph, errors, shares, self.costs)),
            verdict.sqnr,
            percent,
            names,
            self.calibration.ranges,
            self.slower,
            self._estimate(graph),
            tuple(self._accumulated(graph)) if is_poor(verdict.sqnr) else (),
        )

    def _accumulated(self, graph: Graph) -> Iterator[Accumulated]:
        """The linear layers' results in the quantized network against those in the float one, on an image."""
        pairs = [
            (op.result, self.real[op.result.name].result) for op in graph.operators if self._is_known(op)
        ]
        got = self._arrays(graph, [value for value, _ in pairs], 1)
        wanted = self._arrays(self.prepared, [real for _, real in pairs], 1)
        for found, real in zip(got, wanted, strict=True):
            for value, other in pairs:
                noise = dequantized(found[value], value.type).astype(np.float64) - real[other]
                layer = _first_node(self.real[value.name])
                yield Accumulated(layer, decibels(power(real[other]), power(noise)))

    def _is_known(self, op: Operator) -> bool:
        """Whether the operator, a linear one in 8 bits, has the result of one in the float network."""
        return (
            op.name in ("q.linear_conv", "q.linear_matmul", "q.winograd_conv") and op.result.name in self.real
        )

    def _estimate(self, graph: Graph) -> tuple[float, float] | None:
        if self.costs is None or self.float_seconds is None:
            return None
        return self.float_seconds, planned_seconds(graph, self.costs)


def _halves(op: Operator, real: Operator, images: Sequence[Mapping[Value, Array]]) -> Halves:
    return halves(op, real, [[image[v] for v in captured(op)] for image in images])


def _first_node(op: Operator) -> str:
    """The name by which `keep_float` knows a layer."""
    return op.loc.split("+")[0] or op.result.name
