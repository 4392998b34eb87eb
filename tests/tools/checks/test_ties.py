"""Picks among nearly equal elements: what is no difference, and what is one all the same."""

from __future__ import annotations

import numpy as np
import pytest

from secateur.ir.interpreter import run
from secateur.ir.parser import parse_graph
from secateur.tools.checks.layers import Array, Difference, Thresholds, differences
from secateur.tools.checks.ties import in_found_order, outputs_in_found_order

GRAPH = parse_graph("""graph @g(%x: tensor<6xf32>, %rows: tensor<6x2xf32>) {
  %ranked = nn.relu(%x) : tensor<6xf32>
  %places = nn.top_k(%ranked) {k = 3} : tensor<3xi64>
  %best = nn.gather(%rows, %places) : tensor<3x2xf32>
  %sums = nn.reduce_sum(%best) {axes = [1], keepdims = false} : tensor<3xf32>
  %first = nn.argmax(%sums) {axis = 0, keepdims = false} : tensor<i64>
  %one = nn.gather(%best, %first) : tensor<2xf32>
  return %ranked as "ranked", %places as "places", %best as "best", %sums as "sums", %first as "first",
         %one as "one"
}""")
ROWS = np.array([[0, 1], [9, 9], [2, 3], [3, 2], [5, 5], [4, 4]], np.float32)
USUAL = Thresholds()
SCORES = np.array([1, 7, 2, 2, 1, 0.5], np.float32)


def values(scores: Array = SCORES, **changed: Array) -> dict[str, Array]:
    """All values of the graph, some of them changed afterwards."""
    return run(GRAPH, {"x": scores, "rows": ROWS}) | changed


def rows(found: dict[str, Array], limits: Thresholds = USUAL) -> dict[str, Difference]:
    inputs = {"x": SCORES, "rows": ROWS}
    return {row.value: row for row in in_found_order(GRAPH, values(), found, limits, inputs)}


def test_equal_values_are_in_order() -> None:
    found = rows(values())
    assert all(row.passed and not row.reordered for row in found.values())


def test_nearly_equal_elements_may_stand_in_another_order() -> None:
    found = rows(values(SCORES + np.array([0, 0, -1e-6, 1e-6, 0, 0], np.float32)))
    assert all(row.passed for row in found.values())
    assert [name for name, row in found.items() if row.reordered] == ["places", "best"]


def test_picks_of_picks_are_followed() -> None:
    """5 of row 2 and 5 of row 3 are the same sum, of which either may be the larger."""
    shifted = values(np.array([1, 0.5, 2, 2 + 1e-6, 1, 0.5], np.float32))
    inputs = {"x": np.array([1, 0.5, 2, 2, 1, 0.5], np.float32), "rows": ROWS}
    second = shifted | {"first": np.array(1), "one": shifted["best"][1]}
    found = in_found_order(GRAPH, run(GRAPH, inputs), second, USUAL, inputs)
    assert all(row.passed for row in found)
    assert [row.value for row in found if row.reordered] == ["places", "best", "first"]


@pytest.mark.parametrize(
    ("name", "places"),
    [
        ("another element", [1, 2, 0]),
        ("one twice", [1, 2, 2]),
        ("none at all", [1, 2, 6]),
        ("below", [1, 2, -1]),
    ],
)
def test_other_picks_differ(name: str, places: list[int]) -> None:
    found = rows(values(places=np.array(places)))
    assert not found["places"].passed, name
    assert not found["places"].reordered


def test_what_does_not_follow_from_the_picks_differs() -> None:
    near = values(SCORES + np.array([0, 0, -1e-6, 1e-6, 0, 0], np.float32))
    found = rows(near | {"best": values()["best"]})
    assert [name for name, row in found.items() if not row.passed] == ["best"]


def test_the_limits_say_what_is_equal() -> None:
    other = values(places=np.array([1, 2, 0]), best=ROWS[[1, 2, 0]])
    assert not rows(other, Thresholds(0.9, 0))["places"].passed
    assert rows(other, Thresholds(1.1, 0))["places"].reordered


NEAR = values(SCORES + np.array([0, 0, -1e-6, 1e-6, 0, 0], np.float32))
SHOWN = ("places", "best")


def outputs(given: dict[str, Array], layers: dict[str, Array], *names: str) -> list[tuple[bool, bool]]:
    shown = {name: given[name] for name in names}
    plain = differences(GRAPH, values(), shown, USUAL)
    inputs = {"x": SCORES, "rows": ROWS}
    found = outputs_in_found_order(plain, GRAPH, values(), {**layers, **shown}, USUAL, inputs)
    assert [row.value for row in found] == list(names)
    return [(row.passed, row.reordered) for row in found]


def test_an_artifact_follows_the_picks_that_it_shows() -> None:
    assert outputs(NEAR, values(), *SHOWN) == [(True, True), (True, True)]


def test_an_artifact_may_have_picked_as_the_layers_did_or_the_reference() -> None:
    assert outputs(NEAR, NEAR, "best") == [(True, True)]
    assert outputs(values(), NEAR, "best") == [(True, False)]
    assert outputs(NEAR, values(), "best") == [(False, False)]


def test_an_artifact_that_follows_no_picks_differs() -> None:
    assert outputs(NEAR | {"best": ROWS[[0, 1, 2]]}, NEAR, *SHOWN) == [(True, True), (False, False)]
