"""The one list of criteria."""

from __future__ import annotations

from secateur.ir.errors import SecateurError
from secateur.ir.support.words import listed

from ..linear.matrices import Floats
from . import batch_norm, dependence, l1, l2, median, output_error, reconstruction, taylor
from .criterion import Criterion, Evidence, Rankings

CRITERIA: tuple[Criterion, ...] = (
    l1.CRITERION,
    l2.CRITERION,
    median.CRITERION,
    batch_norm.CRITERION,
    output_error.CRITERION,
    reconstruction.CRITERION,
    dependence.CRITERION,
    taylor.CRITERION,
)


def criterion(name: str) -> Criterion:
    """The criterion called so; SecateurError where there is none."""
    known = {c.name: c for c in CRITERIA}
    if name not in known:
        raise SecateurError(f"no criterion is called {listed([name], known)}")
    return known[name]


def rankings(name: str, evidence: Evidence) -> Rankings:
    """The units of each group as the criterion ranks them; SecateurError where it needs what is not given."""
    chosen = criterion(name)
    missing = {"data": not evidence.data.batches, "gradients": evidence.gradients is None}
    if missing.get(chosen.needs):
        what = {
            "data": "calibration data",
            "gradients": "labelled data and its gradients (the extra `train`)",
        }
        raise SecateurError(f"criterion {name} needs {what[chosen.needs]}, and there is none")
    return chosen.rank(evidence)


def importance(name: str, evidence: Evidence) -> dict[str, Floats]:
    """One number a unit for each group, smaller goes first; raises as `rankings`."""
    return {group: ranking.importance for group, ranking in rankings(name, evidence).items()}
