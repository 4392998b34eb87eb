"""`secateur compile`: a model becomes an artifact."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal, cast

import typer

from secateur.ir.support.words import known_names
from secateur.options import Ends, Fp16, Int8, Kind, Limits, Verify, Watch

from ...progress import Progress, progress
from ...report import print_json
from ..checks import (
    artifact_kinds,
    check_finishing,
    check_folder,
    check_output,
    check_pipeline,
    check_readable,
    check_runs_here,
    check_target,
    check_timed_here,
    has_kernels,
)
from ..common import Costs, Json, Pipeline, Target, Tune, refuse
from ..compiled import summary, text_of
from ..groups import Given, spread
from ..quantization import Extras, Quantization, node_names
from ..quantization import option as quantization_option
from ..source import Settled

if TYPE_CHECKING:
    from secateur import Artifact
    from secateur.ir.graph import Graph
    from secateur.passes.framework.manager import Observer

    from ..quantized import Compilation


option = partial(typer.Option, rich_help_panel="Passes")
Passes = list[str] | None
Quantized = Literal["int8"]
Precision = Literal["fp16"]
Compression = Literal["none", "fast", "best", "small", "smallest"]


@dataclass(frozen=True)
class Making:
    """What is made, and how."""

    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="The artifact. Default: the model's name.")
    ] = None
    target: Target = "host"
    pipeline: Pipeline = None
    kind: Annotated[Kind | None, typer.Option(help="Default: by target and output, else so.")] = None
    tune: Tune = False
    costs: Costs = None
    compress: Annotated[
        Compression,
        typer.Option(
            help="Hold weights coded, decoded when the model is loaded: as fast as memory is read, to few "
            "bytes no more slowly than a card is read, to fewer, or to the fewest, in seconds for a million."
        ),
    ] = "none"
    codec: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="The codec of weights, or several (rans+planes): docs/weights.md."),
    ] = None

    cubin: Annotated[
        bool,
        typer.Option(
            "--cubin",
            help="Beside PTX, which a board compiles, hold code that ptxas finished for this very GPU.",
        ),
    ] = False

    @property
    def stored(self) -> str | None:
        """The codec of weights, or what stands for several."""
        return self.codec or (None if self.compress == "none" else self.compress)

    @property
    def form(self) -> Kind:
        """As asked for; else what the target takes alone; else by the output.

        An existing folder is `dir`, `.tar` is `tar`, the rest `so`.
        """
        if self.kind is not None:
            return self.kind
        if not has_kernels(self.target):
            return cast(Kind, artifact_kinds(self.target)[0])
        if self.output is not None and self.output.is_dir():
            return "dir"
        return "tar" if self.output is not None and self.output.suffix == ".tar" else "so"

    def path(self, model: Path) -> Path:
        """Where the artifact goes; by default the model's name in the current folder, with another suffix."""
        if self.output is not None:
            return self.output
        path = Path(model.stem if self.form == "dir" else f"{model.stem}.{self.form}")
        if path.resolve() == model.resolve():
            raise refuse(f"{path}: is the model itself; name the artifact with -o")
        return path

    def check(self, model: Path, limits: Limits) -> None:
        """SecateurError where it cannot be made: target, pipeline, or what the output would replace."""
        check_target(self.target)
        limits.check_beside(self.pipeline)
        check_pipeline(self.pipeline)
        self._check_codec()
        if self.cubin:
            check_finishing(self.target)
        check_readable(self.costs)
        if self.tune:
            check_timed_here(self.target)
        check_output(self.target, self.path(model), self.form)

    def _check_codec(self) -> None:
        if self.codec is None:
            return
        from secateur.codegen.weights.storing import check_codec

        check_codec(self.codec)
        if self.compress != "none":
            raise refuse("--codec names the one codec, --compress chooses among several: give one of them")


@dataclass(frozen=True)
class Asked:
    """What the artifact must keep, and what a TFLite file takes and gives."""

    limits: Limits
    ends: Ends


@dataclass(frozen=True)
class Watching:
    """What is shown and checked of the passes."""

    dump_ir: Annotated[
        Path | None,
        option(help="Write the IR after each pass, and every kernel's TIR, LLVM IR and assembly, there."),
    ] = None
    print_ir_before: Annotated[
        Passes, option(metavar="PASS", help="Print the IR before a pass, or `all`. Repeatable.")
    ] = None
    print_ir_after: Annotated[
        Passes, option(metavar="PASS", help="Print the IR after a pass, or `all`. Repeatable.")
    ] = None
    print_ir_after_change: Annotated[
        Passes,
        option(metavar="PASS", help="Print the IR where a pass, or one of `all`, changed it. Repeatable."),
    ] = None
    verify: Annotated[
        Verify | None,
        option(
            "--verify",
            help="Check every pass against the interpreter, on seeded noise; --verify=artifact also runs the "
            "finished artifact here. Alone: passes.",
        ),
    ] = None
    timings: Annotated[
        bool, option("--timings", help="Say how long each pass, kernels and linking took.")
    ] = False

    def check(self, target: str) -> None:
        """SecateurError where nothing can be written, or an artifact for `target` not be run."""
        check_folder(self.dump_ir)
        if self.verify == "artifact":
            check_runs_here(target)

    def check_pipeline(self, pipeline: str) -> None:
        """SecateurError where the IR is to be printed around a pass that is not in the pipeline."""
        from secateur.passes.framework.manager import ALL
        from secateur.passes.framework.pipeline import parse_pipeline

        known = [ALL, *(step.name for step in parse_pipeline(pipeline))]
        for passes in (self.print_ir_before, self.print_ir_after, self.print_ir_after_change):
            for wanted in passes or ():
                if wanted not in known:
                    raise refuse(f"the pipeline has no pass '{wanted}'{known_names(wanted, known)}")

    def observer(self) -> Observer:
        """Prints the IR to stderr where it is wanted."""
        from secateur.passes.framework.manager import PrintIR

        return PrintIR(
            sys.stderr.write,
            before_passes=self.print_ir_before or (),
            after_passes=self.print_ir_after or (),
            after_change=self.print_ir_after_change or (),
        )

    def watch(self, observers: Sequence[Observer], progress: Progress) -> Watch:
        """What the compiler is told; `observers` see the passes beside the one that prints."""
        return Watch(
            progress=progress,
            observers=(self.observer(), *observers),
            dump_ir=self.dump_ir,
            verify=self.verify,
        )


