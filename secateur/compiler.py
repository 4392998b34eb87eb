"""The road of a model in one call: read, run the pipeline, lower, write the artifact."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any, Never

from .calibration import calibration_data, range_data
from .codegen.backends.backend import Emitted
from .codegen.backends.registry import backend_of
from .codegen.targets.find import find
from .codegen.targets.target import Target
from .ir.errors import SecateurError
from .ir.graph import Graph
from .ir.noise import noise
from .ir.printer import print_graph
from .ir.stages import PLACED
from .ir.support.ir_text import SUFFIX
from .model import Model, graph_of
from .options import Ends, Fp16, Inputs, Int8, Kind, Limits, Watch
from .passes.framework.base import Pass
from .passes.framework.manager import DumpIR, Known, Outcome, PassManager
from .passes.framework.pipeline import format_pass, parse_pipeline
from .passes.half.report import HalfReport
from .passes.memory.placement import check_placement
from .passes.quantize.report import QuantizationReport
from .pipeline import pipeline_of, storing, whole_codec
from .prepare import Costs, prepare, warn_of_estimates
from .size import attempt_text, check_size, codecs_within, within_size
from .verification import Verified, check_artifact, check_runnable
from .version import __version__


@dataclass(frozen=True, eq=False)
class Artifact:
    """What a compilation gave: where it lies, its manifest, the graph lowered, what quantization or fp16 did.

    `verified` has a row for each output where the artifact itself was checked.
    """

    path: Path
    manifest: Mapping[str, Any]
    graph: Graph
    outcome: Outcome
    quantization: QuantizationReport | None = None
    verified: tuple[Verified, ...] = ()
    half: HalfReport | None = None


@dataclass(frozen=True, eq=False)
class Built:
    """What the target's backend made, still in memory, and what the passes did."""

    program: Emitted
    outcome: Outcome


def compile(
    model: Model,
    output: str | Path | None = None,
    target: str = "host",
    *,
    inputs: Inputs = Inputs(),
    limits: Limits = Limits(),
    quantize: Int8 | None = None,
    precision: Fp16 | None = None,
    costs: Costs | None = None,
    tune: bool = False,
    pipeline: str | None = None,
    kind: Kind | None = None,
    ends: Ends = Ends(),
    compress: str | None = None,
    cubin: bool = False,
    watch: Watch = Watch(),
    **moved: Never,
) -> Artifact:
    """Compiles `model` (an ONNX file, an IR text, or a graph) to an artifact for `target` at `output`.

    `output` defaults to the model's name with the suffix of `kind`: `so` (one library), `dir` or `tar`
    (library, header, static bench program, manifest, IR); `tflite` for targets that run such files, where
    `ends` says what it takes and gives; `onnx` for those that OpenVINO compiles for. `inputs` says what is
    known of the model's inputs, `limits` what its plan must keep, `quantize` how it computes in 8 bits or
    `precision` how in 16-bit floats, `watch` what is shown and checked.

    `costs` is a table of times, or the file of one that `secateur profile` wrote, for this target; with
    `tune`, primitives are timed on this machine (minutes at first; kept in the cache). Else times are
    estimates. `pipeline` replaces the default passes, and has the limits in it then.

    `compress` names the codec by which the artifact holds weights: `fast`, `best` (decoded no more slowly
    than an SD card is read), `small` (all but `mixed`) or `smallest` (seconds to load), chosen tensor by
    tensor, or one of `codegen/weights/registry.py`, or several joined by `+`. They are decoded
    when a state is made, into memory of its own, or in each run (`limits.weights_memory`). Without it, a
    limit on the size codes those weights for which it must.

    With `cubin`, an artifact for a GPU also holds finished code for that architecture, made by `ptxas` (extra
    `cuda`), which the board's driver need not compile; others get the PTX.

    Raises SecateurError for anything wrong with the request or the model, its subclass ValidationError
    where a check fails; no output is left half-written.
    """
    _refuse_moved(moved)
    row = find(target)
    _check_request(row, quantize, precision, pipeline, watch)
    if cubin:
        backend_of(row).check_finishing()
    watch.progress("reading", 0, 1)
    graph = graph_of(model, inputs)
    backend_of(row).check_graph(graph, row)
    data = calibration_data(quantize, graph, watch.progress) if quantize else None
    data = range_data(precision, graph, watch.progress) if precision else data
    form: str = kind or backend_of(row).kinds[0]
    path = Path(output) if output is not None else _default_output(model, form)
    _check_apart(model, path)

    known = Known() if limits.size is not None else None
    reports: list[QuantizationReport] = []
    halves: list[HalfReport] = []

    def attempt(asked: Limits, offered: str | None) -> Artifact:
        if limits.size is not None:
            watch.progress(attempt_text(asked, compress or offered), 0, 1)
        text = pipeline_of(graph, row, pipeline, asked, quantize, ends, precision, compress or offered)
        whole = whole_codec(asked, compress or (offered if asked.weights_memory is not None else None))
        text = storing(text, whole, row)
        passes = prepare(text, row, tune, data, reports.append, costs, halves.append)
        built = build(graph, row, passes, watch, known)
        if cubin:
            built = replace(built, program=backend_of(row).finished(built.program))
        verified = _write(built, row, path, form, watch, limits.size)
        program, outcome = built.program, built.outcome
        quantized, half = next(reversed(reports), None), next(reversed(halves), None)
        return Artifact(path, program.manifest, outcome.graph, outcome, quantized, verified, half)

    return within_size(attempt, limits, codecs_within(limits, compress, row))


