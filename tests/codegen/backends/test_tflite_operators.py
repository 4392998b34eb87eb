"""Every operator that rounds as TFLite does, in the interpreter and in LiteRT's reference kernels: the same bytes."""

from __future__ import annotations

import pytest

from .litert import check_agrees
from .random_bytes import GENERATORS, random_graph


@pytest.mark.parametrize("seed", range(24))
@pytest.mark.parametrize("kind", GENERATORS)
def test_an_operator_gives_litert_s_bytes(kind: str, seed: int) -> None:
    check_agrees(random_graph(kind, seed), seed, ["litert", "edgetpu"][seed % 2])
