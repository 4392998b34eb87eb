"""A finished artifact, run on this machine and held against the interpreter."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from .codegen.targets.host import runs_here
from .codegen.targets.target import Target
from .ir.errors import SecateurError
from .ir.exact import exact_values
from .ir.graph import Graph
from .ir.types import DType
from .passes.canonicalize.constants import holds_integers
from .passes.framework.validation import ValidationError, difference, step_share
from .passes.fuse.fuse import INTEGER_TOLERANCE
from .runtime.session import load

Array = np.ndarray[Any, Any]

FLOAT_TOLERANCE = 1e-3
"""Of an output's largest magnitude: float sums in another order, and Winograd tiles of 6 x 6 outputs."""

HALF_TOLERANCE = 0.05
"""The same where sums are rounded to binary16 on the way, which adds up from layer to layer."""


@dataclass(frozen=True)
class Verified:
    """How far an output of an artifact is from the interpreter's, and how far it may be.

    Both as shares of the output's largest magnitude; 0 is to the bit.
    """

    output: str
    moved: float
    allowed: float


def check_runnable(target: Target) -> None:
    """SecateurError where artifacts for `target` cannot be run on this machine."""
    if not runs_here(target):
        raise SecateurError(
            f"an artifact for {target.name} cannot run on this machine, so it cannot be verified here; "
            "check the passes alone (verify=passes)"
        )


def check_artifact(
    path: Path, graph: Graph, inputs: Mapping[str, Array], wanted: Mapping[str, Array]
) -> tuple[Verified, ...]:
    """Runs the artifact of `graph` on `inputs`; ValidationError where an answer is not near `wanted`.

    Outputs that follow from the inputs by integers, moves and single roundings alone must be equal to the
    bit. The others may differ by `FLOAT_TOLERANCE`, by `HALF_TOLERANCE` where sums are binary16, or by
    `INTEGER_TOLERANCE` where floats are quantized again.
    """
    with load(path) as session:
        found = session.run(dict(inputs))
    rows = tuple(_verified(graph, name, wanted[name], found[name]) for name in graph.output_names)
    for row in rows:
        if not row.moved <= row.allowed:
            raise ValidationError(_message(row))
    return rows


def _verified(graph: Graph, name: str, wanted: Array, found: Array) -> Verified:
    return Verified(name, difference(name, wanted, found).moved, _allowed(graph, name, wanted))


def _allowed(graph: Graph, name: str, wanted: Array) -> float:
    value = graph.outputs[graph.output_names.index(name)]
    if value in exact_values(graph):
        return 0.0
    if holds_integers(graph):
        return max(INTEGER_TOLERANCE, step_share(value, wanted))
    if not value.type.dtype.is_float:
        return 0.0
    if any(op.get("sums") == DType.F16 for op in graph.operators):
        return HALF_TOLERANCE
    return max(FLOAT_TOLERANCE, 8 * float(np.finfo(wanted.dtype).eps))


def _message(row: Verified) -> str:
    how = "equal to the bit" if row.allowed == 0 else f"within {row.allowed:.3g} of its largest magnitude"
    return (
        f"the artifact does not give the interpreter's answer: output '{row.output}' is off by "
        f"{row.moved:.3g} of its largest magnitude and must be {how}; nothing was written. "
        "This is a defect of Secateur; `secateur compare` finds the first layer that differs"
    )
