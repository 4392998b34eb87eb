"""Each criterion against its definition, and what each refuses."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import combinations

import numpy as np
import pytest

from secateur.ir.channels import find_channels
from secateur.ir.errors import SecateurError
from secateur.ir.graph import Graph, Value, constant_of
from secateur.passes.fuse.opening import Open
from secateur.passes.prune.criteria.criterion import Evidence, Ranking
from secateur.passes.prune.criteria.registry import CRITERIA, importance, rankings
from secateur.passes.prune.linear.matrices import Indices
from secateur.passes.prune.linear.moments import Data
from secateur.passes.prune.masked import masked
from tests.passes.prune.calibrated import DEPENDENT, TWO, answers, error, evidence, with_constant
from tests.passes.prune.test_remove import CONCAT, RESIDUAL
from tests.passes.texts import Array, build

NETWORKS = {"two": TWO, "residual": RESIDUAL, "concat": CONCAT}
NAMES = [c.name for c in CRITERIA]


def constant(graph: Graph, name: str) -> Array:
    found = constant_of(next(v for v in graph.values() if v.name == name))
    assert found is not None
    return found.astype(np.float64)


def some_gradients(_graph: Graph, values: Sequence[Value]) -> Iterator[list[Array]]:
    choose = np.random.default_rng(0)
    for _ in range(3):
        yield [choose.standard_normal(v.type.shape) for v in values]


# All of them ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("network", NETWORKS)
@pytest.mark.parametrize("name", NAMES)
def test_rankings_hold_every_unit_once_and_losses_rise_from_nothing(name: str, network: str) -> None:
    found = replace(evidence(build(NETWORKS[network]), 4), gradients=some_gradients)
    for group in found.groups:
        ranking = rankings(name, found)[group.name]
        assert sorted(ranking.order) == list(range(group.size))
        assert ranking.losses.shape == (group.size + 1,)
        assert ranking.losses[0] == 0
        assert (np.diff(ranking.losses) >= 0).all()
        assert ranking.losses[-1] > 0
        assert np.isfinite(ranking.losses).all()


@pytest.mark.parametrize("name", NAMES)
def test_importance_sorts_as_the_ranking_does(name: str) -> None:
    found = replace(evidence(build(TWO)), gradients=some_gradients)
    ranking, numbers = rankings(name, found)["one"], importance(name, found)["one"]
    assert np.argsort(numbers, kind="stable").tolist() == ranking.order.tolist()
    assert (np.cumsum(np.sort(numbers)) >= ranking.losses[1:] * (1 - 1e-12)).all()


def test_names_differ_and_each_is_explained() -> None:
    assert len(set(NAMES)) == len(NAMES)
    assert all(c.doc for c in CRITERIA)


@pytest.mark.parametrize("name", [c.name for c in CRITERIA if c.needs])
def test_a_criterion_without_what_it_needs_says_so(name: str) -> None:
    graph = build(TWO)
    with pytest.raises(SecateurError, match=f"criterion {name} needs (calibration|labelled) data"):
        rankings(name, Evidence(graph, find_channels(graph).groups))


def test_an_unknown_criterion_names_the_nearest() -> None:
    with pytest.raises(SecateurError, match="no criterion is called 'fgpm'; did you mean 'fpgm'"):
        rankings("fgpm", evidence(build(TWO)))


def test_a_curve_is_the_loss_of_keeping_the_best_units() -> None:
    ranking = Ranking.of_importance(np.array([3.0, 1.0, 2.0]))
    assert ranking.order.tolist() == [1, 2, 0]
    assert ranking.curve.tolist() == [3.0, 1.0, 0.0]
    assert ranking.gone(2).tolist() == [1, 2]


def test_importance_of_a_later_unit_that_costs_less_keeps_the_order() -> None:
    ranking = Ranking.of_steps([2, 0, 1], [3.0, 4.0, 4.0])
    assert np.argsort(ranking.importance).tolist() == [2, 0, 1]
    assert ranking.importance.tolist() == pytest.approx([3, 3, 3])


# Weights -------------------------------------------------------------------------------------------


def test_norms_are_shares_of_the_layer() -> None:
    graph = build(TWO)
    filters = np.abs(constant(graph, "w1").reshape(6, -1))
    l1, l2 = filters.sum(axis=1), (filters**2).sum(axis=1)
    np.testing.assert_allclose(importance("l1", evidence(graph))["one"], l1 / l1.sum(), rtol=1e-6)
    np.testing.assert_allclose(importance("l2", evidence(graph))["one"], l2 / l2.sum(), rtol=1e-6)


def test_a_group_that_several_layers_make_has_a_share_of_each() -> None:
    graph = build(RESIDUAL)
    parts = [np.abs(constant(graph, name).reshape(8, -1)).sum(axis=1) for name in ("w1", "w3")]
    wanted = sum(part / part.sum() for part in parts)
    np.testing.assert_allclose(importance("l1", evidence(graph))["stem"], wanted, rtol=1e-6)


def test_fpgm_takes_the_filter_that_lies_in_the_middle_first() -> None:
    graph = build(TWO)
    filters = constant(graph, "w1")
    filters[4] = filters[[0, 1, 2, 3, 5]].mean(axis=0)
    changed = with_constant(graph, "w1", filters)
    assert rankings("fpgm", evidence(changed))["one"].order[0] == 4
    flat = filters.reshape(6, -1)
    apart = np.sqrt(((flat[:, None] - flat[None]) ** 2).sum(axis=2)).sum(axis=1)
    np.testing.assert_allclose(importance("fpgm", evidence(changed))["one"], apart / apart.sum(), rtol=1e-5)


def test_batch_norm_scales_count_and_a_group_without_goes_by_its_weights() -> None:
    found = evidence(build(RESIDUAL))
    scale = np.abs(constant(found.graph, "scale"))
    np.testing.assert_allclose(importance("batch_norm", found)["stem"], scale / scale.sum(), rtol=1e-6)
    weights = importance("l2", found)["conv1"]
    np.testing.assert_array_equal(importance("batch_norm", found)["conv1"], weights)


# Data ----------------------------------------------------------------------------------------------


def test_output_error_is_what_removal_does_to_the_next_layers_result() -> None:
    found = evidence(build(TWO))
    ranking = rankings("output_error", found)["one"]
    for count in range(1, 6):
        pruned = masked(found.graph, {"one": ranking.gone(count).tolist()})
        assert ranking.losses[count] == pytest.approx(error(found.graph, pruned, found.data), rel=1e-3)
    assert ranking.losses[-1] == pytest.approx(1)


def test_output_error_sees_that_errors_cancel() -> None:
    """Two channels that the next layer subtracts from one another go together for nothing."""
    graph = build(TWO)
    w1, w2 = constant(graph, "w1"), constant(graph, "w2")
    w1[3], w2[:, 3] = w1[1], -w2[:, 1]
    found = evidence(with_constant(with_constant(graph, "w1", w1), "w2", w2))
    ranking = rankings("output_error", found)["one"]
    at = ranking.order.tolist().index(1)
    assert abs(at - ranking.order.tolist().index(3)) == 1


def residual_of_least_squares(found: Evidence, gone: Sequence[int] | Indices) -> float:
    """The share of the second layer's variance that no weights for the other channels explain."""
    hidden = next(v for v in found.graph.values() if v.type.shape == (1, 6, 6, 6) and v.name == "r")
    x = np.concatenate([a.reshape(6, -1).T for (a,) in found.data.values(found.graph, [hidden])])
    y = answers(found.graph, found.data).reshape(-1, 5, 36).swapaxes(1, 2).reshape(-1, 5)
    x, y = x - x.mean(axis=0), y - y.mean(axis=0)
    kept = np.delete(x, np.asarray(gone), axis=1).astype(np.float64)
    left = y - kept @ np.linalg.lstsq(kept, y, rcond=None)[0]
    return float((left**2).sum() / (y**2).sum())


