"""What may be asked of pruning, and what is refused."""

from __future__ import annotations

from typing import get_args

import pytest

from secateur.ir.errors import SecateurError
from secateur.passes.prune.criteria.registry import CRITERIA
from secateur.passes.prune.options import BUDGETS, Criterion, Recipe


def test_every_criterion_can_be_asked_for() -> None:
    assert set(get_args(Criterion)) == {"auto", *(criterion.name for criterion in CRITERIA)}


def test_auto_is_what_the_data_allows() -> None:
    assert [Recipe(macs=0.5).criterion_with(has) for has in (True, False)] == ["reconstruction", "l2"]
    assert Recipe(macs=0.5, criterion="l1").criterion_with(True) == "l1"


def test_without_a_limit_it_is_not_known_what_to_do() -> None:
    with pytest.raises(SecateurError, match=r"give one of macs, latency, size, (memory, )?loss, max_drop"):
        Recipe().check()


@pytest.mark.parametrize("name", [*BUDGETS, "max_drop"])
@pytest.mark.parametrize("limit", [-1, float("inf"), float("nan")])
def test_a_limit_that_is_no_number_from_0_on_is_refused(name: str, limit: float) -> None:
    with pytest.raises(SecateurError, match=name):
        Recipe(**{name: limit})  # type: ignore[arg-type]
