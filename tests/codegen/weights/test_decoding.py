"""What decoding takes on a target, and what `best` stands for there."""

from __future__ import annotations

import numpy as np
import pytest

from secateur.codegen.targets.rows import TARGETS
from secateur.codegen.weights.decoding import typical_seconds
from secateur.codegen.weights.registry import CODECS, named
from secateur.codegen.weights.storing import check_codec
from secateur.codegen.weights.streams import encode
from secateur.ir.errors import SecateurError


def test_several_codecs_are_the_least_of_them() -> None:
    rng = np.random.default_rng(0)
    noise, few = rng.integers(-9, 9, (64, 64)).astype(np.int8), np.zeros((64, 64), np.int8)
    assert [encode(a, "huffman+bitmap")[0] for a in (noise, few)] == [
        CODECS["huffman"].number, CODECS["bitmap"].number
    ]  # fmt: skip
    assert typical_seconds("planes+rans", 1e6, TARGETS["rpi3"]) > typical_seconds(
        "fast", 1e6, TARGETS["rpi3"]
    )


def test_a_wrong_name_among_several_is_refused() -> None:
    check_codec("huffman+bitmap")
    with pytest.raises(SecateurError, match=r"no codec 'huffmann'.*huffman"):
        check_codec("bitmap+huffmann")
    with pytest.raises(KeyError):
        named("bitmap+best")


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("rans+rans", "'rans' is named twice"),
        ("planes+best", "'best' stands for several itself"),
        ("rans+raw", "leave out 'raw'"),
        ("rans+", "no codec ''"),
    ],
)
def test_names_that_say_nothing_more_are_refused(name: str, why: str) -> None:
    with pytest.raises(SecateurError, match=why):
        check_codec(name)
