"""Pools and reductions against the interpreter: every layout they offer, ragged shapes, element types."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from secateur.codegen.targets.target import Target

from ...generic_harness import BOTH, check, every_target, rand, whole


def _pool(
    kernel: tuple[int, ...], strides: tuple[int, ...], pads: tuple[int, ...], **more: Any
) -> dict[str, Any]:
    return {"kernel": kernel, "strides": strides, "pads": pads, "dilations": (1,) * len(kernel), **more}


POOLS = [
    ((2, 20, 12, 13), _pool((3, 3), (2, 2), (1, 1, 1, 1))),
    ((1, 20, 7, 40), _pool((3, 3), (1, 1), (1, 1, 1, 1))),
    ((1, 20, 7, 40), _pool((3, 3), (2, 2), (0, 1, 1, 0))),
    ((1, 3, 12, 13), _pool((3, 2), (2, 2), (1, 0, 1, 1), ceil_mode=True)),
    ((1, 5, 14, 15), _pool((3, 3), (1, 2), (2, 1, 0, 2), dilations=(2, 2))),
    ((1, 5, 9, 9), _pool((7, 7), (1, 1), (3, 3, 3, 3))),
    ((2, 3, 40), _pool((3,), (2,), (1, 1))),
    ((1, 3, 7, 8, 9), _pool((3, 2, 2), (2, 1, 3), (1, 0, 0, 1, 0, 1))),
]


@pytest.mark.parametrize("name", ["max_pool", "average_pool"])
@pytest.mark.parametrize(("shape", "attributes"), POOLS)
def test_pool(name: str, shape: tuple[int, ...], attributes: dict[str, Any]) -> None:
    assert check(name, [rand(*shape)], attributes) == BOTH


@every_target
def test_pool_on_shorter_vectors(target: Target) -> None:
    shape, attributes = POOLS[0]
    assert check("max_pool", [rand(*shape)], attributes, target=target) == BOTH


def test_average_counts_padding_where_asked() -> None:
    shape, attributes = POOLS[2]
    check("average_pool", [rand(*shape)], {**attributes, "count_include_pad": True})


@pytest.mark.parametrize("dtype", ["uint8", "int8", "float64", "float16"])
def test_max_pool_of_other_types(dtype: str) -> None:
    x = whole(1, 3, 9, 9, dtype=dtype, high=100)
    offered = BOTH if dtype in ("uint8", "int8") else {"plain"}
    assert check("max_pool", [x], _pool((3, 3), (2, 2), (1, 1, 1, 1))) == offered


@pytest.mark.parametrize("dtype", ["float32", "float16", "float64"])
def test_max_pool_keeps_what_is_not_a_number(dtype: str) -> None:
    x = rand(1, 20, 12, 13, dtype=dtype)
    x.flat[::29] = math.nan
    check("max_pool", [x], POOLS[0][1])


REDUCTIONS = [
    ((2, 20, 7, 7), (1,)),
    ((5, 100), (1,)),
    ((5, 100), (0,)),
    ((3, 4, 5, 6, 7), (1, 3)),
    ((3, 4, 5, 6, 7), (0, 2, 4)),
    ((7,), (0,)),
    ((3, 4), ()),
]


KINDS = ["mean", "sum", "max", "min", "prod", "l1", "l2", "sum_square"]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("shape", "axes"), REDUCTIONS)
def test_reduce(kind: str, shape: tuple[int, ...], axes: tuple[int, ...]) -> None:
    check(f"reduce_{kind}", [rand(*shape)], {"axes": axes, "keepdims": False}, rtol=1e-5, atol=1e-5)


@every_target
@pytest.mark.parametrize("kind", KINDS)
def test_reduce_over_pixels_is_blocked(kind: str, target: Target) -> None:
    arrays = [rand(2, 20, 7, 7)]
    assert check(f"reduce_{kind}", arrays, {"axes": (2, 3)}, target=target, atol=1e-5) == BOTH


@pytest.mark.parametrize("dtype", ["float32", "float16", "float64"])
def test_logarithm_of_a_sum_is_row_major(dtype: str) -> None:
    """Padding lanes of blocks would become -inf; nothing does in any layout."""
    x = np.abs(rand(2, 20, 7, 7, dtype=dtype))
    assert check("reduce_log_sum", [x], {"axes": (2, 3)}, rtol=1e-3, atol=1e-5) == {"plain"}
    assert check("reduce_log_sum", [x[:, :0]], {"axes": (1,)}) == {"plain"}


@pytest.mark.parametrize("dtype", ["int32", "int64", "uint8", "int8"])
@pytest.mark.parametrize("kind", ["prod", "l1", "sum_square"])
def test_reduction_of_integers_wraps(kind: str, dtype: str) -> None:
    x = whole(3, 5, 17, dtype=dtype, high=100)
    x[0] = 0 - x[0]
    check(f"reduce_{kind}", [x], {"axes": (1,)})
    check(f"reduce_{kind}", [x], {"axes": (2,)})


def test_norms_of_half_precision_are_summed_in_single() -> None:
    x = np.full((1, 4096), 100, np.float16)
    check("reduce_l2", [x], {"axes": (1,)})


@pytest.mark.parametrize("axes", [(1,), (2,), (1, 2)])
def test_sum_of_nothing_is_zero(axes: tuple[int, ...]) -> None:
    check("reduce_sum", [rand(2, 0, 3)], {"axes": axes})


@pytest.mark.parametrize(("axis", "last"), [(0, False), (1, True), (-1, False)])
def test_argmax(axis: int, last: bool) -> None:
    check("argmax", [whole(3, 7, 19, dtype=np.float32)], {"axis": axis, "select_last": last})


@pytest.mark.parametrize(("exclusive", "reverse"), [(False, False), (True, True)])
@pytest.mark.parametrize("axis", [0, 1, 2])
def test_running_sums(axis: int, exclusive: bool, reverse: bool) -> None:
    how = {"axis": axis, "exclusive": exclusive, "reverse": reverse}
    check("cumsum", [rand(3, 7, 19)], how)
    check("cumsum", [whole(3, 7, 19, dtype=np.int64)], how)
