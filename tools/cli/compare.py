"""`secateur compare`: layer by layer against ONNX Runtime or the interpreter."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from .common import (
    Batch,
    Constants,
    Json,
    Pipeline,
    Shapes,
    Target,
    default_pipeline,
    noise,
    parse_constants,
    parse_shapes,
    read_source,
    refuse,
    source_kind,
)
from .inputs import Inputs, Mean, Size, Std, need_images, parse_inputs

if TYPE_CHECKING:
    from secateur.ir.graph import Graph
    from secateur.passes.quantize.calibration.images import Preparation

    from ..checks.layers import Difference, Thresholds


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
    float, typer.Option(min=0, help="Error allowed besides, as a share of a value's largest magnitude.")
]
MinSqnr = Annotated[float | None, typer.Option(help="Least signal-to-noise ratio in decibels.")]


def compare(
    model: Annotated[Path, typer.Argument(help="An ONNX model, or IR text (.sir).")],
    artifact: Annotated[
        Path | None, typer.Argument(help="Also compare the outputs of this artifact.")
    ] = None,
    input: Inputs = None,
    mean: Mean = None,
    std: Std = None,
    size: Size = None,
    against: Against = None,
    atol: Atol = 1e-5,
    rtol: Rtol = 1e-4,
    min_sqnr: MinSqnr = None,
    target: Target = "host",
    shape: Shapes = None,
    batch: Batch = None,
    constant: Constants = None,
    pipeline: Pipeline = None,
    json: Json = False,
) -> None:
    """Compare every layer with a reference. Exit code 1 where one differs too much.

    Without --input, on seeded noise. The model is compiled with all surviving values as outputs, so
    layouts may differ from those of the artifact.
    """
    from secateur.passes.quantize.calibration.images import preparation_of

    from ..checks.layers import Thresholds, constant_inputs
    from ..report import print_json

    images = preparation_of(mean, std, size)
    reference = _reference(against, model)
    limits = Thresholds(atol, rtol, min_sqnr)
    shapes, constants = parse_shapes(shape), parse_constants(constant)
    graph = read_source(model, shapes, batch, constants)
    known = constant_inputs(model, shapes, constants) if constants else {}
    layers, outputs = _measure(
        graph, model, artifact, reference, limits, _arrays(graph, input, images), known, target, pipeline
    )
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
    from ..checks.layers import has_onnxruntime

    is_onnx = source_kind(model) == "onnx"
    if asked is Reference.onnxruntime and not is_onnx:
        raise refuse(
            f"{model}: ONNX Runtime reads ONNX models alone; compare IR text with --against interpreter"
        )
    return asked or (Reference.onnxruntime if is_onnx and has_onnxruntime() else Reference.interpreter)


def _arrays(graph: Graph, texts: Sequence[str] | None, images: Preparation | None) -> dict[str, Any]:
    """The arrays that --input names, else seeded noise."""
    if not texts:
        need_images(images, ())
        return noise(graph)
    ports = [_GraphPort(v.name, v.type.shape, v.type.dtype.numpy) for v in graph.inputs]
    return parse_inputs(texts, ports, images)


class _GraphPort:
    """A graph's input in the form of a session's."""

    def __init__(self, name: str, shape: tuple[int, ...], dtype: Any) -> None:
        self.name, self.shape, self.dtype = name, shape, dtype


def _measure(
    graph: Graph, model: Path, artifact: Path | None, reference: Reference, limits: Thresholds,
    inputs: dict[str, Any], known: dict[str, Any], target: str, pipeline: str | None,
) -> tuple[list[Difference], list[Difference]]:  # fmt: skip
    from secateur.codegen.targets.find import find
    from secateur.compiler import prepare
    from secateur.runtime.session import load

    from ..checks import layers as layers
    from ..report import progress

    before, after = layers.split_pipeline(prepare(pipeline or default_pipeline(graph), find(target)))
    exposed = layers.fused_graph(graph, before)
    if reference is Reference.onnxruntime:
        wanted = layers.onnxruntime_values(model, exposed.output_names, {**inputs, **known})
    else:
        wanted = layers.interpreted_values(graph, inputs)
    with progress() as show:
        found = layers.compiled_values(exposed, target, after, inputs, show)
    rows = layers.differences(exposed, wanted, found, limits)
    if artifact is None:
        return rows, []
    with load(artifact) as session:
        return rows, layers.differences(graph, wanted, session.run(inputs), limits)


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
        print(f"\nall {len(layers)} values agree with {reference.value}")
    else:
        print(f"\nthe layers agree with {reference.value}, the artifact's outputs do not.")
        print("Was it compiled from this model?")


def _table(rows: list[Difference]) -> str:
    from ..report import shape_text, table

    cells = (
        (
            "ok" if r.passed else "DIFFERS",
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
    return table(headings, cells, right=("largest error", "relative", "SQNR dB"))