def _refuse_moved(keywords: Mapping[str, object]) -> None:
    """TypeError that says in which value a keyword has its place."""
    for name in keywords:
        values = (Limits, Int8, Fp16, Inputs, Watch)
        home = next((v.__name__ for v in values if name in {f.name for f in fields(v)}), None)
        where = f"; it is a field of secateur.{home}" if home else ""
        raise TypeError(f"compile() got an unexpected keyword argument '{name}'{where}")


def _check_request(
    target: Target, quantize: object, precision: object, pipeline: str | None, watch: Watch
) -> None:
    """SecateurError for what can be seen before any work is done."""
    if precision is not None and not isinstance(precision, Fp16):
        raise SecateurError(f"precision is {precision!r}; give Fp16()")
    if quantize is not None and not isinstance(quantize, Int8):
        raise SecateurError(f"quantize is {quantize!r}; give Int8(calibration), such as Int8('images/')")
    if pipeline is not None:
        parse_pipeline(pipeline)
    if watch.verify == "artifact":
        check_runnable(target)


def build(
    graph: Graph, target: Target, passes: tuple[Pass, ...], watch: Watch = Watch(), known: Known | None = None
) -> Built:
    """Everything but writing the artifact: the passes are run, and their graph lowered.

    Of `known` are passes that ran for the same graph before.
    """
    watch.progress("passes", 0, 1)
    dumped = [DumpIR(Path(watch.dump_ir))] if watch.dump_ir is not None else []
    given = noise(graph) if watch.verify and watch.verify_on is None else watch.verify_on
    outcome = PassManager(passes, (*watch.observers, *dumped), given, known).run(graph)
    warn_of_estimates(passes)
    backend, manifest = backend_of(target), _manifest(outcome.graph, passes)
    if backend.takes == PLACED:
        check_placement(outcome.graph)
    return Built(backend.emit(outcome.graph, target, manifest, watch.progress), outcome)


def _manifest(graph: Graph, passes: Sequence[Pass]) -> dict[str, Any]:
    return {
        "secateur": __version__,
        "pipeline": ",".join(map(format_pass, passes)),
        "ir": print_graph(graph)[0],
    }


def _write(
    built: Built, target: Target, path: Path, kind: str, watch: Watch, size: int | None = None
) -> tuple[Verified, ...]:
    """Writes the artifact, checked where that is wanted, and what else is to be seen of it."""
    if watch.dump_ir is not None:
        dump_texts(built.program, target, Path(watch.dump_ir) / "kernels")
    watch.progress("linking", 0, 1)
    verified: list[Verified] = []
    beside = {f"ir/final{SUFFIX}": print_graph(built.outcome.graph)[0]} if kind in ("dir", "tar") else {}

    def check(draft: Path) -> None:
        check_size(draft, size)
        if watch.verify == "artifact":
            verified.extend(_checked(draft, built.outcome, watch.verify_on))

    backend_of(target).write(built.program, path, kind, beside, check)
    watch.progress("linking", 1, 1)
    return tuple(verified)


def _checked(draft: Path, outcome: Outcome, given: Mapping[str, Any] | None) -> tuple[Verified, ...]:
    """An artifact held against the answers of the last pass's graph."""
    assert outcome.answers is not None, "passes are validated on the same inputs"
    inputs = noise(outcome.graph) if given is None else given
    return check_artifact(draft, outcome.graph, inputs, outcome.answers)


def _check_apart(model: Model, path: Path) -> None:
    """SecateurError where the artifact would be written over the model that it is made of."""
    if not isinstance(model, Graph) and path.resolve() == Path(model).resolve():
        raise SecateurError(f"{path}: is the model itself; name the artifact otherwise")


def _default_output(model: Model, kind: str) -> Path:
    stem = model.name if isinstance(model, Graph) else Path(model).stem
    return Path(stem if kind == "dir" else f"{stem}.{kind}")


def dump_texts(program: Emitted, target: Target, folder: Path) -> None:
    """Writes what shows the program to people (TIR, LLVM IR and assembly of each kernel) into `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in backend_of(target).texts(program):
        (folder / name).write_text(text)
