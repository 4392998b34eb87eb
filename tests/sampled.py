"""Samples of long lists of cases: those that stay in the suite, and those that `make test-sweeps` alone runs.

Of the cases that run the same code, the suite has a sample in which each kind of case is; the rest is run by
`make test-sweeps`, marked `sweep`. These functions set the mark, and nothing else does: so no test
can be left out whole.
"""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Callable, Collection, Hashable, Iterable, Sequence
from itertools import chain
from typing import Any, TypeVar

import pytest
from hypothesis import settings

_SWEEP = pytest.mark.sweep
ALL_EXAMPLES = "SECATEUR_ALL_EXAMPLES"

Case = TypeVar("Case")
Test = TypeVar("Test", bound=Callable[..., Any])


def whole() -> bool:
    """Whether this is `make test-sweeps`."""
    return bool(os.environ.get(ALL_EXAMPLES))


def in_turn(cases: Iterable[Case], turn: int, of: Callable[[Case], Hashable]) -> list[Case]:
    """Every second case of each kind, the others at the next `turn`; all of a kind that has but one.

    In `make test-sweeps` all cases; the test that asks is marked `examples`.
    """
    kinds: dict[Hashable, list[Case]] = defaultdict(list)
    for case in cases:
        kinds[of(case)].append(case)
    each = (found if whole() or len(found) == 1 else found[turn % 2 :: 2] for found in kinds.values())
    return list(chain.from_iterable(each))


def examples(few: int, most: int, **more: Any) -> Callable[[Test], Test]:
    """Settings of a property whose examples take long: `few` in the suite, `most` in `make test-sweeps`."""
    count = most if whole() else few

    def of(test: Test) -> Test:
        set_so: Test = settings(max_examples=count, deadline=None, **more)(test)
        marked: Test = pytest.mark.examples(set_so)
        return marked

    return of


def sampled(cases: Iterable[Case], stay: Collection[Case]) -> list[Any]:
    """Values of a test's parameter, of which the suite runs those in `stay`; ValueError where one is none."""
    found = list(cases)
    if not stay or any(case not in found for case in stay):
        raise ValueError(f"what stays in the suite must be among the cases: {stay} of {found}")
    return [case if case in stay else pytest.param(case, marks=_SWEEP) for case in found]


def sampled_rows(cases: Iterable[Sequence[Any]], stays: Callable[..., bool]) -> list[Any]:
    """Rows of several parameters; the suite runs those for which `stays(*row)`. ValueError where none is."""
    found = [tuple(case) for case in cases]
    if not any(stays(*row) for row in found):
        raise ValueError(f"none of the cases stays in the suite: {found}")
    return [row if stays(*row) else pytest.param(*row, marks=_SWEEP) for row in found]


def take_turns(items: Iterable[pytest.Item], kind: type) -> None:
    """Each case of a test stays for one value of its parameter of that kind, another for each next case.

    Tests have as many cases as values for this, or more: so each case and each value stays. Where there are
    fewer, or the test is marked `every_row`, all stay.
    """
    functions: dict[Hashable, dict[Hashable, list[pytest.Item]]] = defaultdict(lambda: defaultdict(list))
    for item in items:
        parameters = item.callspec.params if hasattr(item, "callspec") else {}
        taken = any(isinstance(value, kind) for value in parameters.values())
        if taken and not item.get_closest_marker("every_row"):
            rest = str([(n, v) for n, v in parameters.items() if not isinstance(v, kind)])
            functions[item.path, item.nodeid.split("[")[0]][rest].append(item)
    for cases in functions.values():
        if len(cases) >= max(map(len, cases.values())):
            for turn, values in enumerate(cases.values()):
                stays = (turn + turn // len(values)) % len(values)  # what alternates meets each value
                for place, item in enumerate(values):
                    if place != stays:
                        item.add_marker(_SWEEP)
