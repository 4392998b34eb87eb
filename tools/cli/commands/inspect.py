"""`secateur inspect`: what a model or an artifact is made of."""

from __future__ import annotations

import math
import sys
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from secateur.ir.support.words import known_names
from secateur.options import Limits

from ...progress import Progress, progress
from ...report import print_json
from ..checks import check_pipeline, check_readable, check_target
from ..choices import Choices
from ..common import Costs, Json, Pipeline, Target, refuse
from ..compiled import artifact_bytes
from ..groups import Given, spread
from ..inspected import print_text
from ..source import Settled, source_kind
from ..tflite import print_tflite

if TYPE_CHECKING:
    from secateur.codegen.targets.target import Target as TargetRow
    from secateur.ir.graph import Graph, Operator
    from secateur.passes.framework.manager import Observer

READ = "read"
FINAL = "final"


Source = Annotated[Path, typer.Argument(help="An ONNX model, IR text (.sir), an artifact, or a TFLite file.")]
IrStage = Annotated[
    str | None,
    typer.Option(
        metavar="STAGE", help="Print the IR instead: `read`, after a pass such as `fuse`, or `final`."
    ),
]

MappingPage = Annotated[
    Path | None,
    typer.Option(
        "--report", metavar="FILE.html", help="Of a TFLite file: what the Edge TPU computes, and why."
    ),
]
Compiles = Annotated[
    bool,
    typer.Option(
        "--compile", help="Of a TFLite file: run Google's edgetpu_compiler, and show its verdict too."
    ),
]


@spread()
def inspect(
    file: Source,
    *,
    ir: IrStage = None,
    target: Target = "host",
    settled: Settled,
    pipeline: Pipeline = None,
    costs: Costs = None,
    limits: Given[Limits],
    report: MappingPage = None,
    compiles: Compiles = False,
    json: Json = False,
) -> None:
    """Show what a model or an artifact is made of.

    A summary, every operator, and for a model the best other primitive of each operator and the memory map it
    gets when compiled.
    """
    if source_kind(file) == "tflite":
        print_tflite(file, json, report, compiles)
        return
    if report is not None or compiles:
        raise refuse(f"{file}: is no TFLite file; --report and --compile are for those")
    if source_kind(file) == "artifact":
        if limits.words:
            raise refuse(f"{file}: is an artifact, whose primitives are chosen; limits are for a model")
        result = _artifact(file, ir)
    else:
        settled.check(file)
        check_target(target)
        asked = _Asked(target, pipeline, costs, limits.value())
        asked.limits.check_beside(pipeline)
        check_pipeline(pipeline)
        check_readable(costs)
        with progress() as show:
            result = _model(file, settled, asked, ir, show)
    if json:
        print_json(result)
    elif "text" in result:
        sys.stdout.write(result["text"])
    else:
        print_text(result)


# Models --------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Asked:
    """How a model would be compiled."""

    target: str
    pipeline: str | None
    costs: Path | None
    limits: Limits


def _model(file: Path, settled: Settled, asked: _Asked, ir: str | None, show: Progress) -> dict[str, Any]:
    from secateur.codegen.targets.find import find
    from secateur.pipeline import pipeline_of

    show("reading", 0, 1)
    source, choices = settled.read(file), Choices()
    text = pipeline_of(source, find(asked.target), asked.pipeline, asked.limits, None)
    show("passes", 0, 1)
    graph = staged(source, asked.target, text, ir or FINAL, (choices,), asked.costs)
    if ir:
        return {"text": _text(graph)}
    costs = None if asked.costs is None else str(asked.costs)
    found = describe(graph, choices, find(asked.target))
    return {"file": str(file), "target": asked.target, "costs": costs, **found}


def _text(graph: Graph) -> str:
    from secateur.ir.printer import print_graph

    return print_graph(graph)[0]


def staged(
    graph: Graph,
    target: str,
    pipeline: str | None,
    stage: str,
    observers: tuple[Observer, ...] = (),
    costs: Path | None = None,
) -> Graph:
    """The graph as read, after the last pass called `stage`, or after all of them (`final`)."""
    from secateur.codegen.targets.find import find
    from secateur.ir.verifier import verify
    from secateur.passes.framework.manager import PassManager
    from secateur.pipeline import default_pipeline
    from secateur.prepare import prepare, warn_of_estimates

    verify(graph)
    passes = prepare(pipeline or default_pipeline(graph, find(target)), find(target), costs=costs)
    stages = [READ, *(step.name for step in passes), FINAL]
    if stage not in stages:
        raise refuse(f"the pipeline has no stage '{stage}'{known_names(stage, stages)}")
    if stage == READ:
        return graph
    count = len(passes) if stage == FINAL else len(stages) - 1 - stages[::-1].index(stage)
    outcome = PassManager(passes[:count], observers).run(graph)
    warn_of_estimates(passes[:count])
    return outcome.graph


