"""Calibration: ranges by each method against the whole data, quantizations, and the file of ranges."""

from __future__ import annotations

import json
import math
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from secateur.ir.types import DType, Quant, TensorType
from secateur.passes.quantize.calibration import methods
from secateur.passes.quantize.calibration.histogram import Histogram
from secateur.passes.quantize.calibration.ranges import (
    Ranges,
    RangesError,
    choose,
    quant_of,
    read_ranges,
    write_ranges,
)
from secateur.passes.quantize.calibration.statistics import Statistics

Array = np.ndarray[Any, Any]
FLOATS = st.floats(width=32, allow_nan=False, allow_infinity=False)
ARRAYS = hnp.arrays(np.float32, st.integers(1, 80), elements=st.floats(-100, 100, width=32))


def of(values: Array) -> Histogram:
    histogram = Histogram()
    histogram.add(values)
    return histogram


def rebuilt(values: Array, low: float, high: float) -> Array:
    """`values` after a journey through the bytes of [low, high]."""
    quant = quant_of(low, high)
    (scale,), (zero,) = quant.scales, quant.zero_points
    stored = np.clip(np.rint(values.astype(np.float64) / scale) + zero, 0, 255)
    return np.asarray((stored - zero) * scale)


def squared_error(values: Array, low: float, high: float) -> float:
    return float(np.mean((rebuilt(values, low, high) - values) ** 2))


def sample(kind: str, seed: int = 0, count: int = 20_000) -> Array:
    choose = np.random.default_rng(seed)
    table = {
        "normal": choose.standard_normal(count),
        "relu": np.maximum(choose.standard_normal(count) - 0.5, 0),
        "heavy": choose.standard_t(3, count),
        "heavy relu": np.maximum(choose.standard_t(3, count), 0),
        "lopsided": np.where(
            choose.random(count) < 0.5, -choose.random(count) * 0.3, choose.exponential(1, count)
        ),
        "negative": -choose.exponential(2, count),
        "outlier": np.append(choose.standard_normal(count), 80.0),
    }
    return table[kind].astype(np.float32)


KINDS = ("normal", "relu", "heavy", "heavy relu", "lopsided", "negative", "outlier")

# Methods -------------------------------------------------------------------------------------------


@settings(max_examples=40)
@given(ARRAYS)
def test_minmax_is_the_extremes(values: Array) -> None:
    assert methods.minmax(of(values)) == (values.min(), values.max())


@pytest.mark.parametrize("percent", [90, 99, 99.9, 99.99, 100])
@pytest.mark.parametrize("kind", KINDS)
def test_percentile_is_numpys_within_a_bin(kind: str, percent: float) -> None:
    values = sample(kind)
    histogram = of(values)
    low, high = methods.percentile(histogram, percent)
    beyond = int(values.size * (100 - Fraction(str(percent))) / 100)
    expected = np.sort(values)[[beyond, values.size - 1 - beyond]]
    np.testing.assert_allclose(expected[1], np.quantile(values, percent / 100), rtol=0.02)
    assert 0 <= expected[0] - low <= histogram.width
    assert 0 <= high - expected[1] <= histogram.width


@settings(max_examples=40)
@given(ARRAYS, st.floats(50.001, 100))
def test_percentile_leaves_no_more_outside_than_asked(values: Array, percent: float) -> None:
    low, high = methods.percentile(of(values), percent)
    allowed = values.size * (1 - percent / 100) * (1 + 1e-9)
    assert np.count_nonzero(values > high) <= allowed
    assert np.count_nonzero(values < low) <= allowed


@settings(max_examples=40)
@given(ARRAYS)
def test_percentile_of_everything_is_minmax(values: Array) -> None:
    assert methods.percentile(of(values), 100) == methods.minmax(of(values))


@pytest.mark.parametrize("kind", KINDS)
def test_mse_is_nearly_the_best_of_all_ranges(kind: str) -> None:
    values = sample(kind)
    found = squared_error(values, *methods.mse(of(values)))
    lows = np.linspace(min(values.min(), 0), 0, 40) if values.min() < 0 else [0.0]
    highs = np.linspace(0, max(values.max(), 0), 40) if values.max() > 0 else [0.0]
    best = min(squared_error(values, low, high) for low in lows for high in highs if high > low)
    assert found <= 1.03 * best
    assert found <= 1.03 * squared_error(values, *methods.minmax(of(values)))


