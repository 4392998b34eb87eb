"""Repair: least squares is exact where it can be, statistics are matched, and nothing else is touched."""

from __future__ import annotations

import numpy as np
import pytest

from secateur.ir.channels import find_channels
from secateur.ir.elementwise import Step
from secateur.ir.errors import SecateurError
from secateur.ir.graph import Graph, constant_of
from secateur.ir.printer import print_graph
from secateur.ir.verifier import verify
from secateur.passes.prune.criteria.branches import bypassed, find_branches
from secateur.passes.prune.criteria.criterion import Evidence
from secateur.passes.prune.criteria.registry import rankings
from secateur.passes.prune.linear.moments import Data
from secateur.passes.prune.remove import remove
from secateur.passes.prune.repair import replay
from secateur.passes.prune.repair.repair import Options, repair
from tests.passes.prune.calibrated import DEPENDENT, TWO, answers, batches, error, evidence, with_constant
from tests.passes.prune.test_criteria import constant
from tests.passes.prune.test_remove import CONCAT, RESIDUAL
from tests.passes.texts import Array, build, names

GROUPED = """
graph @grouped(%x: tensor<1x3x6x6xf32>) {
  %w1 = const : tensor<8x3x3x3xf32>
  %w2 = const : tensor<4x4x3x3xf32>
  %h = nn.conv(%x, %w1) {SAME} : tensor<1x8x6x6xf32> loc("one")
  %y = nn.conv(%h, %w2) {SAME, groups = 2} : tensor<1x4x6x6xf32> loc("two")
  return %y as "y"
}
"""

TRANSPOSED = """
graph @transposed(%x: tensor<1x4x4x4xf32>) {
  %w1 = const : tensor<6x4x1x1xf32>
  %w2 = const : tensor<6x3xKxKxf32>
  %b = const : tensor<1x3x1x1xf32>
  %h = nn.conv(%x, %w1) {VALID} : tensor<1x6x4x4xf32> loc("one")
  %y = nn.conv_transpose(%h, %w2, %b) {strides = [2, 2], pads = [0, 0, 0, 0], dilations = [1, 1],
    output_padding = [0, 0], epilogue = [add]} : tensor<1x3xSxSxf32> loc("two")
  return %y as "y"
}
"""


def power(wanted: Graph, got: Graph, data: Data) -> float:
    """The mean square of what differs as a share of the answers': the mean counts."""
    right = answers(wanted, data)
    return float(np.square(right - answers(got, data)).sum() / np.square(right).sum())


def weights(graph: Graph, loc: str) -> Array:
    found = constant_of(next(op for op in graph.operators if op.loc == loc).operands[1])
    assert found is not None
    return found


@pytest.mark.parametrize("units", [[0], [1, 4]])
def test_the_next_layer_absorbs_linear_combinations_exactly(units: list[int]) -> None:
    found = evidence(build(DEPENDENT))
    gone = {"one": units}
    pruned = remove(found.graph, gone)
    repaired = repair(found.graph, pruned, gone, found.data)
    verify(repaired)
    unseen = Data(batches(found.graph, 4, seed=9))
    assert power(found.graph, pruned, unseen) > 0.02
    assert power(found.graph, repaired, unseen) < 1e-3


