"""`secateur compile`: a model becomes an artifact."""

from __future__ import annotations

import sys
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from . import quantization as q
from .common import (
    Json,
    Pipeline,
    Shapes,
    Target,
    default_pipeline,
    nearest,
    parse_shapes,
    random_array,
    read_source,
    refuse,
)

if TYPE_CHECKING:
    from secateur import Artifact
    from secateur.ir.graph import Graph
    from secateur.passes.manager import Observer, Record

    from .quantized import Compilation

Passes = list[str] | None
_PRINT = "Print the IR %s a pass, or `all`. Repeatable."
PrintBefore = Annotated[Passes, typer.Option(metavar="PASS", help=_PRINT % "before")]
PrintAfter = Annotated[Passes, typer.Option(metavar="PASS", help=_PRINT % "after")]
PrintAfterChange = Annotated[Passes, typer.Option(metavar="PASS", help=_PRINT % "that was changed by")]
DumpFolder = Annotated[
    Path | None,
    typer.Option(help="Write the IR after each pass, and every kernel's TIR, LLVM IR and assembly, there."),
]
OutputPath = Annotated[
    Path | None, typer.Option("--output", "-o", help="The artifact. Default: the model's name.")
]
Verify = Annotated[
    bool, typer.Option("--verify", help="Check every pass against the interpreter, on seeded noise.")
]


Tune = Annotated[
    bool,
    typer.Option(
        "--tune", help="Choose primitives by times measured on this machine (slow at first, then cached)."
    ),
]


class Precision(StrEnum):
    """What a network computes in instead of float."""

    int8 = "int8"


class Kind(StrEnum):
    """Forms of an artifact."""

    so = "so"
    dir = "dir"
    tar = "tar"


def compile_model(
    model: Annotated[Path, typer.Argument(help="An ONNX model, or IR text (.sir).")],
    output: OutputPath = None,
    target: Target = "host",
    shape: Shapes = None,
    pipeline: Pipeline = None,
    kind: Annotated[Kind | None, typer.Option(help="Default: by the output's suffix, else so.")] = None,
    dump_ir: DumpFolder = None,
    print_ir_before: PrintBefore = None,
    print_ir_after: PrintAfter = None,
    print_ir_after_change: PrintAfterChange = None,
    tune: Tune = False,
    verify: Verify = False,
    timings: Annotated[bool, typer.Option("--timings", help="Say how long each pass took.")] = False,
    quantize: Annotated[Precision | None, typer.Option(help="Compute in 8 bits.")] = None,
    calibration: q.CalibrationSource = None,
    images: q.Images = None,
    mean: q.Mean = None,
    std: q.Std = None,
    size: q.Size = None,
    method: q.MethodOption = None,
    min_sqnr: q.MinSqnr = None,
    layer_sqnr: q.LayerSqnr = None,
    max_drop: q.MaxDrop = None,
    winograd: q.WinogradOption = None,
    keep_float: q.KeepFloat = None,
    equalize: q.Equalize = False,
    ranges: q.RangesFile = None,
    save_ranges: q.SaveRanges = None,
    report: q.Reports = None,
    profile: Annotated[
        bool, typer.Option("--profile", help="Time every layer, in int8 and float, for the report.")
    ] = False,
    json: Json = False,
) -> None:
    """Compile a model to a self-contained artifact. Printed IR goes to stderr."""
    import secateur

    from ..report import print_json, progress

    asked = q.Quantization(
        calibration, images, mean, std, size, method, min_sqnr, layer_sqnr, max_drop, winograd, keep_float,
        equalize, ranges, save_ranges, report, profile,
    )  # fmt: skip
    _check_quantization(quantize, asked, pipeline, target)
    chosen = _kind(kind, output)
    printed = {
        "before_passes": print_ir_before,
        "after_passes": print_ir_after,
        "after_change": print_ir_after_change,
    }
    graph = read_source(model, parse_shapes(shape))
    work = _quantizing(asked, graph, target, pipeline) if quantize else None
    text = pipeline or (work.pipeline if work else default_pipeline(graph))
    _check_passes(text, printed)
    if work and not json:
        print(work.gain.text, flush=True)
    with progress() as show:
        artifact = secateur.compile(
            graph,
            output or default_output(model, chosen),
            target=target,
            pipeline=text,
            tune=tune,
            kind=chosen.value,
            dump_ir=dump_ir,
            observers=(*_observers(printed), *((work.selection,) if work else ())),
            inputs=noise(graph) if verify else None,
            progress=show,
            **(work.keywords if work else {}),
        )
        layers = work.finish(artifact, show) if work else None
    if json:
        print_json(_summary(artifact) | (work.summary(layers) if work and layers else {}))
        return
    _print(artifact, dump_ir, timings or verify)
    if work and layers:
        print(work.text(layers))