def test_mse_clips_what_is_rare_and_keeps_what_costs_more() -> None:
    rare = np.append(sample("normal", count=500_000), np.float32(15))
    assert methods.mse(of(rare))[1] < 8
    assert methods.mse(of(sample("outlier")))[1] > 70  # one in 20,000, but 80 deviations away


def test_a_worse_range_has_a_larger_error() -> None:
    values = sample("normal")
    low, high = methods.mse(of(values))
    assert squared_error(values, low / 3, high / 3) > 10 * squared_error(values, low, high)


def reference_divergence(values: Array, low: float, high: float, histogram: Histogram) -> float:
    """KL divergence of clipped non-zero values from their 256 levels, bin by bin."""
    edges = histogram.edges[
        (histogram.edges > low - histogram.width) & (histogram.edges < high + histogram.width)
    ]
    inside, _ = np.histogram(values[(values >= edges[0]) & (values < edges[-1]) & (values != 0)], edges)
    p, q = inside.astype(float), np.zeros(len(inside))
    p[0] += np.count_nonzero(values < edges[0])
    p[-1] += np.count_nonzero(values >= edges[-1])
    starts = [int(x) for x in np.linspace(0, len(p), 256, endpoint=False)]
    for a, b in zip(starts, [*starts[1:], len(p)], strict=True):
        full = [i for i in range(a, b) if inside[i]]
        for i in full:
            q[i] = sum(inside[a:b]) / len(full)
    keep = p > 0
    p, q = p[keep] / p.sum(), q[keep] / q.sum()
    q = (1 - 1e-4) * q + 1e-4 / len(q)
    return float(np.sum(p * np.log(p / q)))


@pytest.mark.parametrize("kind", ["normal", "heavy relu", "negative", "lopsided"])
def test_entropy_is_the_least_divergence(kind: str) -> None:
    values = sample(kind)
    histogram = of(values)
    low, high = methods.entropy(histogram)
    least = reference_divergence(values, low, high, histogram)
    widest = max(high, -low)
    for factor in (0.5, 0.7, 1.3, 2.0):
        other = (max(-widest * factor, histogram.low), min(widest * factor, histogram.high))
        if other[1] - other[0] > 256 * histogram.width and other != (low, high):
            assert least <= reference_divergence(values, *other, histogram) + 1e-3


@pytest.mark.parametrize("kind", ["heavy", "heavy relu", "outlier"])
def test_entropy_clips_long_tails(kind: str) -> None:
    values = sample(kind, count=200_000)
    low, high = methods.entropy(of(values))
    assert high < 0.6 * values.max()
    assert high > 2.5
    assert squared_error(values[values < 2], low, high) < squared_error(
        values[values < 2], *methods.minmax(of(values))
    )


@pytest.mark.parametrize("method", ["mse", "entropy"])
def test_zeros_change_nothing(method: str) -> None:
    values = sample("heavy relu")
    more = np.append(values, np.zeros(500_000, np.float32))
    assert methods.METHODS[method](of(values)) == methods.METHODS[method](of(more))


@pytest.mark.parametrize("method", methods.METHODS)
@given(values=hnp.arrays(np.float32, st.integers(0, 40), elements=FLOATS))
@settings(max_examples=40)
@example(values=np.array([1e-45], np.float32))
@example(values=np.array([-3.4e38, 3.4e38], np.float32))
@example(values=np.zeros(3, np.float32))
def test_every_method_stays_within_the_extremes(method: str, values: Array) -> None:
    histogram = of(values)
    low, high = methods.METHODS[method](histogram)
    assert min(histogram.low, 0) <= low <= high <= max(histogram.high, 0)
    quant_of(low, high)


# Quantizations -------------------------------------------------------------------------------------


