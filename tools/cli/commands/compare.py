"""`secateur compare`: layer by layer against ONNX Runtime or the interpreter."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ...progress import Progress, progress
from ...report import print_json, shape_text
from ...tables import table
from ..checks import check_pipeline, check_readable, check_runs_here
from ..common import Json, Pipeline, Target, refuse
from ..groups import spread
from ..inputs import Feed, graph_ports
from ..source import Settled, source_kind

if TYPE_CHECKING:
    from secateur.ir.graph import Graph

    from ...checks.layers import Arrays, Difference, Thresholds


class Reference(StrEnum):
    """What to compare with."""

    onnxruntime = "onnxruntime"
    interpreter = "interpreter"


Against = Annotated[
    Reference | None,
    typer.Option(help="Default: onnxruntime for an ONNX model where it is installed."),
]
Atol = Annotated[float, typer.Option(min=0, help="Error allowed for any value.")]
Rtol = Annotated[
    float | None,
    typer.Option(
        min=0,
        help="Error allowed besides, as a share of a value's largest magnitude. Default: 0.0001, 0.008 for "
        "a model in 16-bit floats.",
    ),
]
MinSqnr = Annotated[float | None, typer.Option(help="Least signal-to-noise ratio in decibels.")]


@spread()
def compare(
    model: Annotated[Path, typer.Argument(help="An ONNX model, or IR text (.sir).")],
    artifact: Annotated[
        Path | None, typer.Argument(help="Also compare the outputs of this artifact.")
    ] = None,
    *,
    feed: Feed,
    against: Against = None,
    atol: Atol = 1e-5,
    rtol: Rtol = None,
    min_sqnr: MinSqnr = None,
    target: Target = "host",
    settled: Settled,
    pipeline: Pipeline = None,
    json: Json = False,
) -> None:
    """Compare every layer with a reference. Exit code 1 where one differs too much.

    Without --input, on seeded noise. The model is compiled with all surviving values as outputs, so
    layouts may differ from those of the artifact.
    """
    from ...checks.layers import Thresholds, usual_rtol

    settled.check(model)
    check_readable(artifact)
    check_runs_here(target)
    check_pipeline(pipeline)
    feed.check()
    reference = _reference(against, model)
    with progress() as show:
        show("reading", 0, 1)
        work = _Comparison(model, settled, settled.read(model), reference)
        limits = Thresholds(atol, usual_rtol(work.graph) if rtol is None else rtol, min_sqnr)
        arrays = feed.arrays_or_noise(graph_ports(work.graph))
        layers, outputs = work.differences(arrays, limits, artifact, target, pipeline, show)
    first = next((row for row in layers if not row.passed), None)
    if json:
        print_json(
            {
                "model": str(model),
                "against": reference.value,
                "thresholds": asdict(limits),
                "ok": all(r.passed for r in layers + outputs),
                "first": first.value if first else None,
                "layers": [asdict(r) for r in layers],
                "artifact": str(artifact) if artifact else None,
                "artifact_outputs": [asdict(r) for r in outputs],
            }
        )
    else:
        _print(layers, outputs, first, reference, artifact)
    if not all(row.passed for row in layers + outputs):
        raise typer.Exit(1)


def _reference(asked: Reference | None, model: Path) -> Reference:
    from ...checks.layers import has_onnxruntime

    is_onnx = source_kind(model) == "onnx"
    if asked is Reference.onnxruntime and not is_onnx:
        raise refuse(
            f"{model}: ONNX Runtime reads ONNX models alone; compare IR text with --against interpreter"
        )
    return asked or (Reference.onnxruntime if is_onnx and has_onnxruntime() else Reference.interpreter)


@dataclass(frozen=True)
class _Comparison:
    """A model as read, and what it is held against."""

    model: Path
    settled: Settled
    graph: Graph
    reference: Reference

    def differences(
        self, inputs: Arrays, limits: Thresholds, artifact: Path | None, target: str, pipeline: str | None,
        show: Progress,
    ) -> tuple[list[Difference], list[Difference]]:  # fmt: skip
        """Those of every layer, and of the outputs of `artifact`."""
        from secateur.codegen.targets.find import find
        from secateur.pipeline import default_pipeline
        from secateur.prepare import prepare

        from ...checks import layers
        from ...checks.ties import in_found_order, outputs_in_found_order

        before, after = layers.split_pipeline(
            prepare(pipeline or default_pipeline(self.graph, find(target)), find(target))
        )
        exposed = layers.fused_graph(self.graph, before)
        show("reference", 0, 1)
        wanted = self._wanted(exposed, inputs)
        found = layers.compiled_values(exposed, target, after, inputs, show)
        rows = in_found_order(exposed, wanted, found, limits, inputs)
        if artifact is None:
            return rows, []
        outputs = _outputs(artifact, inputs, wanted)
        of_artifact = layers.differences(self.graph, wanted, outputs, limits)
        shown = {**found, **outputs}
        return rows, outputs_in_found_order(of_artifact, exposed, wanted, shown, limits, inputs)

    def _wanted(self, exposed: Graph, inputs: Arrays) -> dict[str, Any]:
        """The values of the reference."""
        from ...checks import layers

        if self.reference is Reference.interpreter:
            return layers.interpreted_values(self.graph, inputs)
        constants = self.settled.constants
        known = layers.constant_inputs(self.model, self.settled.shapes, constants) if constants else {}
        return layers.onnxruntime_values(self.model, exposed.output_names, {**inputs, **known})


def _outputs(artifact: Path, inputs: Arrays, wanted: Arrays) -> Arrays:
    """What an artifact gives; a TFLite file's bytes as real numbers in the model's order."""
    if source_kind(artifact) == "tflite":
        from ...litert import real_outputs

        return real_outputs(artifact, inputs, {name: array.shape for name, array in wanted.items()})
    from secateur.runtime.session import load

    with load(artifact) as session:
        return dict(session.run(dict(inputs)))


def _print(
    layers: list[Difference],
    outputs: list[Difference],
    first: Difference | None,
    reference: Reference,
    artifact: Path | None,
) -> None:
    print(_table(layers))
    if artifact:
        print(f"\noutputs of {artifact}:\n{_table(outputs)}")
    if first:
        print(
            f"\nfirst to differ from {reference.value}: value '{first.value}' of node {first.node}, "
            f"off by {first.largest:.3g} ({first.relative:.3g} of the largest magnitude)"
        )
    elif all(row.passed for row in outputs):
        print(f"\nall {len(layers)} values agree with {reference.value}{_reordered(layers + outputs)}")
    else:
        print(f"\nthe layers agree with {reference.value}, the artifact's outputs do not.")
        print("Was it compiled from this model?")


def _reordered(rows: list[Difference]) -> str:
    count = sum(row.reordered for row in rows)
    return f", {count} of them but for the order of elements that are nearly equal" if count else ""


def _table(rows: list[Difference]) -> str:
    cells = (
        (
            ("order" if r.reordered else "ok") if r.passed else "DIFFERS",
            f"{r.largest:.2e}",
            f"{r.relative:.2e}",
            f"{r.sqnr:.1f}",
            shape_text(r.shape),
            r.value,
            r.node,
        )
        for r in rows
    )
    headings = ("", "largest error", "relative", "SQNR dB", "shape", "value", "node")
    right = ("largest error", "relative", "SQNR dB")
    return table(headings, cells, right=right, shorten=("value", "node"), spare=("relative", "shape"))
