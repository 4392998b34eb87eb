"""`secateur inspect`: what a model or an artifact is made of."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from .common import (
    Json,
    Pipeline,
    Shapes,
    Target,
    default_pipeline,
    nearest,
    parse_shapes,
    read_source,
    refuse,
    source_kind,
)
from .compiled import artifact_bytes

if TYPE_CHECKING:
    from secateur.ir.graph import Graph, Operator

READ = "read"
FINAL = "final"


Source = Annotated[Path, typer.Argument(help="An ONNX model, IR text (.sir), or an artifact.")]
IrStage = Annotated[
    str | None,
    typer.Option(
        metavar="STAGE", help="Print the IR instead: `read`, after a pass such as `fuse`, or `final`."
    ),
]


def inspect(
    file: Source,
    ir: IrStage = None,
    target: Target = "host",
    shape: Shapes = None,
    pipeline: Pipeline = None,
    json: Json = False,
) -> None:
    """Show what a model or an artifact is made of.

    A summary, every operator, and for a model the memory map it gets when compiled.
    """
    from ..report import print_json

    if source_kind(file) == "artifact":
        result = _artifact(file, ir)
    else:
        graph = staged(read_source(file, parse_shapes(shape)), target, pipeline, ir or FINAL)
        result = {"text": _text(graph)} if ir else {"file": str(file), "target": target, **describe(graph)}
    if json:
        print_json(result)
    elif "text" in result:
        sys.stdout.write(result["text"])
    else:
        _print(result)


# Models --------------------------------------------------------------------------------------------


def _text(graph: Graph) -> str:
    from secateur.ir.printer import print_graph

    return print_graph(graph)[0]


def staged(graph: Graph, target: str, pipeline: str | None, stage: str) -> Graph:
    """The graph as read, after the last pass called `stage`, or after all of them (`final`)."""
    from secateur.codegen.targets import find
    from secateur.compiler import prepare
    from secateur.ir.verifier import verify
    from secateur.passes.manager import PassManager

    verify(graph)
    passes = prepare(pipeline or default_pipeline(graph), find(target))
    stages = [READ, *(step.name for step in passes), FINAL]
    if stage not in stages:
        raise refuse(f"the pipeline has no stage '{stage}'{nearest(stage, stages)}")
    if stage == READ:
        return graph
    count = len(passes) if stage == FINAL else len(stages) - 1 - stages[::-1].index(stage)
    return PassManager(passes[:count]).run(graph).graph


def describe(graph: Graph) -> dict[str, Any]:
    """Inputs, outputs, operators, totals and, once every value has a place, the memory map."""
    operators = [_operator(op) for op in graph.operators if op.name != "nn.constant"]
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
        "operators": operators,
        "memory": memory_map(graph),
    }


def str_type(type: Any) -> str:
    """A type without `tensor<>`: `1x8x4x4xf32, NCHW8c`."""
    from secateur.ir.printer import format_type

    return format_type(type).removeprefix("tensor<").removesuffix(">")


def _operator(op: Operator) -> dict[str, Any]:
    steps = [step.op for step in op["epilogue"]] if op.definition.attribute("epilogue") else []
    return {
        "operator": op.name,
        "node": op.loc,
        "operands": [str_type(v.type) for v in op.operands],
        "results": [str_type(r.type) for r in op.results],
        "epilogue": steps,
        "macs": op.definition.macs(op),
        "primitive": op.get("primitive"),
        "layouts": [*op.get("operand_layouts", ()), "->", *(r.type.layout.name for r in op.results)],
        "workspace": op.get("workspace", 0),
    }


def memory_map(graph: Graph) -> dict[str, Any] | None:
    """Where every value lies in the arena, or None before the memory pass has run."""
    if not any("offset" in op.attributes for op in graph.operators):
        return None
    from secateur.passes.memory import arena_report

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


# Text ----------------------------------------------------------------------------------------------


def _print(result: Mapping[str, Any]) -> None:
    if "manifest" in result:
        _print_artifact(result)
    else:
        _print_model(result)


def _print_model(result: Mapping[str, Any]) -> None:
    from ..report import amount, facts, size

    memory = result["memory"]
    rows = [
        ("file", result["file"]),
        *_ports(result),
        ("MACs", amount(result["macs"])),
        ("constants", size(result["constant_bytes"])),
    ]
    if memory:
        bound = memory["lower_bound_bytes"]
        rows.append(("arena", f"{size(memory['peak_bytes'])} (lower bound {size(bound)})"))
    print(facts(rows))
    _print_operators(result)


def _print_operators(result: Mapping[str, Any]) -> None:
    from ..report import node_text, table

    headings = ("operator", "node", "result", "MACs", "primitive", "layouts", "workspace")
    print("\n" + table(headings, map(_operator_cells, result["operators"]), right=("MACs", "workspace")))
    if result["memory"]:
        cells = (
            (r["offset"], r["size"], f"{r['start']}..{r['end']}", r["name"] or "-", node_text(r["operator"]))
            for r in result["memory"]["ranges"]
        )
        places = ("offset", "bytes", "alive", "value", "from")
        print("\n" + table(places, cells, right=("offset", "bytes", "alive")))


def _ports(result: Mapping[str, Any]) -> list[tuple[str, str]]:
    return [(kind, f"{p['name']}: {p['type']}") for kind in ("input", "output") for p in result[f"{kind}s"]]


def _operator_cells(row: Mapping[str, Any]) -> tuple[object, ...]:
    from ..report import amount, node_text, size

    name = "+".join([row["operator"], *row["epilogue"]])
    layouts = " ".join(row["layouts"]) if row["primitive"] else None
    return (
        name,
        node_text(row["node"]) or None,
        "; ".join(row["results"]),
        amount(row["macs"]) if row["macs"] else None,
        row["primitive"],
        layouts,
        size(row["workspace"]) if row["workspace"] else None,
    )


def _print_artifact(result: Mapping[str, Any]) -> None:
    from ..report import amount, facts, shape_text, size

    manifest = result["manifest"]
    target = manifest["target"]
    ports = (
        (kind, f"{p['name']}: {shape_text(p['shape'])} {p['dtype']}")
        for kind in ("input", "output")
        for p in manifest[f"{kind}s"]
    )
    arena, thread = manifest["arena_bytes"], manifest["thread_bytes"]
    rows = [
        ("file", f"{result['file']} ({size(result['bytes'])})"),
        ("model", manifest["name"]),
        ("target", f"{target['name']} ({target['cpu']})"),
        ("needs", ", ".join(target["features"]) or "nothing special"),
        *ports,
        ("MACs", amount(sum(row["macs"] for row in manifest["operators"]))),
        ("weights", size(manifest["weights_bytes"])),
        ("arena", f"{size(arena)}, and {size(thread)} for each further thread"),
        *((name, manifest[name]) for name in ("pipeline", "secateur") if name in manifest),
    ]
    print(facts(rows))
    _print_operators(result)
