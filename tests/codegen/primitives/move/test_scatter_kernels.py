"""Elements put at places, and places found, against the interpreter."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from tests.codegen.generic_harness import check, rand, whole


def _indices(rows: int, count: int, extent: int, dtype: Any = np.int64) -> Any:
    return np.random.default_rng(count).integers(-extent, extent, (rows, count)).astype(dtype)


@pytest.mark.parametrize("reduction", ["none", "add", "mul", "min", "max"])
@pytest.mark.parametrize("inner", [(), (19,)], ids=["elements", "rows"])
def test_scatter(reduction: str, inner: tuple[int, ...]) -> None:
    arrays = [rand(3, 7, *inner), _indices(3, 9, 7), rand(3, 9, *inner)]
    check("scatter", arrays, {"reduction": reduction})


@pytest.mark.parametrize("constants", [(0,), (1,), (2,), (0, 1)])
def test_scatter_of_constants(constants: tuple[int, ...]) -> None:
    check("scatter", [rand(2, 40), _indices(2, 5, 40, np.int32), rand(2, 5)], constants=constants)


@pytest.mark.parametrize("dtype", [np.int8, np.int64, np.bool_, np.float16])
def test_scatter_of_other_types(dtype: Any) -> None:
    arrays = [whole(2, 7, 3, dtype=dtype), _indices(2, 0 if dtype == np.int64 else 4, 7)]
    check("scatter", [*arrays, whole(*arrays[1].shape, 3, dtype=dtype)])


@pytest.mark.parametrize("largest", [True, False])
@pytest.mark.parametrize(("axis", "k"), [(0, 3), (1, 7), (2, 1), (2, 12), (1, 0)])
def test_top_k(axis: int, k: int, largest: bool) -> None:
    x = whole(3, 7, 19, dtype=np.float32)
    x[0, :2] = np.nan
    check("top_k", [x], {"axis": axis, "k": k, "largest": largest})


@pytest.mark.parametrize("dtype", [np.int8, np.uint8, np.int64, np.float16])
def test_top_k_of_other_types(dtype: Any) -> None:
    check("top_k", [whole(2, 50, dtype=dtype, high=90)], {"k": 20})


@pytest.mark.parametrize("dtype", [np.float32, np.float16, np.uint8])
@pytest.mark.parametrize(
    ("kernel", "stride", "dilation", "pads"), [(2, 2, 1, (0, 0, 0, 0)), (3, 2, 2, (1, 2, 1, 0))]
)
def test_places_of_maxima(kernel: int, stride: int, dilation: int, pads: tuple[int, ...], dtype: Any) -> None:
    x = whole(2, 3, 9, 8, dtype=dtype)
    if dtype == np.float32:
        x[0, 0, :4], x[0, 1, :4] = -np.inf, np.nan
    window = {"strides": (stride,) * 2, "dilations": (dilation,) * 2, "pads": pads, "ceil_mode": True}
    check("max_pool_index", [x], {"kernel": (kernel,) * 2, **window})