def test_reconstruction_loses_what_least_squares_leaves() -> None:
    found = evidence(build(TWO))
    ranking = rankings("reconstruction", found)["one"]
    for count in range(1, 6):
        wanted = residual_of_least_squares(found, ranking.gone(count))
        assert ranking.losses[count] == pytest.approx(wanted, rel=0.02, abs=2e-3)


def test_greedy_elimination_is_near_the_best_of_all_sets() -> None:
    found = evidence(build(TWO))
    ranking = rankings("reconstruction", found)["one"]
    for count in (1, 2, 3):
        best = min(residual_of_least_squares(found, s) for s in combinations(range(6), count))
        assert ranking.losses[count] <= 1.5 * best + 2e-3


@pytest.mark.parametrize("name", ["reconstruction", "dependence"])
def test_linear_combinations_of_other_channels_are_lost_for_nothing(name: str) -> None:
    losses = rankings(name, evidence(build(DEPENDENT)))["one"].losses
    assert losses[2] < 5e-3
    assert losses[3] > 20 * losses[2]


def test_dependence_is_the_variance_that_others_do_not_explain() -> None:
    found = evidence(build(TWO))
    hidden = next(v for v in found.graph.values() if v.name == "r")
    x = np.concatenate([a.reshape(6, -1).T for (a,) in found.data.values(found.graph, [hidden])])
    x = (x - x.mean(axis=0)).astype(np.float64)
    ranking = rankings("dependence", found)["one"]
    for count in range(1, 6):
        gone = ranking.gone(count)
        kept = np.delete(x, gone, axis=1)
        left = x - kept @ np.linalg.lstsq(kept, x, rcond=None)[0]
        assert ranking.losses[count] == pytest.approx((left**2).sum() / (x**2).sum(), rel=1e-3)


