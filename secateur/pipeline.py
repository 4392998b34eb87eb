"""The pipeline as text, with what was asked for in it."""

from __future__ import annotations

import warnings
from dataclasses import fields, replace
from typing import Any

from .codegen.backends.registry import backend_of
from .codegen.targets.rows import TARGETS
from .codegen.targets.target import Cpu, Target
from .codegen.vector.dot import products
from .codegen.weights.registry import FAST, holds_filters
from .codegen.weights.storing import check_codec
from .ir.errors import ModelNote, SecateurError
from .ir.graph import Graph
from .ir.stages import PLACED
from .options import Ends, Fp16, Int8, Limits
from .passes.framework.base import Pass
from .passes.framework.pipeline import format_pipeline, parse_pipeline
from .passes.fuse.fuse import Fuse
from .passes.half.half import Half
from .passes.half.options import HalfRecipe
from .passes.narrow import CONVOLUTIONS, Narrow, is_double
from .passes.quantize.options import Recipe, TileResults, TileWeights
from .passes.quantize.quantize import Quantize
from .passes.select.select import Select
from .passes.store import Store
from .passes.tflite.tflite import ToTflite
from .passes.widen import Widen, is_narrow

PLACING = "layout,memory"
BESIDE_WEIGHTS = 48 << 10  # bytes of a library, about, of a small network's code, manifest and runtime


def is_lowered(graph: Graph) -> bool:
    """Whether primitives have been chosen."""
    return any(op.name.startswith("prim.") for op in graph.operators)


def default_pipeline(graph: Graph, target: Target, coarse: bool = False) -> str:
    """The passes of the target's backend that a graph still needs; values are always placed again.

    `coarse` where 8 or 16 bits are asked for.
    """
    return PLACING if is_lowered(graph) else in_float32(graph, backend_of(target).pipeline, coarse)


def in_float32(graph: Graph, pipeline: str, coarse: bool = True) -> str:
    """The pipeline, begun with the pass `widen` where the graph has anything in binary16.

    With `narrow` where layers are in 64-bit floats and answers may be `coarse`.
    """
    wide = f"{Narrow.name}," if coarse and is_double(graph) else ""
    return f"{wide}{Widen.name},{pipeline}" if is_narrow(graph) else f"{wide}{pipeline}"


def pipeline_of(
    graph: Graph,
    target: Target,
    given: str | None,
    limits: Limits,
    quantize: Int8 | None,
    ends: Ends = Ends(),
    precision: Fp16 | None = None,
    codec: str | None = None,
) -> str:
    """The pipeline given, else the default one with `quantize` or `half` behind fusion, and limits in it.

    By `codec` selection may store weights where what they take has a limit.

    The limit on SQNR is the quantization's where there is one. SecateurError for both limits and a pipeline,
    for ends of a file that the target does not run, and for 16-bit floats where they do not pay.
    """
    check_streaming(target, limits)
    if precision is not None:
        check_half(target, quantize)
    if given is not None:
        limits.check_beside(given)
        if precision is not None and not any(isinstance(step, Half) for step in parse_pipeline(given)):
            raise SecateurError("the pipeline has no pass half, which fp16 needs; put it behind fuse")
        return with_ends(given, target, ends)
    coarse = quantize is not None or precision is not None
    if not coarse:
        note_doubles(graph)
    text = with_ends(default_pipeline(graph, target, coarse), target, ends)
    if precision is not None:
        text = _behind_fusion(text, half_step(precision))
    if quantize is None:
        return limited(text, limits, codec)
    note_slow_bytes(target)
    step = quantize_step(quantize, limits.min_sqnr, target)
    return limited(_behind_fusion(text, step), replace(limits, min_sqnr=None), codec)


def storing(pipeline: str, codec: str | None, target: Target) -> str:
    """The pipeline with the pass `store` at its end where a codec is named.

    Where the file is to be the smallest, Winograd's tiles in 8 bits are made of filters that it can hold.
    SecateurError for a name of none, where the pipeline says already how constants are stored, or where the
    target's files hold them as they are.
    """
    steps = parse_pipeline(pipeline)
    offered = {step.codec for step in steps if isinstance(step, Select)}
    if codec is None and offered <= {""}:
        return pipeline
    for name in filter(None, {codec, *offered}):
        check_codec(name)
    if backend_of(target).takes != PLACED:
        raise SecateurError(f"files for {target.name} hold weights as they are; none can be coded")
    if codec is not None and any(isinstance(step, Store) for step in steps):
        raise SecateurError("the pipeline has the pass 'store' already, which names the codec of weights")
    if any(holds_filters(name or "") for name in (codec, *offered)):
        steps = tuple(replace(s, tile_weights="spatial") if isinstance(s, Quantize) else s for s in steps)
    return format_pipeline([*steps, Store(codec=codec)] if codec is not None else steps)


def check_half(target: Target, quantize: Int8 | None = None) -> None:
    """SecateurError where a network in 16-bit floats would be no faster on the target."""
    if quantize is not None:
        raise SecateurError("a network is made int8 or fp16, not both; leave one of them out")
    if not target.half:
        known = ", ".join(name for name, row in TARGETS.items() if row.half)
        raise SecateurError(
            f"{target.name} has no fast arithmetic on 16-bit floats: fp16 would be no faster than float32 "
            f"there. Leave it out, or quantize to int8. Targets with it: {known}"
        )


