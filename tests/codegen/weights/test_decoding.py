"""What decoding takes on a target, and what `best` stands for there."""

from __future__ import annotations

import numpy as np
import pytest

from secateur.codegen.targets.rows import TARGETS
from secateur.codegen.weights.decoding import PACES, name_on, pace_seconds, typical_seconds
from secateur.codegen.weights.registry import BEST, CHOOSING, CODECS, named
from secateur.codegen.weights.storing import check_codec
from secateur.codegen.weights.streams import encode
from secateur.ir.errors import SecateurError


def test_best_leaves_out_what_loads_more_slowly_than_a_card_is_read() -> None:
    target = TARGETS["rpi3"]
    kept = named(name_on(BEST, target))
    assert {"rans", "nibbles", "huffman", "bitmap"} < set(kept)
    assert set(CHOOSING[BEST]) - set(kept) == {"patterns", "planes", "zeros"}
    assert all(pace_seconds(PACES[name], 90e6, target) <= 1 for name in kept)


def test_a_core_of_armv7_decodes_with_vectors_and_more_slowly() -> None:
    kept = set(named(name_on(BEST, TARGETS["cortex-a15"])))
    assert {"rans", "nibbles", "bitmap"} <= kept
    assert {"planes", "zeros", "huffman"}.isdisjoint(kept)


def test_a_slower_card_leaves_more_codecs() -> None:
    assert set(CHOOSING[BEST]) - set(named(name_on(BEST, TARGETS["rpi2"]))) == {"patterns", "zeros"}


@pytest.mark.parametrize("target", ["x86-64-v3", "rpi5", "jetson-orin"])
def test_best_is_the_least_of_all_where_decoding_keeps_up(target: str) -> None:
    assert {"planes", "zeros", "rans"} <= set(named(name_on(BEST, TARGETS[target])))


@pytest.mark.parametrize("name", ["", "small", "smallest", "fast", "planes"])
def test_other_names_stay(name: str) -> None:
    assert name_on(name, TARGETS["rpi3"]) == name


def test_several_codecs_are_the_least_of_them() -> None:
    rng = np.random.default_rng(0)
    noise, few = rng.integers(-9, 9, (64, 64)).astype(np.int8), np.zeros((64, 64), np.int8)
    assert [encode(a, "huffman+bitmap")[0] for a in (noise, few)] == [
        CODECS["huffman"].number, CODECS["bitmap"].number
    ]  # fmt: skip
    assert typical_seconds("planes+rans", 1e6, TARGETS["rpi3"]) > typical_seconds(
        "best", 1e6, TARGETS["rpi3"]
    )


def test_a_wrong_name_among_several_is_refused() -> None:
    check_codec("huffman+bitmap")
    with pytest.raises(SecateurError, match=r"no codec 'huffmann'.*huffman"):
        check_codec("bitmap+huffmann")
    with pytest.raises(KeyError):
        named("bitmap+best")
