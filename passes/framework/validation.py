"""Translation validation: the interpreter's answers before and after a pass, compared."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from secateur.ir.errors import CheckError
from secateur.ir.graph import Graph, Operator, Value
from secateur.ir.interpreter import run

Array = np.ndarray[Any, Any]

_NOT_GROWING = (
    "relu",
    "clip",
    "max_pool",
    "average_pool",
    "reduce_mean",
    "softmax",
    "sigmoid",
)


class ValidationError(CheckError):
    """A pass that moved an answer further than it may."""


@dataclass(frozen=True)
class Difference:
    """How far an output moved: the largest absolute difference over the largest magnitude before."""

    output: str
    moved: float
    detail: str = ""


def _relative(before: Array, after: Array) -> float:
    """Largest difference over the largest finite magnitude before; inf where NaNs or infinities moved."""
    finite = np.isfinite(before)
    if not np.array_equal(finite, np.isfinite(after)) or not _same_specials(before[~finite], after[~finite]):
        return float("inf")
    if not finite.any():
        return 0.0
    a, b = before[finite].astype(np.float64), after[finite].astype(np.float64)
    largest = float(np.abs(a).max())
    moved = float(np.abs(a - b).max())
    return moved / largest if largest > 0 else moved


def _same_specials(before: Array, after: Array) -> bool:
    return bool(np.array_equal(before, after, equal_nan=before.dtype.kind == "f"))


def difference(name: str, before: Array, after: Array) -> Difference:
    """How far output `name` moved; inf where shape or element type changed."""
    if before.shape != after.shape or before.dtype != after.dtype:
        return Difference(
            name, float("inf"), f"{before.dtype} {before.shape} became {after.dtype} {after.shape}"
        )
    return Difference(name, _relative(before, after))


def step_of(value: Value) -> float:
    """By how much an element differs from its neighbour where `value` is quantized or was; 0 elsewhere.

    In stored integers for those, else in what they stand for. Looks through operators that move elements,
    and those that no difference grows by.
    """
    if value.type.quant is not None:
        return 1.0
    op = value.producer
    if op is None or not op.operands:
        return 0.0
    if _kind(op) == "dequantize":
        quant = op.operands[0].type.quant
        return float(np.max(quant.scales)) if quant is not None else 0.0
    return max(map(step_of, op.operands)) if _looked_through(op) else 0.0


def _kind(op: Operator) -> str:
    """The operator's name without its stage."""
    return op.name.split(".", 1)[1]


def _looked_through(op: Operator) -> bool:
    steps = [s.op for s in op["epilogue"]] if _kind(op) == "map" else [_kind(op)]
    return op.definition.is_move(op.attributes) or all(name in _NOT_GROWING for name in steps)


def step_share(value: Value, answer: Array) -> float:
    """`step_of(value)` as a share of the answer's largest magnitude, a rounding of float32 added."""
    largest = float(np.abs(answer[np.isfinite(answer)].astype(np.float64)).max(initial=0.0))
    return step_of(value) * (1 + 1e-6) / largest if largest > 0 else step_of(value)


def _differences(before: Mapping[str, Array], after: Mapping[str, Array]) -> list[Difference]:
    missing = [Difference(name, float("inf"), "is gone") for name in before if name not in after]
    return missing + [difference(name, before[name], after[name]) for name in before if name in after]


@dataclass
class Validator:
    """Compares answers on `inputs` (arrays by input name) from pass to pass."""

    inputs: Mapping[str, Array]
    answers: Mapping[str, Array] | None = None

    def start(self, graph: Graph) -> None:
        """Remembers the answers before the first pass."""
        self.answers = run(graph, self.inputs)

    def check(self, pass_text: str, tolerance: float, graph: Graph) -> float:
        """The furthest that the last pass moved an output; ValidationError beyond `tolerance`."""
        assert self.answers is not None
        before, self.answers = self.answers, run(graph, self.inputs)
        found = _differences(before, self.answers)
        for d in found:
            allowed = max(tolerance, self._step(graph, d.output, before)) if tolerance else 0.0
            if not d.moved <= allowed:
                raise ValidationError(_message(pass_text, allowed, d))
        return max((d.moved for d in found), default=0.0)

    def _step(self, graph: Graph, output: str, before: Mapping[str, Array]) -> float:
        """One quantization step of an output, which near a tie any other order of roundings moves it by."""
        if output not in graph.output_names:
            return 0.0
        return step_share(graph.outputs[graph.output_names.index(output)], before[output])


def _message(pass_text: str, tolerance: float, d: Difference) -> str:
    how = d.detail or f"moved by {d.moved:.3g} of its largest magnitude"
    return (
        f"pass {pass_text} changed the answer: output '{d.output}' {how}, "
        f"the pass may move it by {tolerance:.3g}; "
        f"print the IR before and after this pass to see what it did"
    )