@given(FLOATS, FLOATS)
@example(0.0, 0.0)
@example(-3.4e38, 3.4e38)
@example(0.0, 1e-45)
@example(5.0, 6.0)
@example(-6.0, -5.0)
def test_a_byte_holds_zero_and_reaches_both_ends(a: float, b: float) -> None:
    low, high = min(a, b, 0.0), max(a, b, 0.0)
    quant = quant_of(min(a, b), max(a, b))
    (scale,), (zero,) = quant.scales, quant.zero_points
    TensorType((1,), DType.U8, quant=quant)
    assert scale == float(np.float32(scale)) > 0
    slack = 0.501 * scale
    assert scale * (0 - zero) <= low + slack
    assert scale * (255 - zero) >= high - slack
    if high - low > 1e-25:
        assert scale * 255 <= (high - low) * (1 + 1e-6)


@pytest.mark.parametrize(
    ("low", "high", "quant"),
    [
        (0.0, 255.0, Quant((1.0,), (0,))),
        (-128.0, 127.0, Quant((1.0,), (128,))),
        (-255.0, 0.0, Quant((1.0,), (255,))),
        (0.0, 0.0, Quant((float(np.float32(1 / 255)),), (0,))),
        (51.0, 127.5, Quant((0.5,), (0,))),
    ],
)
def test_quantization_of_a_range(low: float, high: float, quant: Quant) -> None:
    assert quant_of(low, high) == quant


@pytest.mark.parametrize(("low", "high"), [(1.0, 0.0), (math.nan, 1.0), (0.0, math.inf)])
def test_what_is_no_range_is_refused(low: float, high: float) -> None:
    with pytest.raises(RangesError, match="is no range"):
        quant_of(low, high)


# Choosing ------------------------------------------------------------------------------------------


def statistics(**values: Array) -> Statistics:
    return Statistics(1, {name: of(array) for name, array in values.items()})


def test_choose_applies_the_method_to_every_value() -> None:
    a, b = sample("outlier"), sample("relu")
    found = choose(statistics(a=a, b=b), "percentile", percent=99)
    assert (found.method, found.images, set(found.ranges)) == ("percentile", 1, {"a", "b"})
    assert found["a"] == tuple(float(np.float32(x)) for x in methods.percentile(of(a), 99))
    assert found["a"] != choose(statistics(a=a), "minmax")["a"]


def test_unknown_method_is_refused() -> None:
    with pytest.raises(
        RangesError, match="unknown calibration method 'kl'; known: minmax, percentile, mse, entropy"
    ):
        choose(statistics(), "kl")


@pytest.mark.parametrize("percent", [50.0, 100.1, math.nan])
def test_percentage_out_of_range_is_refused(percent: float) -> None:
    with pytest.raises(RangesError, match="does not lie above 50 and up to 100"):
        choose(statistics(), percent=percent)


def test_a_value_with_nan_has_no_range() -> None:
    found = choose(statistics(good=np.ones(3), bad=np.array([1, np.nan])))
    assert (list(found.ranges), found.unbounded) == (["good"], ("bad",))


def test_a_range_that_is_not_there_is_refused() -> None:
    with pytest.raises(RangesError, match="no range for 'conv'; did you mean 'conv1'"):
        Ranges("mse", 1, {"conv1": (0, 1)})["conv"]


def test_ranges_of_another_model_are_refused() -> None:
    ranges = Ranges("mse", 1, {"conv1": (0, 1), "conv2": (0, 1)})
    ranges.check_names(["conv1", "conv2", "conv3"])
    with pytest.raises(RangesError, match="not in the model: 'conv2'"):
        ranges.check_names(["conv1"])
    with pytest.raises(RangesError, match="not in the model: 'mask'"):
        Ranges("mse", 1, {"conv1": (0, 1)}, unbounded=("mask",)).check_names(["conv1"])


# Files ---------------------------------------------------------------------------------------------

PAIRS = st.tuples(FLOATS, FLOATS).map(lambda p: (float(min(p)), float(max(p))))


@settings(max_examples=40)
@given(
    st.text(st.characters(exclude_categories=["Cs"])),
    st.dictionaries(st.text(st.characters(exclude_categories=["Cs"])), PAIRS, min_size=1, max_size=5),
    st.booleans(),
    st.sampled_from([(), ("-inf",), ("a value", "é")]),
)
def test_file_reads_back(
    tmp_path_factory: pytest.TempPathFactory,
    method: str,
    ranges: dict[str, tuple[float, float]],
    equalized: bool,
    unbounded: tuple[str, ...],
) -> None:
    path = tmp_path_factory.mktemp("ranges") / "r.json"
    written = Ranges(method, 7, ranges, equalized, tuple(n for n in unbounded if n not in ranges))
    write_ranges(written, path)
    assert read_ranges(path) == written
    assert [p.name for p in path.parent.iterdir()] == ["r.json"]


