"""Layer by layer: where do a compiled model's values leave those of a reference?

Every value that survives fusion under its ONNX name is compared: a copy of the
fused graph returns them all as outputs and is compiled. The reference is ONNX
Runtime with the same values exposed, or the interpreter on the graph as read.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from secateur.ir.errors import SecateurError
from secateur.ir.graph import Graph, Value
from secateur.passes.framework.base import Pass
from secateur.passes.widen import is_narrow

if TYPE_CHECKING:
    from ..progress import Progress

Array = NDArray[Any]
Arrays = Mapping[str, Array]


@dataclass(frozen=True)
class Thresholds:
    """A value passes where no element is off by more than `atol` + `rtol` times the largest magnitude of
    the reference, and the signal-to-noise ratio is at least `min_sqnr` decibels."""

    atol: float = 1e-5
    rtol: float = 1e-4
    min_sqnr: float | None = None


def usual_rtol(graph: Graph) -> float:
    """Of the thresholds, for a model: eight roundings of binary16 where it computes in that."""
    return 8 * float(np.finfo(np.float16).eps) if is_narrow(graph) else Thresholds.rtol


@dataclass(frozen=True)
class Difference:
    """How far one value is from its reference; `sqnr` in decibels, infinite where they are equal.

    One that is `reordered` is held against what follows from picks of its own (see `ties.py`).
    """

    value: str
    node: str
    shape: tuple[int, ...]
    largest: float
    relative: float
    sqnr: float
    passed: bool
    reordered: bool = False


def difference(value: str, node: str, reference: Array, found: Array, limits: Thresholds) -> Difference:
    """Compares element by element; NaN equals NaN and an infinity itself, else they are infinitely far."""
    if reference.shape != found.shape:
        raise SecateurError(f"value '{value}' has shape {found.shape}, the reference {reference.shape}")
    a, b = reference.astype(np.float64), found.astype(np.float64)
    same = (a == b) | (np.isnan(a) & np.isnan(b))
    with np.errstate(invalid="ignore"):
        error = np.where(same, 0.0, np.abs(a - b))
    error = np.where(np.isnan(error), math.inf, error)
    finite = np.abs(a[np.isfinite(a)])
    scale = float(finite.max(initial=0.0))
    largest = float(error.max(initial=0.0))
    sqnr = _decibels(float(np.sum(finite**2)), float(np.sum(error**2)))
    passed = largest <= limits.atol + limits.rtol * scale and (
        limits.min_sqnr is None or sqnr >= limits.min_sqnr
    )
    relative = largest / scale if scale else (math.inf if largest else 0.0)
    return Difference(value, node, reference.shape, largest, relative, sqnr, passed)


def _decibels(signal: float, noise: float) -> float:
    if noise == 0:
        return math.inf
    return 10 * math.log10(signal / noise) if signal > 0 and math.isfinite(noise) else -math.inf


def differences(graph: Graph, reference: Arrays, found: Arrays, limits: Thresholds) -> list[Difference]:
    """One row for each value that both know, in the order in which `graph` computes them."""
    rows = []
    for value, name in named_values(graph):
        if name in reference and name in found:
            node = value.producer.loc if value.producer else ""
            rows.append(difference(name, node, reference[name], found[name], limits))
    return rows


def named_values(graph: Graph) -> list[tuple[Value, str]]:
    """Computed values and the names they go by, in order; an output goes by its output name."""
    outputs: dict[Value, list[str]] = {}
    for value, name in zip(graph.outputs, graph.output_names, strict=True):
        outputs.setdefault(value, []).append(name)
    order = [r for op in graph.operators if op.name != "nn.constant" for r in op.results]
    return [(v, name) for v in order for name in outputs.get(v, [v.name] if v.name else [])]


def exposing(graph: Graph) -> Graph:
    """A copy that returns every named value besides its outputs."""
    copy = graph.clone()
    known = set(copy.output_names)
    extra = [(v, n) for v, n in named_values(copy) if n not in known]
    copy.set_outputs([*copy.outputs, *(v for v, _ in extra)], [*copy.output_names, *(n for _, n in extra)])
    return copy


# The compiled model --------------------------------------------------------------------------------


def split_pipeline(passes: Sequence[Pass]) -> tuple[tuple[Pass, ...], tuple[Pass, ...]]:
    """The passes before primitives are chosen, and the rest."""
    from secateur.ir.stages import QUANTIZED, READ

    at = next((i for i, step in enumerate(passes) if step.gives not in (READ, QUANTIZED)), len(passes))
    return tuple(passes[:at]), tuple(passes[at:])


def fused_graph(graph: Graph, passes: Sequence[Pass]) -> Graph:
    """The graph after `passes`, every surviving named value returned."""
    from secateur.passes.framework.manager import PassManager

    return exposing(PassManager(tuple(passes)).run(graph).graph)


def compiled_values(
    exposed: Graph, target: str, passes: Sequence[Pass], inputs: Arrays, show: Progress
) -> dict[str, Array]:
    """Every output of `exposed`, compiled under `passes` and run here."""
    from secateur import Watch, compile, load
    from secateur.ir.support.unfinished import temporary_folder
    from secateur.passes.framework.pipeline import format_pipeline

    with temporary_folder("secateur-compare-") as folder:
        path = folder / "model.so"
        compile(exposed, path, target, pipeline=format_pipeline(passes), watch=Watch(progress=show))
        with load(path) as session:
            return session.run(inputs)


# References ----------------------------------------------------------------------------------------


def interpreted_values(graph: Graph, inputs: Arrays) -> dict[str, Array]:
    """Every named value of the graph as read, by the reference interpreter."""
    from secateur.ir.interpreter import run

    return run(exposing(graph), inputs)


def constant_inputs(
    model: Path, shapes: Mapping[str, Sequence[int]], constants: Mapping[str, Any]
) -> dict[str, Array]:
    """The arrays of inputs that are constants in the graph as compiled, and inputs to ONNX Runtime."""
    import onnx

    from secateur.ir.onnx_reader import known_inputs

    inputs = onnx.load(model, load_external_data=False).graph.input
    return known_inputs(list(inputs), shapes, constants)


def onnxruntime_values(model: Path, names: Sequence[str], inputs: Arrays) -> dict[str, Array]:
    """The values called `names` that the ONNX file computes, by ONNX Runtime without graph optimizations."""
    import onnx

    from secateur.ir.support.unfinished import temporary_folder

    onnxruntime = _onnxruntime()
    proto = onnx.load(model)
    produced = {name for node in proto.graph.node for name in node.output if name}
    returned = {value.name for value in proto.graph.output}
    wanted = [name for name in dict.fromkeys(names) if name in produced or name in returned]
    proto.graph.output.extend(onnx.ValueInfoProto(name=name) for name in wanted if name not in returned)
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.log_severity_level = 4
    with temporary_folder("secateur-compare-") as folder:
        path = folder / "model.onnx"
        onnx.save(proto, path, save_as_external_data=proto.ByteSize() > 1 << 30)
        try:
            session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
            return dict(zip(wanted, session.run(wanted, dict(inputs)), strict=True))
        except onnxruntime_errors() as error:
            raise SecateurError(f"ONNX Runtime does not run {model}: {str(error).splitlines()[0]}") from None


def _onnxruntime() -> Any:
    try:
        import onnxruntime
    except ImportError:
        raise SecateurError(
            "ONNX Runtime is missing: pip install onnxruntime, or compare with --against interpreter"
        ) from None
    return onnxruntime


def onnxruntime_errors() -> tuple[type[Exception], ...]:
    from onnxruntime.capi import onnxruntime_pybind11_state as state

    names = (
        "Fail",
        "InvalidArgument",
        "InvalidGraph",
        "InvalidProtobuf",
        "NotImplemented",
        "RuntimeException",
        "NoSuchFile",
    )
    return tuple(getattr(state, name) for name in names)


def has_onnxruntime() -> bool:
    """Whether ONNX Runtime is installed."""
    from importlib.util import find_spec

    return find_spec("onnxruntime") is not None
