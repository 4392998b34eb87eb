"""The mark of cases that the suite leaves to `make test-sweeps`: each list of cases keeps some, in turns."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from .sampled import ALL_EXAMPLES, examples, in_turn, sampled, sampled_rows, take_turns

ROOT = Path(__file__).parent


def swept(parameters: list[Any]) -> list[Any]:
    """The values of those that are marked."""
    return [p.values for p in parameters if hasattr(p, "marks") and [m.name for m in p.marks] == ["sweep"]]


def test_what_does_not_stay_is_marked() -> None:
    assert sampled("abc", "b")[1] == "b"
    assert swept(sampled("abc", "b")) == [("a",), ("c",)]
    assert swept(sampled_rows([(1, 2), (3, 4)], lambda a, _: a == 3)) == [(1, 2)]


@pytest.mark.parametrize("stay", ["", "d", "ad"])
def test_something_stays_and_is_a_case(stay: str) -> None:
    with pytest.raises(ValueError, match="must be among the cases"):
        sampled("abc", stay)


def test_one_row_stays() -> None:
    with pytest.raises(ValueError, match="none of the cases stays"):
        sampled_rows([(1, 2)], lambda a, b: a > b)


@pytest.mark.parametrize(("whole", "count"), [("", 2), ("1", 5)])
def test_the_sweeps_try_more_examples(whole: str, count: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(ALL_EXAMPLES, whole)
    seen: list[int] = []

    @examples(2, 5)
    @given(st.integers(0, 99))
    def test(number: int) -> None:
        seen.append(number)

    test()
    assert len(seen) == count
    assert [mark.name for mark in getattr(test, "pytestmark", [])] == ["examples"]


@pytest.mark.parametrize(
    ("all_of_them", "turn", "wanted"),
    [("", 0, "a0 a2 b"), ("", 1, "a1 b"), ("", 2, "a0 a2 b"), ("1", 0, "a0 a1 a2 b")],
)
def test_cases_of_a_kind_take_turns(
    all_of_them: str, turn: int, wanted: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(ALL_EXAMPLES, all_of_them)
    assert in_turn(["a0", "b", "a1", "a2"], turn, lambda case: case[0]) == wanted.split()


class Item(SimpleNamespace):
    """What is asked of a test."""

    every_row = False

    def add_marker(self, mark: Any) -> None:
        self.mark = mark.name

    def get_closest_marker(self, name: str) -> bool:
        return name == "every_row" and self.every_row


def items(*cases: dict[str, Any]) -> list[Any]:
    found = [Item(path="a.py", nodeid=f"a.py::test[{i}]", mark="") for i in range(len(cases))]
    for item, params in zip(found, cases, strict=True):
        item.callspec = SimpleNamespace(params=params)
    return found


def test_each_case_and_each_value_has_its_turn() -> None:
    found = items(*({"case": case, "row": row} for case in "abc" for row in (1, 2)))
    take_turns(found, int)
    assert [item.mark for item in found] == ["", "sweep", "sweep", "", "sweep", ""]


def test_a_test_may_ask_for_every_row() -> None:
    found = items(*({"case": case, "row": row} for case in "abc" for row in (1, 2)))
    for item in found:
        item.every_row = True
    take_turns(found, int)
    assert {item.mark for item in found} == {""}


def test_where_values_are_more_than_cases_all_stay() -> None:
    found = items(*({"case": "a", "row": row} for row in (1, 2)), {"case": "b", "row": "no number"})
    take_turns(found, int)
    assert [item.mark for item in found] == ["", "", ""]


def test_the_mark_is_set_here_alone() -> None:
    word = "mark." + "sweep"
    files = [path for path in ROOT.rglob("*.py") if word in path.read_text()]
    assert files == [ROOT / "sampled.py"]
