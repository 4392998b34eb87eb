"""Where the codec `mixed` starts can be learnt again, and the file is in the form that is written."""

from __future__ import annotations

import numpy as np

from secateur.codegen.runtime_files import runtime_folder
from secateur.tools.weights.mixed_start import FIRST, TOPS, Array, Learnt, learn


def tensors(count: int, zeros: float) -> list[Array]:
    """Filters of a bell curve whose taps are alike."""
    rng = np.random.default_rng(count)
    drawn = rng.standard_normal((count, 4, 24, 3, 3)) + rng.standard_normal((count, 4, 24, 1, 1))
    drawn[np.abs(drawn) < np.quantile(np.abs(drawn), zeros)] = 0
    most = np.abs(drawn).max(axis=(1, 2, 3, 4), keepdims=True)
    return list(np.round(drawn / most * 127).astype(np.int8))


def test_the_file_is_as_it_is_written() -> None:
    text = runtime_folder().joinpath("mixed_learnt.h").read_text(encoding="utf-8")
    assert Learnt.read(text).text == text


def test_a_start_goes_to_where_models_come_and_others_stay() -> None:
    given = tensors(6, 0.8)
    found = learn(given, passes=1)
    assert found.text == learn(given, passes=1).text
    assert (found.starts[3, 0] != FIRST).sum() > 20
    untouched = np.ones((4, 2), bool)
    untouched[3, 0] = False
    assert (found.starts[untouched] == FIRST).all()


def test_sizes_that_are_missing_are_told_from_what_is_frequent() -> None:
    dense, pruned = learn(tensors(6, 0), passes=1).heights[0], learn(tensors(6, 0.9), passes=1).heights[3]
    assert np.argmax(dense) <= 2
    assert pruned[:2].max() < pruned.max() / 8
    assert 2 <= np.argmax(pruned) <= 5


def test_tops_stay_chances() -> None:
    tops = learn(tensors(6, 0), passes=1).tops
    assert tops.shape == np.shape(TOPS)
    assert ((tops > 0) & (tops < 1000)).all()
