"""The road of a model in one call: read, run the pipeline, lower, write the artifact."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, get_args

from .artifact_check import Verified, check_artifact, check_runnable
from .codegen.artifact import write_artifact
from .codegen.backends.registry import backend_of
from .codegen.build import Progress, silent
from .codegen.cache import cache_folder
from .codegen.program import Program
from .codegen.targets.find import find
from .codegen.targets.host import check_here
from .codegen.targets.target import Target
from .ir.choice import CostTable
from .ir.errors import ModelError, SecateurError
from .ir.files import read_graph
from .ir.graph import Graph
from .ir.noise import noise
from .ir.onnx_reader import read_model
from .ir.printer import print_graph
from .ir.support.atomic import write_whole
from .ir.support.ir_text import SUFFIX
from .limits import chosen_pipeline
from .passes.framework.base import Pass
from .passes.framework.manager import DumpIR, Observer, Outcome, PassManager
from .passes.framework.pipeline import format_pass, parse_pipeline
from .passes.memory.placement import check_placement
from .passes.quantize.calibrate import CalibrationData
from .passes.quantize.quantize import Listener, Quantize, ignored, quantized_pairs
from .passes.quantize.report import QuantizationReport
from .passes.registry import DEFAULT_PIPELINE
from .passes.select.select import Select
from .quantizer import Calibration, Request, request

Kind = Literal["so", "dir", "tar"]
Verify = Literal["passes", "artifact"]
Shapes = Mapping[str, tuple[int, ...]]
Constants = Mapping[str, Any]
Costs = CostTable | str | Path  # or a cost table's file


@dataclass(frozen=True, eq=False)
class Artifact:
    """What a compilation gave: where it lies, its manifest, the graph lowered, and what quantization did.

    `verified` has a row for each output where the artifact itself was checked.
    """

    path: Path
    manifest: Mapping[str, Any]
    graph: Graph
    outcome: Outcome
    quantization: QuantizationReport | None = None
    verified: tuple[Verified, ...] = ()


def read(
    model: str | Path,
    shapes: Shapes | None = None,
    batch: int | None = None,
    constants: Constants | None = None,
) -> Graph:
    """The graph in an ONNX file or an IR text (`.sir`); `shapes` settles symbolic dimensions by input name.

    `batch` settles the first dimension of inputs where it is free; without it that becomes 1, with a warning
    of the kind ModelNote. `constants` gives inputs of an ONNX file that are known beforehand, by name:
    numbers, lists of them, or arrays.

    Raises ModelError where the file is missing, damaged, or holds what Secateur cannot compile.
    """
    path = Path(model)
    if not os.path.isfile(path):  # False, not an error, where the system refuses the name
        raise ModelError(f"{path}: no such file")
    if path.suffix != SUFFIX:
        return read_model(path, shapes, constants, batch)
    if constants:
        raise ModelError(f"{path}: `constants` are for inputs of an ONNX model; IR text has its own already")
    return read_graph(path)


def _graph_of(
    model: str | Path | Graph, shapes: Shapes | None, batch: int | None, constants: Constants | None
) -> Graph:
    """The graph given, or that in the file given."""
    if not isinstance(model, Graph):
        return read(model, shapes, batch, constants)
    if constants:
        raise ModelError("`constants` are for inputs of an ONNX model; a graph has its own already")
    return model


def prepare(
    pipeline: str,
    target: Target,
    tune: bool = False,
    data: CalibrationData | None = None,
    listen: Listener = ignored,
    costs: Costs | None = None,
) -> tuple[Pass, ...]:
    """The passes of a pipeline's text; those that ask for costs or calibration data are handed them."""
    table = cost_table(target, tune, costs)
    return tuple(_equipped(p, table, data, listen) for p in parse_pipeline(pipeline))


def _equipped(step: Pass, costs: CostTable, data: CalibrationData | None, listen: Listener) -> Pass:
    if isinstance(step, Quantize):
        return replace(step, costs=costs, data=data, listen=listen)
    return replace(step, costs=costs) if isinstance(step, Select) else step


def cost_table(target: Target, tune: bool = False, costs: Costs | None = None) -> CostTable:
    """Estimates for `target`; with `tune` times measured on this machine, or those of the table `costs`.

    SecateurError where the two are asked for together, or cannot be had for this target.
    """
    if tune and costs is not None:
        raise SecateurError("times are measured (tune) or taken from a table (costs), not both")
    if isinstance(costs, str | Path):
        from .costs.measured import table_costs

        return table_costs(Path(costs), target)
    if tune:
        from .costs.tuning import MeasuredCosts

        check_here(target)
        return MeasuredCosts(target)
    return costs or backend_of(target).costs(target)


def warn_of_estimates(passes: Sequence[Pass]) -> None:
    """A warning where operators were selected by a table that does not know them all."""
    from .costs.measured import TableCosts

    for step in passes:
        if isinstance(step, Select) and isinstance(step.costs, TableCosts):
            step.costs.warn()


