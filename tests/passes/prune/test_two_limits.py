"""Two limits at once: against every combination of counts."""

from __future__ import annotations

import re
from itertools import product

import pytest

from secateur.ir.errors import SecateurError
from secateur.passes.framework.pipeline import parse_pipeline
from secateur.passes.prune.optimize import Budget, Optimizer
from secateur.passes.prune.problem import BudgetError
from secateur.passes.prune.prune import Prune

from .nets import residual
from .test_optimize import case
from .test_search import pruned

PAIRS = [
    ("seconds", "weights"),
    ("macs", "weights"),
    ("seconds", "macs"),
    ("seconds", "arena"),
    ("macs", "arena"),
]


def spent(of: Optimizer, counts: dict[int, int], name: str) -> float:
    if name in ("seconds", "arena"):
        return of.seconds(counts) if name == "seconds" else of.peak(counts)
    left = [op for op in of.extents.pruned(counts).operators if op.name != "nn.constant"]
    if name == "macs":
        return sum(op.macs for op in left)
    return sum(v.type.bytes for op in left for v in op.operands if v.is_constant)


@pytest.mark.parametrize("names", PAIRS, ids="-".join)
@pytest.mark.parametrize("kind", ["residual", "mobile"])
def test_no_counts_within_both_limits_lose_less_than_the_bound(kind: str, names: tuple[str, str]) -> None:
    of = case(kind, "rpi4", {"residual": 0, "mobile": 5}[kind]).optimizer
    every = [dict(enumerate(picked)) for picked in product(*of.problem.counts)]
    sums = [tuple(spent(of, counts, name) for name in names) for counts in every]
    ends = [(min(s[i] for s in sums), max(s[i] for s in sums)) for i in (0, 1)]
    exact = 0
    for shares in ((0.5, 0.5), (0.3, 0.7), (0.8, 0.2), (0.9, 0.9)):
        limits = [low + share * (high - low) for (low, high), share in zip(ends, shares, strict=True)]
        limits = [
            limit if name == "seconds" else int(limit) for name, limit in zip(names, limits, strict=True)
        ]
        fits = [
            of.loss(c) for c, s in zip(every, sums, strict=True) if s[0] <= limits[0] and s[1] <= limits[1]
        ]
        if not fits:
            continue
        try:
            found = of.within(Budget(**dict(zip(names, limits, strict=True))))  # type: ignore[arg-type]
        except BudgetError:  # none was found though some fit: it says so
            continue
        for name, limit in zip(names, limits, strict=True):
            assert spent(of, dict(enumerate(found.kept.values())), name) <= limit * (1 + 1e-9)
        assert found.bound <= min(fits) * (1 + 1e-9) <= found.loss * (1 + 1e-9) + 1e-9
        assert found.doubt or found.loss == pytest.approx(min(fits))
        exact += not found.doubt
    assert exact


def test_limits_that_cannot_both_be_kept_are_named() -> None:
    of = case("residual", "rpi4", 0).optimizer
    with pytest.raises(BudgetError, match=r"no counts were found that keep .* and 1 bytes? of weights"):
        of.within(Budget(seconds=of.before, weights=1))


@pytest.mark.parametrize(
    "text", ["macs=0.5,latency=0.1,size=100", "loss=0.1,macs=0.5", "loss=0.1,memory=100"]
)
def test_limits_that_do_not_go_together(text: str) -> None:
    with pytest.raises(SecateurError, match=re.escape("pruning keeps two of macs, latency and size")):
        parse_pipeline(f"prune{{{text}}}")


def test_a_pruned_network_keeps_both() -> None:
    _, whole = pruned(residual(1), Prune(macs=1.0))
    size = int(0.7 * whole.before.weights)
    _, report = pruned(residual(1), Prune(macs=0.6, size=size))
    assert report.after.macs <= 0.6 * report.before.macs
    assert report.after.weights <= size
