"""What may be asked of pruning, and what is refused."""

from __future__ import annotations

from typing import get_args

import pytest

from secateur.ir.errors import SecateurError
from secateur.ir.support.units import Share
from secateur.passes.framework.pipeline import format_pipeline, parse_pipeline
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


@pytest.mark.parametrize(("text", "seconds"), [("20ms", 0.02), ("2min", 120.0), ("0.5s", 0.5)])
def test_a_limit_on_time_may_be_a_text(text: str, seconds: float) -> None:
    assert Recipe(latency=text) == Recipe(latency=seconds)


def test_a_share_of_the_models_time_is_none_of_seconds() -> None:
    half = Recipe(latency="50%")
    assert half.latency == Share(0.5)
    assert half != Recipe(latency=0.5)
    text = format_pipeline(parse_pipeline("prune{latency=50%}"))
    assert text == "prune{latency=50%}"
    assert (
        parse_pipeline(text) == parse_pipeline("prune{latency=50%}") != parse_pipeline("prune{latency=0.5}")
    )


@pytest.mark.parametrize("text", ["soon", "20", "%", "-5%", ""])
def test_a_text_that_is_no_time_is_refused(text: str) -> None:
    with pytest.raises(SecateurError, match="is no time such as 20ms, and no share such as 50%"):
        Recipe(latency=text)


@pytest.mark.parametrize("name", ["size", "memory"])
def test_a_limit_on_bytes_may_be_a_text_or_a_share(name: str) -> None:
    assert Recipe(**{name: "2MiB"}) == Recipe(**{name: 2 << 20})  # type: ignore[arg-type]
    assert getattr(Recipe(**{name: "50%"}), name) == Share(0.5)  # type: ignore[arg-type]
    text = f"prune{{{name}=50%}}"
    assert format_pipeline(parse_pipeline(text)) == text
    assert parse_pipeline(f"prune{{{name}=2MiB}}") == parse_pipeline(f"prune{{{name}={2 << 20}}}")
    with pytest.raises(SecateurError, match=f"{name} soon is no size such as 4MiB, and no share"):
        Recipe(**{name: "soon"})  # type: ignore[arg-type]
    with pytest.raises(SecateurError, match=f"{name}=soon is not a size such as 4MiB or a share"):
        parse_pipeline(f"prune{{{name}=soon}}")


def test_a_pipeline_with_what_is_no_time_is_refused() -> None:
    with pytest.raises(SecateurError, match="latency=soon is not a number of seconds or a share"):
        parse_pipeline("prune{latency=soon}")


@pytest.mark.parametrize("name", [*BUDGETS, "max_drop"])
@pytest.mark.parametrize("limit", [-1, float("inf"), float("nan")])
def test_a_limit_that_is_no_number_from_0_on_is_refused(name: str, limit: float) -> None:
    with pytest.raises(SecateurError, match=name):
        Recipe(**{name: limit})  # type: ignore[arg-type]
