"""Resizing against the interpreter, in every mode and in every layout that is offered."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ....sampled import sampled, sampled_rows
from ...cross_harness import EMULATORS, FLOATS, Case, check_on
from ...generic_harness import BOTH, check, operator, rand, whole


def _resized(shape: tuple[int, ...], out: tuple[int, ...], **more: Any) -> set[str]:
    scales = tuple(float(o / i) for o, i in zip(out, shape, strict=True))
    return check("resize", [rand(*shape)], {"shape": out, "scales": scales, **more}, rtol=1e-5, atol=1e-5)


COORDINATES = ["half_pixel", "pytorch_half_pixel", "half_pixel_symmetric", "align_corners", "asymmetric"]


@pytest.mark.parametrize("mode", ["nearest", "linear", "cubic"])
@pytest.mark.parametrize("coordinates", COORDINATES)
def test_resize(mode: str, coordinates: str) -> None:
    assert _resized((2, 20, 5, 6), (2, 20, 10, 13), mode=mode, coordinates=coordinates) == BOTH


@pytest.mark.parametrize("mode", ["nearest", "linear", "cubic"])
def test_resize_of_other_axes(mode: str) -> None:
    _resized((3, 4, 5), (5, 3, 7), mode=mode)
    _resized((4, 5), (4, 9), mode=mode)
    _resized((4, 5), (9, 5), mode=mode)
    _resized((1, 2, 4, 5, 6), (1, 2, 4, 10, 7), mode=mode)


@pytest.mark.parametrize("mode", ["nearest", "linear", "cubic"])
def test_resize_crops(mode: str) -> None:
    roi = (0.0, 0.0, -0.2, 0.3, 1.0, 1.0, 0.7, 1.4)
    more = {"mode": mode, "coordinates": "tf_crop_and_resize", "roi": roi}
    assert _resized((1, 3, 9, 8), (1, 3, 20, 5), extrapolation=7.0, **more) == {"plain"}
    assert _resized((1, 3, 9, 8), (1, 3, 20, 5), extrapolation=0.0, **more) == BOTH


@pytest.mark.parametrize("mode", ["linear", "cubic"])
@pytest.mark.parametrize("exclude", [False, True])
def test_resize_shrinks_without_aliasing(mode: str, exclude: bool) -> None:
    _resized((1, 4, 19, 18), (1, 4, 5, 7), mode=mode, antialias=True, exclude_outside=exclude)


@pytest.mark.parametrize("rounding", ["round_prefer_floor", "round_prefer_ceil", "floor", "ceil"])
def test_resize_rounding(rounding: str) -> None:
    _resized((1, 4, 7, 7), (1, 4, 4, 10), rounding=rounding)


@pytest.mark.parametrize("dtype", ["uint8", "int64", "float64", "float16"])
def test_nearest_resize_of_any_type(dtype: str) -> None:
    attributes = {"shape": (1, 2, 8, 8), "scales": (1.0, 1.0, 2.0, 2.0)}
    check("resize", [whole(1, 2, 4, 4, dtype=dtype)], attributes, rtol=0, atol=0)


INTEGERS = ["uint8", "int8", "int16", "uint16", "int32", "uint32", "int64"]
AROUND = [((1, 2, 7, 6), (1, 2, 11, 9)), ((1, 7, 6, 2), (1, 11, 9, 2)), ((5, 3, 7), (3, 5, 4))]


@pytest.mark.parametrize(
    ("shape", "out", "mode", "dtype"),
    sampled_rows(
        [(*around, *rest) for around in AROUND for rest in itertools.product(("linear", "cubic"), INTEGERS)],
        lambda shape, _, mode, dtype: (len(shape) + INTEGERS.index(dtype)) % 2 == (mode == "cubic"),
    ),
)
def test_integers_are_summed_in_one_order_and_rounded_once(
    dtype: str, mode: str, shape: tuple[int, ...], out: tuple[int, ...]
) -> None:
    """To the bit, though thirds and sevenths are no float64, and half of the elements are extremes."""
    info = np.iinfo(dtype)
    x = np.random.default_rng(1).integers(info.min, info.max, shape, dtype, endpoint=True)
    x.flat[::4], x.flat[1::4] = info.min, info.max
    scales = tuple(o / i for o, i in zip(out, shape, strict=True))
    attributes = {"shape": out, "scales": scales, "mode": mode}
    check("resize", [x], attributes, rtol=0, atol=0)
    check("resize", [x], {**attributes, "antialias": True, "exclude_outside": True}, rtol=0, atol=0)


@pytest.mark.parametrize("name", sampled(EMULATORS, FLOATS))
def test_integers_on_arm(name: str, tmp_path: Path) -> None:
    cases = []
    for dtype, mode, (shape, out) in itertools.product(
        ("uint8", "int32", "int64"), ("linear", "cubic"), AROUND
    ):
        info = np.iinfo(dtype)
        x = np.random.default_rng(2).integers(info.min, info.max, shape, dtype, endpoint=True)
        scales = tuple(o / i for o, i in zip(out, shape, strict=True))
        op = operator("resize", [x], {"shape": out, "scales": scales, "mode": mode})
        cases.append(Case("resize", op, [x]))
    check_on(name, cases, tmp_path)


@pytest.mark.parametrize(
    ("extrapolation", "mode", "dtype"),
    sampled_rows(
        itertools.product((300.5, -1e30, float("nan")), ("nearest", "linear"), INTEGERS),
        lambda _, mode, dtype: mode == "linear" or dtype == "uint8",
    ),
)
def test_what_lies_outside_is_rounded_too(dtype: str, mode: str, extrapolation: float) -> None:
    roi = (0.0, 0.0, -0.2, 0.3, 1.0, 1.0, 0.7, 1.4)
    more = {"mode": mode, "coordinates": "tf_crop_and_resize", "roi": roi, "extrapolation": extrapolation}
    size = {"shape": (1, 3, 20, 5), "scales": (1.0, 1.0, 20 / 9, 0.625)}
    check("resize", [whole(1, 3, 9, 8, dtype=dtype)], {**size, **more}, rtol=0, atol=0)
