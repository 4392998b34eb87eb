"""What `compile` and `quantize` say about a quantization: whether it pays, what it did, and the reports."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from secateur.options import Ends, Int8, Limits, Watch
from secateur.passes.quantize.calibration.preparation import NOISE

from ..pages.quantization_layers import Measured, Times, layer_report
from ..pages.quantization_page import sqnr_text
from ..pages.quantization_report import json_data, write_reports
from ..pages.quantization_times import Selection, Timed, medians
from ..progress import Progress
from ..report import duration, node_text
from .checks import has_kernels
from .common import refuse
from .inputs import noise_of
from .quantization import Quantization, node_names

if TYPE_CHECKING:
    from secateur import Artifact
    from secateur.ir.graph import Graph
    from secateur.passes.quantize.report import QuantizationReport, Tiled

    from ..pages.quantization_rows import LayerReport, LayerRow
    from .int8_gain import Gain

PROFILED_RUNS = 20
_SHOWN = 3
_CLOSE = 0.03  # of a gain that was foretold


@dataclass(frozen=True)
class Profile:
    """Times of each operator on this machine, of the int8 and of the float artifact."""

    measured: Measured = ()
    real_measured: Measured = ()


def profile(artifact: Path, graph: Graph, target: str, show: Progress) -> Profile:
    """Times `artifact`, and the float network of `graph`, operator by operator."""
    import secateur
    from secateur.ir.support.unfinished import temporary_folder

    with temporary_folder("secateur-") as folder:
        real = secateur.compile(graph, folder / "float.so", target, watch=Watch(progress=show))
        return Profile(_operators(artifact, show), _operators(real.path, show))


def _operators(path: Path, show: Progress) -> Measured:
    from secateur.runtime.session import load

    with load(path) as session:
        inputs = noise_of(session.inputs)
        samples = []
        for done in range(PROFILED_RUNS):
            samples.append(session.profile(inputs))
            show("profiling", done + 1, PROFILED_RUNS)
    return medians(samples)


def check_float(graph: Graph, becoming: str) -> None:
    """SecateurError where a graph is no float network any more; `becoming` is what it was to be."""
    from secateur.pipeline import is_lowered

    if is_lowered(graph):
        raise refuse(f"this IR has its primitives already; only a float network can be {becoming}")
    if any(op.name.startswith("q.") for op in graph.operators):
        why = f"only a float network can be {becoming}"
        raise refuse(f"this model is quantized already, and {why}; compile it as it is")


# What it did ---------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Quantizing:
    """A float graph, of the file `model`, that is being quantized for a target, as asked."""

    asked: Quantization
    model: Path
    graph: Graph
    target: str
    limits: Limits = Limits()

    @cached_property
    def gain(self) -> Gain:
        """What int8 is estimated to gain in a file of quantize and dequantize operators."""
        from secateur.pipeline import quantize_step

        from .int8_gain import int8_gain

        return int8_gain(self.graph, self.target, quantize_step(self.int8), qdq=True)

    @cached_property
    def int8(self) -> Int8:
        """What is asked for."""
        return self.asked.int8(node_names(self.graph))

    def conclude(
        self, report: QuantizationReport, chosen: Sequence[Timed], times: Profile | None = None
    ) -> LayerReport:
        """Writes the reports and the ranges that are wanted."""
        from secateur.passes.quantize.calibration.ranges import write_ranges

        found = describe(self.int8, self.graph, self.target, report, chosen, times or Profile())
        layers = replace(found, model=self.model.name)
        write_reports(layers, self.asked.extras.report or ())
        if self.asked.extras.save_ranges is not None:
            write_ranges(report.ranges, self.asked.extras.save_ranges)
        return layers

    def summary(self, layers: LayerReport) -> dict[str, Any]:
        """For JSON."""
        gain = layers.gain or (self.gain.ratio if has_kernels(self.target) else None)
        return {"quantization": json_data(layers), "int8_gain": gain}

    def text(self, layers: LayerReport) -> str:
        """For people."""
        written = [f"report: {path}" for path in self.asked.extras.report or ()]
        if self.asked.extras.save_ranges is not None:
            written.append(f"ranges: {self.asked.extras.save_ranges}")
        return "\n".join([summary(layers), *self._corrected(layers), *written, *warnings_of(layers)])

    def _corrected(self, layers: LayerReport) -> list[str]:
        """What the network gains as it was made, where that is not what was foretold."""
        if layers.estimate is None or layers.gain is None:
            return []
        made = replace(self.gain, float_seconds=layers.estimate[0], int8_seconds=layers.estimate[1])
        if abs(made.ratio / self.gain.expected - 1) < _CLOSE:
            return []
        return [f"as it was quantized: {made.ratio:.2f}x as fast as in float ({made.times})"]


@dataclass(frozen=True)
class Compilation(Quantizing):
    """A quantization in the course of a compilation, whose pipeline may be given."""

    given_pipeline: str | None = None
    costs: Path | None = None
    ends: Ends = Ends()

    @property
    def timed(self) -> bool:
        """Whether the target's operators have kernels of ours, whose times are estimated."""
        return has_kernels(self.target)

    @cached_property
    def gain(self) -> Gain:
        """What int8 is estimated to gain, as the pipeline quantizes."""
        from secateur.passes.framework.pipeline import parse_pipeline
        from secateur.passes.quantize.quantize import Quantize

        from .int8_gain import int8_gain

        steps = [step for step in parse_pipeline(self.pipeline) if isinstance(step, Quantize)]
        return int8_gain(self.graph, self.target, steps[0], self.costs)

    @cached_property
    def selection(self) -> Selection:
        """The observer that notes estimates."""
        from secateur.codegen.backends.registry import backend_of
        from secateur.codegen.targets.find import find

        row = find(self.target)
        return Selection(backend_of(row).costs(row))

    @cached_property
    def pipeline(self) -> str:
        """The pipeline's text, with the pass `quantize` as it was asked for."""
        from secateur.codegen.targets.find import find
        from secateur.pipeline import pipeline_of

        row = find(self.target)
        return pipeline_of(self.graph, row, self.given_pipeline, self.limits, self.int8, self.ends)

    def finish(self, artifact: Artifact, show: Progress) -> LayerReport:
        """Times what is to be timed, and writes what is wanted besides the artifact."""
        assert artifact.quantization is not None, "the pipeline quantizes"
        times = None
        if self.asked.extras.profile:
            times = profile(artifact.path, self.graph, self.target, show)
        rows = self.selection.timed if self.timed else listed(artifact.quantization)
        return self.conclude(artifact.quantization, rows, times)