@pytest.mark.parametrize(
    "text", [TWO, RESIDUAL, CONCAT, GROUPED], ids=["two", "residual", "concat", "grouped"]
)
def test_repair_lowers_the_error_on_images_that_it_never_saw(text: str) -> None:
    found = evidence(build(text), 40)
    ranked = rankings("reconstruction", found)
    gone = {name: r.gone(r.size // 3).tolist() for name, r in ranked.items()}
    pruned = remove(found.graph, gone)
    repaired = repair(found.graph, pruned, gone, found.data)
    verify(repaired)
    unseen = Data(batches(found.graph, 10, seed=9))
    assert power(found.graph, repaired, unseen) < 0.7 * power(found.graph, pruned, unseen)


def test_a_single_layer_is_the_least_squares_solution() -> None:
    """To the loss that the criterion named beforehand."""
    found = evidence(build(TWO), 40)
    ranking = rankings("reconstruction", found)["one"]
    gone = {"one": ranking.gone(3).tolist()}
    repaired = repair(found.graph, remove(found.graph, gone), gone, found.data)
    assert error(found.graph, repaired, found.data) == pytest.approx(ranking.losses[3], rel=0.02, abs=1e-3)


def test_nothing_is_repaired_where_nothing_went() -> None:
    found = evidence(build(RESIDUAL), 2)
    same = repair(found.graph, remove(found.graph, {}), {}, found.data)
    assert print_graph(same)[0] == print_graph(found.graph)[0]
    np.testing.assert_array_equal(answers(same, found.data), answers(found.graph, found.data))


def test_layers_before_the_first_loss_and_the_given_graphs_stay_as_they_are() -> None:
    found, gone = evidence(build(RESIDUAL), 3), {"conv1": [2]}
    pruned = remove(found.graph, gone)
    before = weights(pruned, "conv2").copy()
    repaired = repair(found.graph, pruned, gone, found.data)
    np.testing.assert_array_equal(weights(repaired, "stem"), weights(found.graph, "stem"))
    np.testing.assert_array_equal(weights(pruned, "conv2"), before)
    assert (weights(repaired, "conv2") != before).any()
    assert {v.name for v in repaired.values() if v.name} >= {v.name for v in pruned.values() if v.name}


def test_a_constant_that_others_read_stays_for_them() -> None:
    text = TWO.replace(
        'return %y as "y"',
        '%z = nn.conv(%q, %w2) {VALID} : tensor<1x5x6x6xf32> loc("three")\n  return %y as "y", %z as "z"',
    ).replace("(%x: tensor<1x3x6x6xf32>)", "(%x: tensor<1x3x6x6xf32>, %q: tensor<1x6x6x6xf32>)")
    found = evidence(build(text), 3)
    less = build(text)
    hidden = next(op for op in less.operators if op.loc == "one")
    less.replace_value(hidden.result, next(v for v in less.inputs if v.name == "q"))
    hidden_again = repair(found.graph, less, {}, found.data)
    np.testing.assert_array_equal(weights(hidden_again, "three"), weights(found.graph, "three"))
    assert (weights(hidden_again, "two") != weights(found.graph, "two")).any()


def test_means_go_into_a_bias_that_is_made_where_there_is_none() -> None:
    found, gone = evidence(build(TWO), 20), {"one": [0, 1, 2]}
    repaired = repair(found.graph, remove(found.graph, gone), gone, found.data)
    assert next(op for op in repaired.operators if op.loc == "two")["epilogue"] == (Step("add"),)
    means = [answers(g, found.data).mean(axis=(0, 1, 3, 4)) for g in (found.graph, repaired)]
    np.testing.assert_allclose(means[0], means[1], rtol=1e-3, atol=1e-3)


def test_an_epilogue_that_is_no_bias_stays() -> None:
    text = TWO.replace('{VALID} : tensor<1x5x6x6xf32> loc("two")',
                       '{VALID, epilogue = [relu]} : tensor<1x5x6x6xf32> loc("two")')  # fmt: skip
    found, gone = evidence(build(text), 20), {"one": [0, 1]}
    pruned = remove(found.graph, gone)
    repaired = repair(found.graph, pruned, gone, found.data)
    assert next(op for op in repaired.operators if op.loc == "two")["epilogue"] == (Step("relu"),)
    assert power(found.graph, repaired, found.data) < power(found.graph, pruned, found.data)


NORMED = TWO.replace(
    'return %y as "y"',
    """%scale = const : tensor<5xf32>
  %shift = const : tensor<5xf32>
  %mean = const : tensor<5xf32>
  %variance = const : tensor<5xf32>
  %n = nn.batch_norm(%y, %scale, %shift, %mean, %variance) : tensor<1x5x6x6xf32> loc("bn")
  return %n as "n\"""",
)


@pytest.mark.parametrize("solved", [True, False])
def test_batch_norms_give_the_means_and_variances_that_they_gave(solved: bool) -> None:
    found, gone = evidence(build(NORMED), 10), {"one": [0, 3]}
    pruned = remove(found.graph, gone)
    repaired = repair(found.graph, pruned, gone, found.data, Options(weights=solved))
    assert names(repaired) == names(pruned)
    wanted, got = (answers(g, found.data) for g in (found.graph, repaired))
    axes = (0, 1, 3, 4)
    np.testing.assert_allclose(got.mean(axis=axes), wanted.mean(axis=axes), rtol=1e-3, atol=1e-3)
    np.testing.assert_allclose(got.std(axis=axes), wanted.std(axis=axes), rtol=1e-2, atol=1e-3)


STACKED = """
graph @stacked(%x: tensor<1x4x6x6xf32>) {
  %w1 = const : tensor<8x4x3x3xf32>
  %w2 = const : tensor<4x8x1x1xf32>
  %w3 = const : tensor<16x4x3x3xf32>
  %w4 = const : tensor<4x16x3x3xf32>
  %scale = const : tensor<4xf32>
  %shift = const : tensor<4xf32>
  %mean = const : tensor<4xf32>
  %variance = const : tensor<4xf32>
  %a = nn.conv(%x, %w1) {SAME} : tensor<1x8x6x6xf32> loc("conv1")
  %c = nn.conv(%a, %w2) {VALID} : tensor<1x4x6x6xf32> loc("conv2")
  %d = nn.add(%c, %x) : tensor<1x4x6x6xf32> loc("sum1")
  %e = nn.conv(%d, %w3) {SAME} : tensor<1x16x6x6xf32> loc("conv3")
  %g = nn.conv(%e, %w4) {SAME} : tensor<1x4x6x6xf32> loc("conv4")
  %n = nn.batch_norm(%g, %scale, %shift, %mean, %variance) : tensor<1x4x6x6xf32> loc("bn")
  %y = nn.add(%n, %d) : tensor<1x4x6x6xf32> loc("sum2")
  return %y as "y"
}
"""


def test_a_residual_sum_is_repaired_by_the_branch_that_comes_last() -> None:
    """What a 1x1 convolution cannot make good, since it sees no neighbours, the next block's 3x3 ones do."""
    graph = build(STACKED)
    for name, array in (("scale", np.array([1.0, -2, 0.5, 3])), ("w4", np.zeros((4, 16, 3, 3)))):
        graph = with_constant(graph, name, array)
    found, gone = evidence(graph, 40), {"conv1": [0, 1, 2, 3]}
    pruned = remove(graph, gone)
    errors = []
    for compensate in (False, True):
        repaired = repair(graph, pruned, gone, found.data, Options(compensate=compensate))
        errors.append(power(graph, repaired, found.data))
    assert errors[1] < 0.5 * errors[0]


def test_a_branch_that_went_whole_is_made_good_by_what_follows() -> None:
    found = evidence(build(RESIDUAL), 40)
    less = remove(found.graph, {}, bypassed=bypassed(find_branches(found.graph)))
    repaired = repair(found.graph, less, {}, found.data)
    assert names(repaired) == names(less)
    assert power(found.graph, repaired, found.data) < 0.5 * power(found.graph, less, found.data)


def test_transposed_convolutions_are_solved_where_taps_do_not_overlap() -> None:
    text = TRANSPOSED.replace("KxK", "2x2").replace("SxS", "8x8")
    found, gone = evidence(build(text), 20), {"one": [0, 5]}
    repaired = repair(found.graph, remove(found.graph, gone), gone, found.data)
    assert power(found.graph, repaired, found.data) < 1e-3
    text = TRANSPOSED.replace("KxK", "3x3").replace("SxS", "9x9")
    found = evidence(build(text), 3)
    pruned = remove(found.graph, gone)
    repaired = repair(found.graph, pruned, gone, found.data)
    np.testing.assert_array_equal(weights(repaired, "two"), weights(pruned, "two"))


def test_what_does_not_fit_in_memory_goes_by_a_file(monkeypatch: pytest.MonkeyPatch) -> None:
    found, gone = evidence(build(RESIDUAL), 3), {"stem": [1], "conv1": [0]}
    pruned = remove(found.graph, gone)
    wanted = repair(found.graph, pruned, gone, found.data)
    monkeypatch.setattr(replay, "IN_MEMORY", 0)
    got = repair(found.graph, pruned, gone, found.data)
    np.testing.assert_array_equal(answers(got, found.data), answers(wanted, found.data))


def test_a_channel_that_is_always_zero_is_left_at_its_weights() -> None:
    graph = build(TWO)
    w1 = constant(graph, "w1")
    w1[3] = 0
    found, gone = evidence(with_constant(graph, "w1", w1), 10), {"one": [0]}
    repaired = repair(found.graph, remove(found.graph, gone), gone, found.data)
    np.testing.assert_allclose(weights(repaired, "two")[:, 2], weights(found.graph, "two")[:, 3], rtol=1e-5)
    assert np.isfinite(answers(repaired, found.data)).all()


def test_repair_without_data_is_refused() -> None:
    graph = build(TWO)
    with pytest.raises(SecateurError, match="repair needs calibration data"):
        repair(graph, graph, {}, Data())


def test_repair_of_a_group_that_does_not_exist_is_refused() -> None:
    found = evidence(build(TWO), 1)
    with pytest.raises(SecateurError, match="there is no group 'on'; did you mean 'one'"):
        repair(found.graph, found.graph, {"on": [0]}, found.data)


def test_few_images_do_not_make_it_worse() -> None:
    """Two windows a filter's columns: least squares would learn their noise."""
    text = TWO.replace("5x6x1x1", "5x6x3x3").replace("{VALID}", "{SAME}")
    found = evidence(build(text), 2)
    gone = {"one": rankings("reconstruction", found)["one"].gone(2).tolist()}
    pruned = remove(found.graph, gone)
    repaired = repair(found.graph, pruned, gone, found.data)
    unseen = Data(batches(found.graph, 20, seed=9))
    assert power(found.graph, repaired, unseen) < power(found.graph, pruned, unseen)


def test_one_image_moves_biases_alone() -> None:
    found, gone = evidence(build(TWO), 1), {"one": [0, 1]}
    pruned = remove(found.graph, gone)
    repaired = repair(found.graph, pruned, gone, found.data)
    np.testing.assert_array_equal(weights(repaired, "two"), weights(pruned, "two"))
    assert power(found.graph, repaired, found.data) < power(found.graph, pruned, found.data)


def test_dead_operators_and_missing_names_do_not_matter() -> None:
    """Without names operators are told apart by number, and removal drops those that nobody uses."""
    dead = "%dead = nn.conv(%x, %w1) {SAME} : tensor<1x6x6x6xf32>\n  %h = nn.conv"
    graph = build(TWO.replace(' loc("one")', "").replace(' loc("two")', "").replace("%h = nn.conv", dead))
    for value in graph.values():
        value.name = value.name if value in graph.inputs else ""
    found = evidence(graph, 20)
    (name,) = [g.name for g in found.groups if g.users]
    gone = {name: rankings("reconstruction", found)[name].gone(3).tolist()}
    pruned = remove(graph, gone)
    repaired = repair(graph, pruned, gone, found.data)
    assert power(graph, repaired, found.data) < 0.9 * power(graph, pruned, found.data)


def test_data_that_makes_values_infinite_is_refused() -> None:
    graph = build(TWO)
    images = [{"x": np.full((1, 3, 6, 6), np.inf, np.float32)}] * 2
    with pytest.raises(SecateurError, match="two>: what it computes is not finite on calibration data"):
        repair(graph, remove(graph, {"one": [0]}), {"one": [0]}, Data(images))
    with pytest.raises(SecateurError, match="two>: what it reads is not finite on calibration data"):
        rankings("output_error", Evidence(graph, find_channels(graph).groups, Data(images)))
