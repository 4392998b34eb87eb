"""Matrix products and convolutions of any rank and element type, against the interpreter."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from secateur.ir.elementwise import Step

from ....sampled import sampled_rows
from ...generic_harness import check, operator, rand, whole


@pytest.mark.parametrize(
    ("left", "right"),
    [((3, 5), (5, 7)), ((2, 1, 9, 20), (3, 20, 40)), ((20,), (20, 33)), ((2, 6, 20), (20,)), ((20,), (20,)),
     ((3, 0), (0, 4)), ((2, 3, 5), (2, 5, 150))],
)  # fmt: skip
def test_matmul(left: tuple[int, ...], right: tuple[int, ...]) -> None:
    a, b = rand(*left), rand(*right)
    bias = np.asarray(rand(*np.matmul(a, b).shape[-1:]))
    check("matmul", [a, b, bias], {"epilogue": (Step("add"), Step("relu"))}, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("dtype", ["float64", "float16", "int32", "uint8"])
def test_matmul_of_other_types(dtype: str) -> None:
    check("matmul", [whole(5, 6, dtype=dtype), whole(6, 21, dtype=dtype)], rtol=0, atol=0)


def _window(strides: tuple[int, ...], pads: tuple[int, ...], **more: Any) -> dict[str, Any]:
    steps = (Step("add"), Step("relu"))
    return {"strides": strides, "pads": pads, "dilations": (1,) * len(strides), "epilogue": steps, **more}


CONVOLUTIONS = [
    ((2, 6, 40), (4, 6, 3), _window((2,), (1, 1))),
    ((2, 6, 40), (4, 3, 3), _window((1,), (2, 1), dilations=(2,), groups=2)),
    ((1, 6, 7, 39), (6, 1, 5, 3), _window((2, 2), (2, 1, 2, 1), groups=6)),
    ((1, 3, 5, 6, 20), (4, 3, 3, 2, 3), _window((1, 2, 1), (1, 0, 1, 1, 0, 1))),
    ((1, 3, 5), (4, 3, 9), _window((1,), (4, 4))),
]


@pytest.mark.parametrize("dtype", ["float32", "float64", "int32"])
@pytest.mark.parametrize(("shape", "weights", "attributes"), CONVOLUTIONS)
def test_naive_convolution(
    shape: tuple[int, ...], weights: tuple[int, ...], attributes: dict[str, Any], dtype: str
) -> None:
    bias = (weights[0], *(1,) * (len(shape) - 2))
    arrays = [(4 * rand(*s)).astype(dtype) for s in (shape, weights, bias)]
    check("conv", arrays, attributes, constants=(1,), only="naive", rtol=1e-5, atol=1e-4)


TRANSPOSED = [
    ((2, 6, 20), (6, 4, 3), _window((2,), (1, 1), output_padding=(1,))),
    (
        (2, 6, 7, 9),
        (6, 2, 3, 2),
        _window((3, 1), (0, 1, 1, 0), dilations=(2, 1), groups=2, output_padding=(0, 0)),
    ),
    ((1, 3, 4, 5, 6), (3, 2, 3, 2, 3), _window((2, 1, 2), (1, 0, 1, 1, 0, 1), output_padding=(0, 0, 0))),
    ((1, 3, 4), (3, 2, 2), _window((5,), (0, 0), output_padding=(2,))),
]


ROWS = [
    ("direct", (2, 20, 40), (24, 20, 5), _window((2,), (2, 2))),
    ("direct", (1, 1, 90), (1, 1, 32), _window((2,), (16, 15))),
    ("im2row", (1, 20, 30), (17, 20, 3), _window((1,), (2, 0), dilations=(2,))),
    ("kn2row", (1, 5, 50), (6, 5, 7), _window((1,), (3, 3))),
    ("pointwise", (2, 20, 33), (24, 20, 1), _window((1,), (0, 0))),
    ("grouped", (1, 16, 30), (32, 4, 3), _window((1,), (1, 1), groups=4)),
    ("depthwise", (1, 19, 30), (19, 1, 15), _window((1,), (7, 7), groups=19)),
]


@pytest.mark.parametrize(
    ("full", "primitive", "shape", "weights", "attributes"),
    sampled_rows(
        [(full, *row) for full in (False, True) for row in ROWS],
        lambda full, *row: full == (ROWS.index(row) % 2 == 0),
    ),
    ids=lambda v: str(v)[:9],
)
def test_fast_kernels_take_rows(
    primitive: str, shape: tuple[int, ...], weights: tuple[int, ...], attributes: dict[str, Any], full: bool
) -> None:
    """A row is an image of height 1."""
    columns = operator("conv", [rand(*shape), rand(*weights)], attributes | {"epilogue": ()}, (1,))
    more = columns.result.type.shape if full else (weights[0], 1)
    arrays = [rand(*s) for s in (shape, weights, more)]
    constants = (1,) if full else (1, 2)
    check("conv", arrays, attributes, constants=constants, only=primitive, rtol=1e-5, atol=1e-4)


def test_fast_transposed_kernels_take_rows() -> None:
    attributes = _window((8,), (4, 4), output_padding=(3,))
    arrays = [rand(1, 12, 20), rand(12, 10, 16), rand(10, 1)]
    check("conv_transpose", arrays, attributes, constants=(1, 2), only="transposed", rtol=1e-5, atol=1e-4)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(("shape", "weights", "attributes"), TRANSPOSED)
def test_naive_transposed_convolution(
    shape: tuple[int, ...], weights: tuple[int, ...], attributes: dict[str, Any], dtype: str
) -> None:
    filters = weights[1] * attributes.get("groups", 1)
    bias = (filters, *(1,) * (len(shape) - 2))
    arrays = [rand(*s, dtype=dtype) for s in (shape, weights, bias)]
    check("conv_transpose", arrays, attributes, only="naive", rtol=1e-5, atol=1e-5)