@spread()
def compile_model(
    model: Annotated[Path, typer.Argument(help="An ONNX model, or IR text (.sir).")],
    *,
    making: Making,
    settled: Settled,
    limits: Given[Limits],
    tflite: Given[Ends],
    json: Json = False,
    watching: Watching,
    quantize: Annotated[Quantized | None, quantization_option(help="Compute in 8 bits.")] = None,
    precision: Annotated[
        Precision | None,
        quantization_option(
            help="Compute in 16-bit floats. With --calibration, layers that may overflow stay in float32."
        ),
    ] = None,
    quantization: Given[Int8],
    extras: Extras,
) -> None:
    """Compile a model to a self-contained artifact. Printed IR goes to stderr."""
    asked, kept = Quantization(quantization, extras), limits.value()
    settled.check(model)
    making.check(model, kept)
    watching.check(making.target)
    _check_quantization(quantize, precision, asked, making)
    with progress() as show:
        show("reading", 0, 1)
        graph = settled.read(model)
        ends = tflite.value()
        work = _quantizing(asked, model, graph, making, kept, ends) if quantize else None
        half = asked.fp16(node_names(graph)) if precision else None
        text = work.pipeline if work else _float_pipeline(graph, making, kept, ends, half)
        watching.check_pipeline(text)
        if work and work.timed and not json:
            print(work.gain.text, flush=True)
        watch = watching.watch([work.selection] if work and work.timed else [], show)
        artifact = _compiled(graph, making.path(model), making, Asked(kept, ends), work, half, watch)
        layers = work.finish(artifact, show) if work else None
    if json:
        print_json(summary(artifact, show.seconds) | (work.summary(layers) if work and layers else {}))
        return
    print(text_of(artifact, show.seconds, watching.timings or watching.verify is not None))
    if artifact.half is not None:
        print(artifact.half.text)
    if watching.dump_ir is not None:
        print(f"IR and kernels: {watching.dump_ir}")
    if work and layers:
        print(work.text(layers))


def _float_pipeline(graph: Graph, making: Making, limits: Limits, ends: Ends, half: Fp16 | None) -> str:
    from secateur.codegen.targets.find import find
    from secateur.pipeline import pipeline_of

    return pipeline_of(graph, find(making.target), making.pipeline, limits, None, ends, half)


def _compiled(
    graph: Graph,
    path: Path,
    making: Making,
    asked: Asked,
    work: Compilation | None,
    half: Fp16 | None,
    watch: Watch,
) -> Artifact:
    import secateur

    return secateur.compile(
        graph,
        path,
        making.target,
        quantize=work.int8 if work else None,
        precision=half,
        costs=making.costs,
        tune=making.tune,
        limits=asked.limits,
        pipeline=making.pipeline,
        ends=asked.ends,
        compress=making.stored,
        cubin=making.cubin,
        kind=making.form,
        watch=watch,
    )


def _check_quantization(
    quantize: Quantized | None, precision: Precision | None, asked: Quantization, making: Making
) -> None:
    """SecateurError where the options do not go together."""
    if precision is not None:
        _check_precision(quantize, asked, making)
    elif quantize is None:
        if given := asked.options:
            raise refuse(f"{', '.join(given)}: only for a quantization; give --quantize int8 too")
    else:
        asked.check()
        if making.pipeline is not None:
            asked.check_pipeline(making.pipeline)
        if asked.extras.profile:
            check_timed_here(making.target)


def _check_precision(quantize: Quantized | None, asked: Quantization, making: Making) -> None:
    from secateur.codegen.targets.find import find
    from secateur.pipeline import check_half

    if quantize is not None:
        raise refuse("--quantize int8 and --precision fp16: a network is made one of them; leave one out")
    asked.check_fp16()
    check_half(find(making.target))
    if making.pipeline is not None:
        asked.check_half_pipeline(making.pipeline)


def _quantizing(
    asked: Quantization, model: Path, graph: Graph, making: Making, limits: Limits, ends: Ends
) -> Compilation:
    from ..quantized import Compilation, check_float

    check_float(graph, "quantized")
    return Compilation(asked, model, graph, making.target, limits, making.pipeline, making.costs, ends)