def note_doubles(graph: Graph) -> None:
    """A ModelNote where convolutions compute in 64-bit floats."""
    if is_double(graph, CONVOLUTIONS):
        warnings.warn(
            "convolutions compute in 64-bit floats, which no board is fast in, and fuse with nothing; "
            "a pipeline that begins with 'narrow' computes them in float32, as one in 8 or 16 bits does",
            ModelNote,
            stacklevel=3,
        )


def note_slow_bytes(target: Target) -> None:
    """A ModelNote where a target multiplies bytes no faster than floats, and binary16 faster."""
    if (rates := _slow_bytes(target)) is None:
        return
    warnings.warn(
        f"{target.name} has no dot product of bytes: at most {rates[0]:.0f} billion "
        f"multiply-adds a second in int8, no more than in float32, and {rates[1]:.0f} in fp16. "
        "int8 makes the file smaller, fp16 the network faster",
        ModelNote,
        stacklevel=3,
    )


def _slow_bytes(target: Target) -> tuple[float, float] | None:
    """Billions of multiply-adds a second of bytes and in binary16: of a GPU, or of a processor's core."""
    if not isinstance(target.machine, Cpu):
        return target.slow_bytes
    bytes_, floats = products(target), target.lanes * target.fma_per_cycle
    slow = target.half and bytes_ <= floats
    return (bytes_ * target.clock_ghz, 2 * floats * target.clock_ghz) if slow else None


def half_step(precision: Fp16) -> Half:
    """The pass, without its data."""
    return Half(**{f.name: getattr(precision, f.name) for f in fields(HalfRecipe)})


def _behind_fusion(pipeline: str, step: Pass) -> str:
    """The pipeline with a pass more; SecateurError where nothing is fused."""
    steps = parse_pipeline(pipeline)
    if not any(isinstance(s, Fuse) for s in steps):
        raise SecateurError(
            "a network's precision is set before primitives are chosen; here they have been already"
        )
    return format_pipeline(s for old in steps for s in ((old, step) if isinstance(old, Fuse) else (old,)))


def with_ends(pipeline: str, target: Target, ends: Ends) -> str:
    """The pipeline with what a file takes and gives; SecateurError where no pass makes such a file."""
    if ends == Ends():
        return pipeline
    steps = parse_pipeline(pipeline)
    if not any(isinstance(step, ToTflite) for step in steps):
        raise SecateurError(f"io and keep_nchw are for TFLite files; {target.name} runs none")
    given = {f.name: getattr(ends, f.name) for f in fields(ends)}
    return format_pipeline(replace(step, **given) if isinstance(step, ToTflite) else step for step in steps)


def limited(pipeline: str, limits: Limits, codec: str | None = None) -> str:
    """The pipeline's text with limits in its pass `select`; SecateurError where none chooses primitives."""
    options = {name: value for name, value in _select_options(limits, codec).items() if value is not None}
    if not options:
        return pipeline
    steps = parse_pipeline(pipeline)
    if not any(isinstance(step, Select) for step in steps):
        raise SecateurError(
            "limits are kept by choosing primitives; no primitives are chosen here, "
            "or they have been chosen already"
        )
    return format_pipeline(replace(step, **options) if isinstance(step, Select) else step for step in steps)


def check_streaming(target: Target, limits: Limits) -> None:
    """SecateurError where the target's artifacts cannot decode weights right before their layer."""
    if limits.weights_memory is None or backend_of(target).streams:
        return
    raise SecateurError(
        f"{target.name}: weights cannot be decoded layer by layer (weights_memory); only a processor's "
        "artifacts do that, a GPU's keep all weights in its memory"
    )


def whole_codec(limits: Limits, codec: str | None) -> str | None:
    """The codec of all weights: the one named, else a fast one where they are decoded in each run."""
    return FAST if codec is None and limits.weights_memory is not None else codec


def _offered(limits: Limits, codec: str | None) -> str | None:
    """The codec that selection may choose: where weights have a limit, in memory or in the file."""
    if limits.weights_memory is not None:
        return whole_codec(limits, codec)
    return codec if limits.size is not None else None


def _select_options(limits: Limits, codec: str | None = None) -> dict[str, Any]:
    """The limits as fields of the pass; None where there is none.

    Where weights are decoded in each run, what is kept of them has the limit, and all are coded for the size.
    """
    sizes = limits.size is None or limits.weights_memory is not None
    return {
        "kept": limits.weights_memory,
        "codec": _offered(limits, codec),
        "memory": limits.memory,
        "seconds": limits.latency,
        "sqnr": limits.min_sqnr,
        "weights": None if sizes else max(0, (limits.size or 0) - BESIDE_WEIGHTS),
        "without": "\n".join(limits.without) or None,
        "strict": limits.strict or None,
    }


def quantize_step(quantize: Int8, min_sqnr: float | None = None, target: Target | None = None) -> Quantize:
    """The pass, without its data, rounding as the target's machines do."""
    if target is not None and not backend_of(target).quantizes:
        raise SecateurError(f"{target.name} takes networks in float; compile for it without a quantization")
    rounding = backend_of(target).rounding if target is not None else "float32"
    if target is not None and rounding == "tflite" and quantize.winograd not in ("auto", "off", "2"):
        raise SecateurError(f"{target.name}: a TFLite file has Winograd tiles of 2x2 alone (--winograd 2)")
    paired = target is not None and backend_of(target).pairs(target)
    tiles: TileWeights = "paired" if paired else "domain"
    given = {f.name: getattr(quantize, f.name) for f in fields(Recipe)}
    words = target is not None and backend_of(target).has_words(target)
    results: TileResults = "words" if words else "floats"
    return Quantize(**given, min_sqnr=min_sqnr, rounding=rounding, tile_weights=tiles, tile_results=results)