def test_sensitivity_weighs_a_layers_error() -> None:
    found = evidence(build(TWO))
    result = next(op for op in found.graph.operators if op.loc == "two").result
    plain = rankings("output_error", found)["one"].losses
    doubled = rankings("output_error", replace(found, sensitivity={result: 2.0}))["one"].losses
    np.testing.assert_allclose(doubled, 2 * plain)


# Gradients -----------------------------------------------------------------------------------------


def test_taylor_is_the_squared_first_order_change_of_the_loss() -> None:
    """The loss is the mean square of the answer; its gradient by the last weights is known."""
    found = evidence(build(TWO), 3)
    graph = found.graph
    hidden = next(v for v in graph.values() if v.name == "r")
    inputs = [a[0].reshape(6, -1).astype(np.float64) for (a,) in found.data.values(graph, [hidden])]
    weights = constant(graph, "w2").reshape(5, 6)

    def gradients(_graph: Graph, values: Sequence[Value]) -> Iterator[list[Array]]:
        assert [v.name for v in values] == ["w2"]
        for x in inputs:
            yield [(2 / 180 * (weights @ x) @ x.T).reshape(5, 6, 1, 1)]

    ranking = importance("taylor", replace(found, gradients=gradients))["one"]
    step = 1e-6
    changes = np.zeros(6)
    for x in inputs:
        for unit in range(6):
            less = weights.copy()
            less[:, unit] *= 1 - step
            changes[unit] += ((((weights @ x) ** 2).mean() - ((less @ x) ** 2).mean()) / step) ** 2 / 3
    np.testing.assert_allclose(ranking, changes, rtol=1e-3)


def test_taylor_without_a_batch_is_refused() -> None:
    found = replace(evidence(build(TWO)), gradients=lambda _graph, _values: [])
    with pytest.raises(SecateurError, match="there is not one batch"):
        rankings("taylor", found)


def test_empty_data_is_refused() -> None:
    with pytest.raises(SecateurError, match="needs calibration data"):
        next(iter(Data().values(build(TWO), [])))


@pytest.mark.parametrize("name", ["output_error", "reconstruction", "dependence"])
def test_a_term_of_an_opened_sum_counts_by_its_share_of_the_sum(name: str) -> None:
    """Carried channels have no filters: what goes is missing from the sum as it is."""
    found = evidence(Open().run(build(RESIDUAL)))
    values = {op.name: op.result for op in found.graph.operators}
    term, total = values["nn.carry"], values["nn.channel_sum"]
    arrays = [
        np.stack(a).astype(np.float64)
        for a in zip(*found.data.values(found.graph, [term, total]), strict=True)
    ]
    spread = [a.var(axis=(0, 1, 3, 4)) for a in arrays]
    wanted = spread[0] / spread[1].sum()
    np.testing.assert_allclose(importance(name, found)["add/carried"], wanted, rtol=1e-5)
    weighty = replace(found, sensitivity={total: 0.25})
    factor = 1.0 if name == "dependence" else 0.25
    np.testing.assert_allclose(importance(name, weighty)["add/carried"], factor * wanted, rtol=1e-5)