def test_file_can_be_edited_by_hand(tmp_path: Path) -> None:
    path = tmp_path / "r.json"
    write_ranges(Ranges("mse", 200, {"image": (-1.5, 2.25), "conv1": (0.0, 0.1)}), path)
    assert path.read_text() == (
        '{\n "version": 1,\n "method": "mse",\n "images": 200,\n "equalized": false,\n "ranges": {\n'
        '  "image": [-1.5, 2.25],\n  "conv1": [0.0, 0.1]\n }\n}\n'
    )
    path.write_text(path.read_text().replace("0.1]", "6]"))
    assert read_ranges(path)["conv1"] == (0.0, 6.0)


GOOD: dict[str, Any] = {"version": 1, "method": "mse", "images": 3, "ranges": {"a": [0, 1]}}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"version": 2}, "version is 2, this Secateur reads 1"),
        ({"version": True}, "version is True"),
        ({"method": 3}, "method is 3, not a text"),
        ({"images": -1}, "images is -1, not a count"),
        ({"images": 10**5000}, "images is inf, not a count"),
        ({"equalized": "no"}, "equalized is 'no', neither true nor false"),
        ({"unbounded": "a"}, "unbounded is 'a', not a list of names"),
        ({"unbounded": [1]}, r"unbounded is \[1\], not a list of names"),
        ({"unbounded": ["b", "a"]}, "has a range for 'a'.*, which is unbounded as well"),
        ({"rangs": {}}, "an entry that is not known: 'rangs'; did you mean 'ranges'"),
        ({"ranges": {}}, "'ranges' is missing or empty"),
        ({"ranges": [1]}, "'ranges' is missing or empty"),
        ({"ranges": {"conv1": [0, 1, 2]}}, r"range of 'conv1' is \[0, 1, 2\], not \[low, high\]"),
        ({"ranges": {"conv1": 4}}, "range of 'conv1' is 4"),
        ({"ranges": {"conv1": ["0", 1]}}, "range of 'conv1': '0' is no number"),
        ({"ranges": {"conv1": [False, 1]}}, "range of 'conv1': False is no number"),
        ({"ranges": {"conv1": [0, math.nan]}}, "range of 'conv1': nan is no finite float32"),
        ({"ranges": {"conv1": [0, 1e39]}}, "is no finite float32"),
        ({"ranges": {"conv1": [2, 1]}}, "range of 'conv1': low 2 is above high 1"),
    ],
)
def test_mistakes_in_a_file_are_named(tmp_path: Path, change: dict[str, Any], message: str) -> None:
    path = tmp_path / "r.json"
    huge = {key: value for key, value in change.items() if value == 10**5000}
    text = json.dumps({**GOOD, **{k: v for k, v in change.items() if k not in huge}})
    path.write_text(text.replace('"images": 3', '"images": 1' + "0" * 5000) if huge else text)
    with pytest.raises(RangesError, match=rf"r\.json: .*{message}"):
        read_ranges(path)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b'{"version": 1,\n "method" "mse"}', "is not JSON: line 2"),
        (b"", "is not JSON"),
        (b"\xff\xfe", "is not text"),
        (b"[" * 200_000, "is nested too deeply"),
        (b"[1]", "holds no calibration"),
        (b'{"version": 1, "version": 1}', "'version' is given twice"),
        (
            b'{"version": 1, "method": "mse", "images": 1, "ranges": {"a": [0, 1], "a": [0, 2]}}',
            "'a' is given twice",
        ),
    ],
)
def test_damaged_file_is_refused(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "r.json"
    path.write_bytes(content)
    with pytest.raises(RangesError, match=rf"r\.json: {message}"):
        read_ranges(path)


def test_missing_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RangesError, match="cannot be read: No such file"):
        read_ranges(tmp_path / "none.json")