def quantize_to(path: Path, work: Quantizing, show: Progress) -> LayerReport:
    """Writes the quantized graph as ONNX to `path`, and its report where it is wanted."""
    import secateur

    report = secateur.quantize(work.graph, work.int8, path, work.target, limits=work.limits, progress=show)
    return work.conclude(report, listed(report))


def listed(report: QuantizationReport) -> list[Timed]:
    """The operators of a report as they stand in it."""
    return [
        Timed(row.name, row.operator.partition(".")[2], row.primitive, row.seconds or 0.0)
        for row in report.rows
    ]


def describe(
    int8: Int8,
    graph: Graph,
    target: str,
    report: QuantizationReport,
    chosen: Sequence[Timed],
    times: Profile,
) -> LayerReport:
    """The report of a quantized `graph`, with the float network's times beside its own."""
    from ..pages.quantization_times import float_selection

    real = float_selection(graph, target) if has_kernels(target) else []
    known = Times(chosen, real, times.measured, times.real_measured)
    return layer_report(graph.name, report, known, _facts(int8, target, report), int8.layer_sqnr)


def _facts(int8: Int8, target: str, report: QuantizationReport) -> dict[str, Any]:
    real, quantized = report.accuracy or (None, None)
    return {
        "target": target,
        "calibration": calibration_text(str(int8.calibration)),
        "method": f"ranges of {int8.ranges}" if int8.ranges else int8.method,
        "output_sqnr_db": report.sqnr,
        "float_accuracy_percent": real,
        "int8_accuracy_percent": quantized,
        **_moved_facts(report),
    }


def _moved_facts(report: QuantizationReport) -> dict[str, Any]:
    """What it did that weights were moved, if they were."""
    if report.moved is None:
        return {}
    before, after = report.moved.each
    return {
        "weight_entropy_bits": after,
        "unmoved_weight_entropy_bits": before,
        "unmoved_output_sqnr_db": report.moved.sqnr,
    }