def _manifest(graph: Graph, passes: Sequence[Pass]) -> dict[str, Any]:
    from . import __version__

    return {
        "secateur": __version__,
        "pipeline": ",".join(map(format_pass, passes)),
        "ir": print_graph(graph)[0],
    }


def build_program(
    model: str | Path | Graph,
    *,
    target: str = "host",
    shapes: Shapes | None = None,
    batch: int | None = None,
    constants: Constants | None = None,
    pipeline: str | None = None,
    memory: int | None = None,
    latency: float | None = None,
    min_sqnr: float | None = None,
    without: str | Sequence[str] = (),
    strict: bool = False,
    tune: bool = False,
    costs: Costs | None = None,
    observers: Sequence[Observer] = (),
    inputs: Mapping[str, Any] | None = None,
    verify: Verify | None = None,
    progress: Progress = silent,
    quantization: Request | None = None,
    listen: Listener = ignored,
) -> tuple[Program, Outcome]:
    """Everything but writing the artifact: the lowered program and what the passes did.

    With `inputs` (arrays by name), or `verify` (on noise then), every pass is checked against the
    interpreter. `pipeline` defaults to
    `DEFAULT_PIPELINE`, with the pass `quantize` behind fusion where `quantization` asks for it and the
    limits of `secateur.limits.limited` in the pass `select`; `listen` gets what `quantize` did.
    """
    row = find(target)
    default = quantization.pipeline() if quantization else DEFAULT_PIPELINE
    pipeline = chosen_pipeline(pipeline, default, memory, latency, min_sqnr, without, strict)
    parse_pipeline(pipeline)
    progress("reading", 0, 1)
    graph = _graph_of(model, shapes, batch, constants)
    inputs = noise(graph) if verify and inputs is None else inputs
    data = quantization.data(graph, progress) if quantization else None
    passes = prepare(pipeline, row, tune, data, listen, costs)
    progress("passes", 0, 1)
    outcome = PassManager(passes, tuple(observers), inputs).run(graph)
    if costs is not None:
        warn_of_estimates(passes)
    check_placement(outcome.graph)
    manifest = _manifest(outcome.graph, passes)
    program: Program = backend_of(row).emit(outcome.graph, row, manifest, progress)
    return program, outcome


def compile(
    model: str | Path | Graph,
    output: str | Path | None = None,
    *,
    target: str = "host",
    shapes: Shapes | None = None,
    batch: int | None = None,
    constants: Constants | None = None,
    pipeline: str | None = None,
    memory: int | None = None,
    latency: float | None = None,
    min_sqnr: float | None = None,
    without: str | Sequence[str] = (),
    strict: bool = False,
    tune: bool = False,
    costs: Costs | None = None,
    kind: Kind = "so",
    dump_ir: str | Path | None = None,
    observers: Sequence[Observer] = (),
    inputs: Mapping[str, Any] | None = None,
    verify: Verify | None = None,
    progress: Progress = silent,
    quantize: Literal["int8"] | None = None,
    calibration: Calibration | None = None,
    **options: Any,
) -> Artifact:
    """Compiles `model` (an ONNX file, an IR text, or a graph) to an artifact at `output`.

    `output` defaults to the model's name with the suffix of `kind`: `so` (one
    library), `dir` or `tar` (library, header, static bench program, manifest,
    IR). `shapes` settles dimensions of inputs by name, `batch` the first one of those that leave it free
    (else 1); `constants` gives, by name, inputs that are known beforehand and are none of the artifact's:
    numbers, lists of them, or arrays. `dump_ir` names a folder for the IR after each pass and every kernel's
    TIR, LLVM IR and assembly. `tune` chooses primitives by times measured on this
    machine instead of estimates (minutes at first; kept in the cache); `costs` names a file of times that
    `secateur profile` wrote, for this target.

    `memory` (bytes of arena) and `latency` (seconds on one core, by the cost table) are limits of the default
    pipeline: the fastest plan within `memory` is chosen, or with `latency` alone the one of least memory.
    `min_sqnr` (dB) is what the rounding errors of primitives may add up to in a float network, and `without`
    names primitives that are not chosen: "winograd6", or "winograd6@NODE" for one operator.
    `strict` keeps an infinite or NaN pixel to the results that depend on it: no Winograd, no grouped
    convolution by shared vectors, and padded convolutions with weights that are not finite are refused.
    A limit that no plan keeps is refused with the nearest that one keeps.

    `quantize="int8"` makes it compute in 8 bits with ranges chosen on `calibration`: a folder of images,
    an .npz or .npy file, a list file, "random:N", or an iterable of {input name: array}. `options` are the
    other fields of `secateur.quantizer.Request`: `method` ("mse", "percentile", "minmax", "entropy"),
    `layer_sqnr` (dB that each layer keeps at least; `min_sqnr` is then the network's), `max_drop` (percentage
    points of accuracy on labelled data), `winograd` ("auto", "off", "2", "4x2", "4", "lance"),
    `float_layers` (ONNX node names), `bias_correction`, `equalize`, `reduce_range` (weights of 7 bits, but
    for Winograd tiles), `ranges` (a file), `preparation` and `images` (how image files are prepared, and how
    many are used).

    `verify="passes"` checks every pass against the interpreter, `verify="artifact"` also the finished
    artifact, which is run on this machine before it is put in its place: to the bit where integers alone are
    computed, within the tolerances of `secateur.artifact_check` else. Both use `inputs`, or seeded noise.

    Raises SecateurError for anything wrong with the request or the model, its subclass ValidationError
    where a check fails; no output is left half-written.
    """
    _check_verify(verify, target)
    if dump_ir is not None:
        observers = (*observers, DumpIR(Path(dump_ir)))
    reports: list[QuantizationReport] = []
    if quantize is not None and min_sqnr is not None:
        options["min_sqnr"], min_sqnr = min_sqnr, None
    program, outcome = build_program(
        model,
        target=target,
        shapes=shapes,
        batch=batch,
        constants=constants,
        pipeline=pipeline,
        memory=memory,
        latency=latency,
        min_sqnr=min_sqnr,
        without=without,
        strict=strict,
        tune=tune,
        costs=costs,
        observers=observers,
        inputs=inputs,
        verify=verify,
        progress=progress,
        quantization=request(quantize, calibration, options),
        listen=reports.append,
    )
    if dump_ir is not None:
        dump_kernels(program, Path(dump_ir) / "kernels")
    progress("linking", 0, 1)
    path = Path(output) if output is not None else _default_output(model, kind)
    verified: list[Verified] = []

    def check(draft: Path) -> None:
        verified.extend(_checked(draft, outcome, inputs) if verify == "artifact" else ())

    dumps = _dumps(outcome.graph) if kind != "so" else {}
    write_artifact(program, path, kind, dumps, cache_folder(), check)
    progress("linking", 1, 1)
    report = next(iter(reports), None)
    return Artifact(path, program.manifest, outcome.graph, outcome, report, tuple(verified))


