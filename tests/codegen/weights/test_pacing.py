"""Codecs that together decode no more slowly than a card is read."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest

from secateur.codegen.targets.rows import TARGETS
from secateur.codegen.weights.decoding import PACES, pace_seconds, parts, room_of, streams_seconds
from secateur.codegen.weights.pacing import Offer, foreseen, is_paced, paced, within
from secateur.codegen.weights.registry import BEST, CHOOSING
from secateur.codegen.weights.streams import decode, encode

TARGET = TARGETS["rpi3"]


def _weights(*shapes: tuple[int, ...]) -> list[np.ndarray[tuple[int, ...], np.dtype[np.int8]]]:
    rng = np.random.default_rng(0)
    return [np.clip(np.rint(rng.laplace(0, 9, shape)), -127, 127).astype(np.int8) for shape in shapes]


def test_small_arrays_keep_up_too() -> None:
    """Codecs that are faster than a card on a large array; on these their tables take longer."""
    arrays = _weights(*[(16, 16, 3, 3)] * 3)
    card = sum(array.nbytes for array in arrays) / 90e6
    assert all(pace_seconds(PACES[name], 90e6, TARGET) <= 1 for name in ("rans", "nibbles", "huffman"))
    alone = [encode(array, "rans+nibbles+huffman") for array in arrays]
    together = [encode(a, c) for a, c in zip(arrays, paced(arrays, [BEST] * 3, TARGET), strict=True)]
    assert streams_seconds(alone, arrays, TARGET) > card
    assert streams_seconds(together, arrays, TARGET) <= card
    assert sum(map(len, together)) < sum(array.nbytes for array in arrays)


def test_what_one_array_leaves_over_another_spends() -> None:
    small, large = _weights((16, 16, 3, 3), (64, 64, 3, 3))
    assert paced([small], [BEST], TARGET) != paced([small, large], [BEST] * 2, TARGET)[:1]


def test_each_byte_of_an_element_has_a_codec() -> None:
    array = np.random.default_rng(0).normal(0, 0.1, (32, 32, 3, 3)).astype(np.float32)
    (codecs,) = paced([array], [BEST], TARGET)
    stream = encode(array, codecs)
    assert tuple(name for name, _ in parts(stream, array.nbytes)) == codecs
    assert (decode(stream, array.dtype, array.shape) == array).all()
    with pytest.raises(ValueError, match="shorter"):
        encode(array, ("raw", "rans"))


def test_selection_foresees_of_each_layer_what_all_take_together_or_more() -> None:
    arrays = _weights((16, 16, 3, 3), (64, 32, 3, 3), (10, 64))
    own = [foreseen([array], [False], TARGET) for array in arrays]
    together = [encode(a, c) for a, c in zip(arrays, paced(arrays, [BEST] * 3, TARGET), strict=True)]
    assert sum(map(len, together)) <= 1.02 * sum(offer.bytes for (offer,) in own) + 16
    for array, (offer,) in zip(arrays, own, strict=True):
        assert offer.seconds <= array.nbytes / 90e6
        (taken,) = paced([array], [BEST], TARGET)
        assert abs(len(encode(array, taken)) - offer.bytes) <= 0.05 * offer.bytes + 16


def test_in_little_memory_it_is_what_works_there() -> None:
    arrays = _weights((64, 64, 3, 3))
    assert room_of(paced(arrays, [BEST], TARGETS["rpi4"])[0]) > room_of(["rans"])
    assert room_of(paced(arrays, [BEST], TARGETS["rpi4"], room_of(["rans"]))[0]) <= room_of(["rans"])
    assert paced(arrays, [BEST], TARGETS["rpi4"], room_of(["raw"]))[0] in [
        ("raw",),
        ("bitmap",),
        ("dictionary",),
    ]


@pytest.mark.parametrize("target", ["x86-64-v3", "jetson-orin"])
def test_best_stays_where_every_codec_keeps_up(target: str) -> None:
    assert paced(_weights((8, 8)), [BEST], TARGETS[target]) == [BEST]


@pytest.mark.parametrize("target", ["rpi2", "rpi3", "rpi4", "rpi5", "cortex-a15"])
def test_only_best_is_paced(target: str) -> None:
    assert is_paced(BEST, TARGETS[target])
    assert not any(
        is_paced(name, TARGETS[target]) for name in ("", "small", *CHOOSING, "planes") if name != BEST
    )


def test_other_names_stay_and_nothing_has_no_codec() -> None:
    arrays = [*_weights((8, 8), (8, 8)), np.empty((0, 4), np.int8)]
    assert paced(arrays, ["small", "", BEST], TARGET) == ["small", "", BEST]


def _offers(*rows: tuple[int, int]) -> list[Offer]:
    return [Offer(str(number), bytes, seconds) for number, (bytes, seconds) in enumerate(rows)]


ROWS = [
    _offers((10, 9), (12, 4), (13, 8), (20, 1)),
    _offers((5, 6), (9, 1)),
    _offers((7, 7), (8, 3), (8, 2), (9, 1)),
]
STEP = 8
"""Bytes between two neighbours of one row, at most: how far choices may be from the least."""


@pytest.mark.parametrize("seconds", range(3, 24))
def test_choices_keep_the_time_and_take_few_bytes(seconds: int) -> None:
    def bytes(chosen: tuple[Offer, ...]) -> int:
        return sum(offer.bytes for offer in chosen)

    chosen = tuple(within(ROWS, seconds))
    least = min(bytes(all) for all in product(*ROWS) if sum(offer.seconds for offer in all) <= seconds)
    assert sum(offer.seconds for offer in chosen) <= seconds
    assert least <= bytes(chosen) < least + STEP


def test_without_time_it_is_the_fastest() -> None:
    assert [offer.seconds for offer in within(ROWS, 0)] == [1, 1, 1]


def test_with_time_enough_it_is_the_least() -> None:
    assert [offer.bytes for offer in within(ROWS, 22)] == [10, 5, 7]