def calibration_text(source: str) -> str:
    """The source of the calibration's data; one of noise is marked as such."""
    return f"{source} (noise, not data)" if source.startswith(NOISE) else source


def summary(layers: LayerReport) -> str:
    """Some lines: how exact, how much of it in int8, what stays float as an option, the worst layers."""
    rows = layers.layers
    integer = sum(row.operator.startswith("q.") or row.int8 for row in rows)
    winograd = sum(row.operator == "q.winograd_conv" for row in rows)
    sqnr = sqnr_text(float(layers.facts["output_sqnr_db"] or 0))
    lines = [
        f"int8: {integer} of {len(rows)} operators, {winograd} of them Winograd; "
        f"output SQNR {sqnr}{_on_noise(layers)}{_accuracy(layers)}"
    ]
    if worst := _worst(rows):
        lines.append(f"noisiest layers: {worst}")
    if layers.float_layers:
        lines.append(f"kept in float: {layers.keep_float}")
    if layers.tiles:
        lines.append(tiles_text(layers.tiles))
    if "weight_entropy_bits" in layers.facts:
        lines.append(_moved_text(layers.facts))
    return "\n".join(lines)


def _moved_text(facts: Mapping[str, Any]) -> str:
    """How few bits moved weights take, and what that costs in decibels."""
    before, after = float(facts["unmoved_weight_entropy_bits"]), float(facts["weight_entropy_bits"])
    lost = float(facts["unmoved_output_sqnr_db"]) - float(facts["output_sqnr_db"] or 0)
    rate = f", {(before - after) / lost:.2f} bits a decibel" if lost > 0 else ""
    return f"weights moved: entropy of {after:.2f} bits each instead of {before:.2f}, for {lost:.1f} dB{rate}"


def tiles_text(tiles: Sequence[Tiled]) -> str:
    """How many of the 3x3 layers take a file's Winograd tile, what that gains, and what it costs."""
    taken = [tile for tile in tiles if tile.taken]
    slower, noisy = sum(not t.faster for t in tiles), sum(t.faster and not t.taken for t in tiles)
    text = f"Winograd: {len(taken)} of {len(tiles)} layers of 3x3"
    if taken:
        before, after = sum(t.seconds for t in taken), sum(t.tile_seconds for t in taken)
        worst = min(taken, key=lambda t: t.tile_sqnr or 0.0)
        text += (
            f", {duration(after)} instead of {duration(before)} by the estimate; the noisiest "
            f"{node_text(worst.layer)}, {sqnr_text(worst.tile_sqnr)} instead of {sqnr_text(worst.sqnr)}"
        )
    left = [f"{slower} are not faster so" if slower else "", f"{noisy} too noisy" if noisy else ""]
    return text + "".join(f"; {part}" for part in left if part)


def warnings_of(layers: LayerReport) -> list[str]:
    """What a user must know of a poor answer: why it is poor, and what to try."""
    from secateur.passes.quantize.warning import is_poor, reason

    sqnr = float(layers.facts["output_sqnr_db"] or 0)
    if not is_poor(sqnr) or not any(row.operator.startswith("q.") for row in layers.layers):
        return []
    tries = ["--equalize", "--method percentile"]
    if has_kernels(str(layers.facts["target"])):
        tries = ["--min-sqnr 20, which keeps the noisiest layers in float", *tries]
    noise = str(layers.facts["calibration"]).startswith(NOISE)
    first = ["--calibration with what the network will see, for these ranges are of noise"] if noise else []
    tries = [*first, *tries]
    return [f"warning: {reason(sqnr, layers.accumulated)}. Try {', or '.join(tries)}"]


def _accuracy(layers: LayerReport) -> str:
    real, quantized = (layers.facts.get(f"{kind}_accuracy_percent") for kind in ("float", "int8"))
    if real is None or quantized is None:
        return ""
    return f", accuracy {float(quantized):.2f} % (float {float(real):.2f} %)"


def _on_noise(layers: LayerReport) -> str:
    return " on noise" if str(layers.facts["calibration"]).startswith(NOISE) else ""


def _worst(rows: Sequence[LayerRow]) -> str:
    known = sorted((row.sqnr_db, row.name) for row in rows if row.sqnr_db is not None)
    return ", ".join(f"{node_text(name)} {value:.1f} dB" for value, name in known[:_SHOWN])
