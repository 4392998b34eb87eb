"""Translation validation: the interpreter's answers before and after a pass, compared."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from secateur.ir.errors import SecateurError
from secateur.ir.graph import Graph
from secateur.ir.interpreter import run

Array = np.ndarray[Any, Any]


class ValidationError(SecateurError):
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
            if not d.moved <= tolerance:
                raise ValidationError(_message(pass_text, tolerance, d))
        return max((d.moved for d in found), default=0.0)


def _message(pass_text: str, tolerance: float, d: Difference) -> str:
    how = d.detail or f"moved by {d.moved:.3g} of its largest magnitude"
    return (
        f"pass {pass_text} changed the answer: output '{d.output}' {how}, "
        f"the pass may move it by {tolerance:.3g}; "
        f"print the IR before and after this pass to see what it did"
    )