def describe(graph: Graph, choices: Choices | None = None, target: TargetRow | None = None) -> dict[str, Any]:
    """Inputs, outputs, operators, totals and, once every value has a place, the memory map.

    With the target, what the weights of every operator whose primitive is chosen take in the artifact.
    """
    computing = [op for op in graph.operators if op.name != "nn.constant"]
    known = choices.rows(computing) if choices else [{} for _ in computing]
    operators = [_operator(op, target) | row for op, row in zip(computing, known, strict=True)]
    constants = [op for op in graph.operators if op.name == "nn.constant"]
    return {
        "name": graph.name,
        "inputs": [{"name": v.name, "type": str_type(v.type)} for v in graph.inputs],
        "outputs": [
            {"name": n, "type": str_type(v.type)}
            for v, n in zip(graph.outputs, graph.output_names, strict=True)
        ],
        "macs": sum(row["macs"] for row in operators),
        "constant_bytes": sum(op["value"].nbytes for op in constants),
        "weight_bytes": sum(row["weight_bytes"] or 0 for row in operators),
        "operators": operators,
        "seconds": math.fsum(row["seconds"] for row in known if row) if any(known) else None,
        "memory": memory_map(graph),
    }


def str_type(type: Any) -> str:
    """A type without `tensor<>`: `1x8x4x4xf32, NCHW8c`."""
    return str(type).removeprefix("tensor<").removesuffix(">")


def _operator(op: Operator, target: TargetRow | None) -> dict[str, Any]:
    steps = [step.op for step in op["epilogue"]] if op.definition.attribute("epilogue") else []
    return {
        "operator": op.name,
        "node": op.loc,
        "operands": [str_type(v.type) for v in op.operands],
        "results": [str_type(r.type) for r in op.results],
        "epilogue": steps,
        "macs": op.macs,
        "primitive": op.get("primitive"),
        "layouts": [*op.get("operand_layouts", ()), "->", *(r.type.layout.name for r in op.results)],
        "workspace": op.get("workspace", 0),
        **_weights(op, target),
    }


def _weights(op: Operator, target: TargetRow | None) -> dict[str, int | None]:
    """Bytes of an operator's constants in the model, and as its primitive wants them in the artifact."""
    from secateur.codegen.backends.registry import kernels_of
    from secateur.codegen.primitives.chosen import weight_bytes
    from secateur.ir.graph import constant_of

    arrays = (constant_of(v) for v in op.operands)
    packed = None
    if target is not None and "primitive" in op.attributes:
        packed = weight_bytes(kernels_of(target).primitives.find(op), op, target)
    return {"constant_bytes": sum(a.nbytes for a in arrays if a is not None), "weight_bytes": packed}


def memory_map(graph: Graph) -> dict[str, Any] | None:
    """Where every value lies in the arena, or None before the memory pass has run."""
    if not any("offset" in op.attributes for op in graph.operators):
        return None
    from secateur.passes.memory.memory import arena_report

    report = arena_report(graph)
    rows = [asdict(live) for live in sorted(report.ranges, key=lambda live: (live.offset, live.start))]
    return {"peak_bytes": report.peak, "lower_bound_bytes": report.lower_bound, "ranges": rows}


# Artifacts -----------------------------------------------------------------------------------------


def _artifact(path: Path, ir: str | None) -> dict[str, Any]:
    from secateur.ir.parser import absent_resources, parse_graph
    from secateur.runtime.manifest import read_manifest

    manifest = dict(read_manifest(path))
    text = manifest.pop("ir", "")
    if ir not in (None, FINAL):
        raise refuse(f"an artifact carries its final IR alone; for stage '{ir}' inspect the model")
    if ir == FINAL:
        return {"text": text}
    graph = parse_graph(text, absent_resources(text)) if text else None
    described = {"operators": [], "memory": None} if graph is None else describe(graph)
    return {"file": str(path), "bytes": artifact_bytes(path), "manifest": manifest, **described}
