"""What every graph must stand: printing and parsing, passes that keep the answer, a peer that agrees."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from secateur.ir.errors import SecateurError
from secateur.ir.graph import Graph
from secateur.ir.interpreter import run
from secateur.ir.parser import parse_graph
from secateur.ir.printer import print_graph
from secateur.ir.stages import READ
from secateur.ir.verifier import verify
from secateur.passes.framework.manager import PassManager
from secateur.passes.framework.pipeline import parse_pipeline

Array = np.ndarray[Any, Any]
Arrays = Mapping[str, Array]

RUNNABLE_BYTES = 1 << 22
RUNNABLE_MACS = 1 << 21
TAME = 1e4  # beyond this magnitude, rounding differences say nothing
TOLERANCE = 1e-3
REWRITING = "canonicalize,fuse"


class Defect(Exception):  # noqa: N818  (what it says)
    """Something that must not happen, whatever the input."""


def check_text(graph: Graph) -> None:
    """Defect where the printed graph does not read back to the same text and constants."""
    text, resources = print_graph(graph)
    try:
        again, constants = print_graph(parse_graph(text, resources))
    except SecateurError as error:
        raise Defect(f"its own text does not parse: {error}") from error
    if again != text:
        raise Defect(f"its text changes when read back:\n{_first_difference(text, again)}")
    if resources.keys() != constants.keys():
        raise Defect("its constants have other names when read back")


def _first_difference(a: str, b: str) -> str:
    pairs = zip(a.splitlines(), b.splitlines(), strict=False)
    return next((f"  {x[:300]}\n  {y[:300]}" for x, y in pairs if x != y), "  (length)")


def runnable(graph: Graph, scale: int = 1) -> bool:
    """Whether the interpreter is done with it in a moment, or in `scale` moments."""
    size = sum(v.type.bytes for v in graph.values())
    macs = sum(op.macs for op in graph.operators)
    return size <= scale * RUNNABLE_BYTES and macs <= scale * RUNNABLE_MACS


def noise(graph: Graph, seed: int) -> dict[str, Array]:
    """Inputs for a graph: small numbers of every type."""
    generator = np.random.default_rng(seed)
    return {v.name: _noise(generator, v.type.shape, v.type.dtype.numpy) for v in graph.inputs}


def _noise(generator: np.random.Generator, shape: tuple[int, ...], dtype: np.dtype[Any]) -> Array:
    if dtype.kind == "f":
        return np.asarray(generator.standard_normal(shape)).astype(dtype)
    return np.asarray(generator.integers(0, 2 if dtype.kind == "b" else 5, shape)).astype(dtype)


def interpreted(graph: Graph, inputs: Arrays) -> dict[str, Array]:
    """The interpreter's answers; Defect where it cannot compute a verified graph."""
    try:
        return run(graph, inputs)
    except SecateurError as error:
        raise Defect(f"a verified graph cannot be interpreted: {error}") from error


def check_passes(graph: Graph, inputs: Arrays, answers: Arrays) -> None:
    """Defect where the rewriting passes refuse a verified graph, break it, or change tame answers."""
    try:
        rewritten = PassManager(parse_pipeline(REWRITING)).run(graph).graph
    except SecateurError as error:
        raise Defect(f"{REWRITING} refuses a verified graph: {error}") from error
    check_text(rewritten)
    if is_tame(graph, inputs):
        compare(f"{REWRITING} changes the answer", answers, interpreted(rewritten, inputs))


def is_tame(graph: Graph, inputs: Arrays) -> bool:
    """Whether every value on the way is finite and of a magnitude at which reordered sums agree."""
    exposed = graph.clone()
    values = [r for op in exposed.operators for r in op.results]
    exposed.set_outputs(values, [str(i) for i in range(len(values))])
    return all(_is_tame(a) for a in run(exposed, inputs).values())


def _is_tame(array: Array) -> bool:
    return array.dtype.kind != "f" or bool(np.all(np.abs(array.astype(np.float64)) < TAME))


def compare(what: str, wanted: Arrays, found: Arrays) -> None:
    """Defect where an answer has another form, or is off by more than `TOLERANCE` of its magnitude."""
    if wanted.keys() != found.keys():
        raise Defect(f"{what}: outputs {sorted(wanted)} became {sorted(found)}")
    for name, a in wanted.items():
        b = found[name]
        if a.shape != b.shape or a.dtype != b.dtype:
            raise Defect(f"{what}: output '{name}' {a.dtype} {a.shape} became {b.dtype} {b.shape}")
        if (off := _distance(a, b)) > TOLERANCE:
            raise Defect(f"{what}: output '{name}' is off by {off:.3g} of its magnitude")


def _distance(a: Array, b: Array) -> float:
    """Largest difference as a share of the largest magnitude (at least 1)."""
    if a.size == 0 or np.array_equal(a, b, equal_nan=a.dtype.kind == "f"):
        return 0.0
    if a.dtype.kind != "f":
        return math.inf
    x, y = a.astype(np.float64), b.astype(np.float64)
    off = float(np.max(np.abs(x - y)) / max(1.0, float(np.max(np.abs(x)))))
    return math.inf if math.isnan(off) else off


def check_graph(graph: Graph, seed: int, scale: int = 1) -> dict[str, Array] | None:
    """Everything above for one verified graph; its answers on noise, or None where it is too large to run."""
    check_text(graph)
    if not runnable(graph, scale):
        return None
    inputs = noise(graph, seed)
    answers = interpreted(graph, inputs)
    if all(op.name.startswith("nn.") for op in graph.operators):
        check_passes(graph, inputs, answers)
    return answers


def verified(graph: Graph) -> None:
    """Defect where a graph from our own reader breaks a rule of the IR."""
    try:
        verify(graph, READ)
    except SecateurError as error:
        raise Defect(f"the reader made a graph that breaks a rule: {error}") from error
