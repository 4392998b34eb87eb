"""GridSample against the interpreter: every mode and padding, far coordinates, numbers that are none."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from ...generic_harness import check, every_target, rand

MODES = ["linear", "nearest", "cubic"]
PADDINGS = ["zeros", "border", "reflection"]


def _grid(*shape: int, dtype: Any = np.float32) -> Any:
    """Coordinates inside and far outside; none so near the middle of two pixels that rounding decides."""
    far = np.random.default_rng(5).uniform(-1, 1, shape) * np.linspace(0.5, 4, shape[1])[:, None, None]
    return far.astype(dtype)


@pytest.mark.parametrize("align_corners", [False, True])
@pytest.mark.parametrize("padding", PADDINGS)
@pytest.mark.parametrize("mode", MODES)
def test_images(mode: str, padding: str, align_corners: bool) -> None:
    attributes = {"mode": mode, "padding": padding, "align_corners": align_corners}
    arrays = [rand(2, 3, 5, 7), _grid(2, 6, 4, 2)]
    assert check("grid_sample", arrays, attributes, rtol=1e-4, atol=1e-4) == {"plain"}
    check("grid_sample", arrays, attributes, constants=(1,), rtol=1e-4, atol=1e-4)


@every_target
def test_targets(target: Any) -> None:
    check("grid_sample", [rand(1, 3, 5, 7), _grid(1, 6, 4, 2)], target=target, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("padding", PADDINGS)
@pytest.mark.parametrize("mode", ["linear", "nearest"])
def test_volumes(mode: str, padding: str) -> None:
    arrays = [rand(1, 2, 3, 4, 5), _grid(1, 3, 4, 6).reshape(1, 3, 4, 2, 3)]
    check("grid_sample", arrays, {"mode": mode, "padding": padding}, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("dtype", ["float16", "float64"])
def test_element_types(dtype: str) -> None:
    tolerance = 1e-2 if dtype == "float16" else 1e-10
    check("grid_sample", [rand(1, 3, 5, 7, dtype=dtype), _grid(1, 6, 4, 2)], rtol=1e-2, atol=1e-2)
    arrays = [rand(1, 3, 5, 7, dtype=dtype), _grid(1, 6, 4, 2, dtype=dtype)]
    check("grid_sample", arrays, {"mode": "cubic"}, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("align_corners", [False, True])
@pytest.mark.parametrize("padding", PADDINGS)
def test_an_axis_of_one_pixel(padding: str, align_corners: bool) -> None:
    attributes = {"padding": padding, "align_corners": align_corners}
    check("grid_sample", [rand(1, 2, 1, 3), _grid(1, 6, 4, 2)], attributes, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("padding", ["zeros", "border"])
@pytest.mark.parametrize("mode", MODES)
def test_coordinates_without_bounds_read_nothing_outside(mode: str, padding: str) -> None:
    grid = np.array([math.nan, math.inf, -math.inf, 3e38, -3e38, 1e10, -1e10, 0.0], np.float32)
    arrays = [rand(1, 2, 5, 5), grid.reshape(1, 2, 2, 2)]
    check("grid_sample", arrays, {"mode": mode, "padding": padding}, rtol=1e-4, atol=1e-5)


def test_zeros_around_an_infinite_pixel_stay_zero() -> None:
    x = np.full((1, 1, 2, 2), math.inf, np.float32)
    grid = np.full((1, 1, 1, 2), 5.0, np.float32)
    check("grid_sample", [x, grid])
