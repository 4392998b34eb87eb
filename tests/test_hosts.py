"""What is left out of the runs as lesser processors."""

from __future__ import annotations

import pytest

from secateur.codegen.targets.rows import TARGETS
from secateur.codegen.targets.target import Target

from .hosts import _names_a_row


@pytest.mark.parametrize("row", [TARGETS["x86-64-v2"], "x86-64-v2"], ids=["row", "name"])
def test_a_row_among_the_parameters_is_seen(request: pytest.FixtureRequest, row: Target | str) -> None:
    assert _names_a_row(request.node) is isinstance(row, Target)


def test_a_test_without_parameters_names_none(request: pytest.FixtureRequest) -> None:
    assert not _names_a_row(request.node)