def _check_quantization(
    quantize: Precision | None, asked: q.Quantization, pipeline: str | None, target: str
) -> None:
    """SecateurError where the options do not go together."""
    from .quantized import check_target

    if quantize is None:
        if given := asked.given():
            raise refuse(f"{', '.join(given)}: only for a quantization; give --quantize int8 too")
        return
    asked.check()
    if pipeline is not None:
        asked.check_pipeline(pipeline)
    if asked.profile:
        check_target(target)


def _quantizing(asked: q.Quantization, graph: Graph, target: str, pipeline: str | None) -> Compilation:
    from .quantized import Compilation, check_float

    check_float(graph)
    return Compilation(asked, graph, target, pipeline)


def _kind(kind: Kind | None, output: Path | None) -> Kind:
    """As asked for, else by the output: an existing folder is `dir`, `.tar` is `tar`, anything else `so`."""
    if kind is not None:
        return kind
    if output is not None and output.is_dir():
        return Kind.dir
    return Kind.tar if output is not None and output.suffix == ".tar" else Kind.so


def default_output(model: Path, kind: Kind) -> Path:
    """The model's name in the current folder with the suffix of the kind."""
    path = Path(model.stem if kind is Kind.dir else f"{model.stem}.{kind.value}")
    if path.resolve() == model.resolve():
        raise refuse(f"{path}: is the model itself; name the artifact with -o")
    return path


def _check_passes(pipeline: str, printed: dict[str, Passes]) -> None:
    """SecateurError where the IR is to be printed around a pass that is not in the pipeline."""
    from secateur.passes.manager import ALL
    from secateur.passes.pipeline import parse_pipeline

    names = [step.name for step in parse_pipeline(pipeline)]
    for wanted in (name for passes in printed.values() for name in passes or ()):
        if wanted not in (ALL, *names):
            raise refuse(f"the pipeline has no pass '{wanted}'{nearest(wanted, [ALL, *names])}")


def _observers(printed: dict[str, Passes]) -> tuple[Observer, ...]:
    from secateur.passes.manager import PrintIR

    chosen: dict[str, Any] = {when: passes or () for when, passes in printed.items()}
    return (PrintIR(sys.stderr.write, **chosen),)


def noise(graph: Graph) -> dict[str, Any]:
    """Seeded arrays for the graph's inputs."""
    return {
        v.name: random_array(v.type.shape, v.type.dtype.numpy, seed) for seed, v in enumerate(graph.inputs)
    }


def artifact_bytes(path: Path) -> int:
    """Size on disk of an artifact of any kind."""
    return (
        sum(f.stat().st_size for f in path.rglob("*") if f.is_file())
        if path.is_dir()
        else path.stat().st_size
    )


def _pass_row(record: Record) -> dict[str, Any]:
    return {
        "pass": record.text,
        "seconds": record.seconds,
        "operators_before": record.operators_before,
        "operators_after": record.operators_after,
        "moved": record.moved,
    }


def _summary(artifact: Artifact) -> dict[str, Any]:
    from secateur.runtime.manifest import read_manifest

    manifest = read_manifest(artifact.path)
    return {
        "artifact": str(artifact.path),
        "bytes": artifact_bytes(artifact.path),
        "manifest": manifest,
        "passes": [_pass_row(record) for record in artifact.outcome.records],
    }


def _print(artifact: Artifact, dump_ir: Path | None, timings: bool) -> None:
    from ..report import amount, size

    summary = _summary(artifact)
    manifest, operators = summary["manifest"], summary["manifest"]["operators"]
    if timings:
        print(_timings(summary["passes"]))
    print(
        f"{artifact.path}: {size(summary['bytes'])} for {manifest['target']['name']}, "
        f"{len(operators)} operators, {amount(sum(row['macs'] for row in operators))}MAC, "
        f"{size(manifest['weights_bytes'])} weights, {size(manifest['arena_bytes'])} arena"
    )
    if dump_ir is not None:
        print(f"IR and kernels: {dump_ir}")


def _timings(passes: list[dict[str, Any]]) -> str:
    from ..report import duration, table

    rows = (
        (
            row["pass"],
            duration(row["seconds"]),
            f"{row['operators_before']} -> {row['operators_after']}",
            None if row["moved"] is None else f"{row['moved']:.2g}",
        )
        for row in passes
    )
    return table(("pass", "time", "operators", "answer moved"), rows, right=("time", "answer moved"))
