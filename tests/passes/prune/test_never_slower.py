"""A pruned network is not slower than before, at any rate and on any board, by the cost model."""

from __future__ import annotations

from dataclasses import dataclass, replace

import pytest

from secateur.codegen.backends.cpu.costs import AnalyticCosts
from secateur.codegen.targets.find import find
from secateur.ir.choice import Choice, CostTable
from secateur.ir.graph import Operator
from secateur.ir.types import Layout, TensorType
from secateur.passes.prune.optimize import Budget, Optimizer
from secateur.passes.prune.problem import BudgetError
from secateur.tools.bench.never_slower import (
    Rate,
    Row,
    boards,
    fused_with_curves,
    measured,
    text,
    uniform,
)
from tests.sampled import sampled, whole

from .nets import residual

EVERY = {"x86-64-v3", "rpi4", "rpi2"}  # a board of each instruction set, where few rates are left out


@pytest.mark.examples
@pytest.mark.parametrize("target", sampled(boards(), {*boards()[::4], *EVERY}))
def test_no_rate_makes_the_network_slower(target: str) -> None:
    fused, curves = fused_with_curves(residual(0, width=32, blocks=1))
    rates = range(1, 91, 1 if whole() else 2 if target in EVERY else 6)
    row = measured(fused, curves, target, rates, most=4)
    assert [rate.percent for rate in row.rates] == list(rates)
    reached = [rate for rate in row.rates if rate.ours is not None]
    assert len(reached) >= 20 / rates.step
    assert row.never_slower
    assert target in text([row])


@dataclass
class Cliff:
    """A cost table on which convolutions of few channels to few filters are slow, though neither is alone."""

    costs: CostTable
    below: int

    def choices(self, op: Operator) -> tuple[Choice, ...]:
        found = self.costs.choices(op)
        if op.name != "nn.conv":
            return found
        channels, filters = op.operands[0].type.shape[1], op.result.type.shape[1]
        slow = 3 < channels < self.below and filters < self.below
        return tuple(replace(c, seconds=c.seconds * 40) for c in found) if slow else found

    def conversion(self, type: TensorType, source: Layout, destination: Layout) -> float:
        return self.costs.conversion(type, source, destination)

    def weight_bytes(self, op: Operator, choice: Choice) -> int:
        return self.costs.weight_bytes(op, choice)


def test_counts_that_only_together_are_slow_are_not_taken() -> None:
    fused, curves = fused_with_curves(residual(0, width=32, blocks=1))
    optimizer = Optimizer(fused, curves, Cliff(AnalyticCosts(find("rpi4")), 32), most=4)
    macs = sum(op.macs for op in fused.operators if op.name != "nn.constant")
    doubts = 0
    for percent in range(5, 90, 5):
        try:
            found = optimizer.within(Budget(macs=macs * (100 - percent) // 100))
        except BudgetError:
            break
        assert found.spent <= macs * (100 - percent) / 100
        assert found.seconds <= optimizer.before * (1 + 1e-9) or found.doubt
        doubts += bool(found.doubt) and found.seconds <= optimizer.before * (1 + 1e-9)
    assert doubts


@pytest.mark.parametrize(("ours", "never"), [(1.0, True), (None, True), (1.001, False)])
def test_a_rate_that_makes_the_network_slower_is_told(ours: float | None, never: bool) -> None:
    assert Row("rpi4", 0.01, (Rate(1, 0.9, 0.9), Rate(2, 0.9, ours))).never_slower is never


def test_uniform_pruning_keeps_a_share_of_each_group() -> None:
    assert uniform(64, 21) == 51
    assert uniform(3, 90) == 1
