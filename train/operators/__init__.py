"""The meaning of every trainable operator in PyTorch: that of `secateur.ir.reference`, differentiable.

Each family module has a table `RULES` from operator name to a function that
takes the operator and returns its step: a function of operand tensors and of
whether the network is in training. What does not depend on the tensors is
computed once, when the step is made.

Sums stay in the type of the tensors, where the reference sums in float64: the
two agree to the tolerance of that type.
"""

from __future__ import annotations

from ...ir.errors import ModelError
from ...ir.graph import Operator
from . import carried, elementwise, matrix, movement, normalize, quantize, reduce, resize, windows
from .step import Rule, Step

RULES: dict[str, Rule] = {
    **carried.RULES,
    **elementwise.RULES,
    **matrix.RULES,
    **movement.RULES,
    **normalize.RULES,
    **quantize.RULES,
    **reduce.RULES,
    **resize.RULES,
    **windows.RULES,
}


def step_of(op: Operator) -> Step:
    """The operator in PyTorch; ModelError, which names it, where it cannot be trained."""
    rule = RULES.get(op.name)
    if rule is None:
        raise ModelError(f"{op.called} cannot be trained: it has no meaning in PyTorch here")
    return rule(op)


__all__ = ["RULES", "Rule", "Step", "step_of"]