def _check_verify(verify: str | None, target: str) -> None:
    """SecateurError where that cannot be verified, before any work is done."""
    if verify not in (None, *get_args(Verify)):
        raise SecateurError(f"verify is '{verify}'; known: {', '.join(get_args(Verify))}")
    if verify == "artifact":
        check_runnable(find(target))


def _checked(draft: Path, outcome: Outcome, inputs: Mapping[str, Any] | None) -> tuple[Verified, ...]:
    """The artifact against the answers of the last pass's graph."""
    assert outcome.answers is not None, "passes are validated on the same inputs"
    given = noise(outcome.graph) if inputs is None else inputs
    return check_artifact(draft, outcome.graph, given, outcome.answers)


def quantize(
    model: str | Path | Graph,
    output: str | Path | None = None,
    *,
    calibration: Calibration,
    target: str = "host",
    shapes: Shapes | None = None,
    batch: int | None = None,
    constants: Constants | None = None,
    progress: Progress = silent,
    **options: Any,
) -> QuantizationReport:
    """Quantizes a float `model` and writes it to `output` as ONNX with QuantizeLinear and DequantizeLinear.

    `calibration`, `constants` and `options` are those of `compile`. With `reduce_range=True` weights have 7
    bits, with which ONNX Runtime and OpenVINO are exact on processors without VNNI too; with 8 their sums of
    two products may saturate there. The model holds no Winograd tiles, which are for `compile` to choose;
    times in the report are estimates for `target`. Without `output` nothing is written.

    Raises SecateurError for anything wrong with the request or the model.
    """
    from .ir.onnx_writer import to_onnx

    asked = request("int8", calibration, options)
    assert asked is not None, "int8 is a quantization"
    row = find(target)
    graph = _graph_of(model, shapes, batch, constants)
    data = asked.data(graph, progress)
    fused = PassManager(prepare("canonicalize,fuse", row)).run(graph).graph
    pairs, report = quantized_pairs(fused, data, asked.step().options, backend_of(row).costs(row))
    if output is not None:
        write_whole(Path(output), to_onnx(pairs).SerializeToString(deterministic=True))
    return report


def _default_output(model: str | Path | Graph, kind: Kind) -> Path:
    stem = model.name if isinstance(model, Graph) else Path(model).stem
    return Path(stem if kind == "dir" else f"{stem}.{kind}")


def _dumps(graph: Graph) -> dict[str, str]:
    return {f"ir/final{SUFFIX}": print_graph(graph)[0]}


def dump_kernels(program: Program, folder: Path) -> None:
    """Writes what shows the program's kernels (TIR, LLVM IR and assembly of each) into `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in backend_of(program.target).texts(program):
        (folder / name).write_text(text)
