"""Estimates of what arrays take coded: near the streams, and quick."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from secateur.codegen.weights import sizes
from secateur.codegen.weights.codec import Bytes, Shape
from secateur.codegen.weights.known import Streams
from secateur.codegen.weights.registry import CODECS, NAMES, SHARED
from secateur.codegen.weights.sizes import PART, estimate, part_of
from secateur.codegen.weights.streams import encode

from ...sampled import sampled_rows

Array = NDArray[Any]
RNG = np.random.default_rng(0)


def arrays() -> Iterator[tuple[str, Array]]:
    smooth = RNG.standard_normal((96, 64, 1, 1)) + 0.5 * RNG.standard_normal((96, 64, 3, 3))
    yield "bytes", np.round(20 * smooth).clip(-127, 127).astype(np.int8)
    yield "floats", smooth.astype(np.float32)
    yield "halves", smooth.astype(np.float16)
    yield "sparse", np.where(np.abs(smooth) < 1, 0, np.round(20 * smooth)).clip(-127, 127).astype(np.int8)
    repeated = RNG.integers(-128, 128, (20, 9)).astype(np.int8)
    yield "repeated", repeated[RNG.integers(0, 20, 6144)].reshape(96, 64, 3, 3)
    yield "noise", RNG.integers(-128, 128, (96, 64, 3, 3)).astype(np.int8)
    yield "few", RNG.standard_normal((7, 3)).astype(np.float32)
    yield "one", np.zeros((), np.float32)
    yield "none", np.zeros((0, 3), np.int8)


ARRAYS = dict(arrays())
QUICK, LIKE_BYTES = ("bytes", "few", "one", "none"), ("noise", "halves")


@pytest.mark.parametrize(
    ("name", "codec"),
    sampled_rows(
        product(ARRAYS, ("fast", "best", "smallest", "rans", "raw")),
        lambda name, codec: name in QUICK or (codec == "best" and name not in LIKE_BYTES),
    ),
)
def test_an_estimate_is_near_the_stream(name: str, codec: str) -> None:
    array = ARRAYS[name]
    taken = len(encode(array, codec))
    assert abs(estimate(array, codec) - taken) <= 0.05 * taken + 16


def test_what_is_known_is_not_asked_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a part alone, by each codec once, whichever name stands for it."""
    asked: list[int] = []
    for row in CODECS.values():
        monkeypatch.setattr(type(row.codec), "size", _counting(type(row.codec).size, asked))
    array = RNG.integers(-20, 20, (128, 64, 3, 3)).astype(np.int8)
    estimate(array, "best")
    assert 0 < sum(asked) <= PART * len(CODECS)
    estimate(array, "smallest")
    assert sum(asked) <= PART * len(CODECS)
    count = len(asked)
    for name in NAMES:
        estimate(array, name)
    assert len(asked) == count + len(SHARED) == len(CODECS)


def _counting(size: Any, asked: list[int]) -> Any:
    def counted(self: object, data: Bytes, shape: Shape) -> Any:
        asked.append(len(data))
        return size(self, data, shape)

    return counted


@pytest.mark.parametrize("shape", [(1 << 20,), (1, 1, 64, 8, 128, 8), (3, 1 << 18), (512, 512, 3, 3)])
def test_a_part_has_as_many_bytes_as_its_shape(shape: tuple[int, ...]) -> None:
    data, kept = part_of(np.zeros(int(np.prod(shape)), np.uint8), shape)
    assert PART // 2 <= len(data) == int(np.prod(kept)) <= PART


def test_the_quick_way_asks_no_codec_with_contexts(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise AssertionError("contexts are looked at")

    for name in ("planes", "mixed", "patterns", "nibbles"):
        monkeypatch.setattr(type(CODECS[name].codec), "size", refuse)
    array = RNG.integers(-20, 20, (64, 16, 6, 6)).astype(np.int8)
    assert 0.6 * array.size < estimate(array, "smallest", quick=True) < 0.7 * array.size
    sizes._known.clear()


def test_streams_are_made_once_and_the_oldest_go() -> None:
    streams = Streams(most=300)
    first, second = (np.full(200, value, np.int8) for value in (1, 2))
    held = streams.of(first, "raw")
    assert streams.of(first.copy(), "raw") is held
    streams.of(second, "raw")
    assert streams.of(first, "raw") is not held
    assert streams.of(first.view(np.uint8), "raw") == encode(first.view(np.uint8), "raw")
