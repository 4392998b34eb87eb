"""The reference of operators on 8-bit tensors: exact against scalar arithmetic, and what they refuse."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from secateur.ir.graph import Value
from secateur.ir.opdef import TypeRuleError
from secateur.ir.registry import create
from secateur.ir.types import DType, Quant, TensorType
from tests.ir.eight_bit import F32, REAL, Array, answer, byte, factor, plain, requantized, result, weights

WINDOW = {"strides": (1, 1), "pads": (1, 1, 1, 1), "dilations": (1, 1)}
POINT = {"strides": (1, 1), "pads": (0, 0, 0, 0), "dilations": (1, 1)}
SEEDS = st.integers(0, 2**32 - 1)


def one_sum(total: int, **attributes: Any) -> Array:
    """A 1x1 convolution whose only sum is `total`, of scale 0.5."""
    x, w, bias = (
        np.zeros((1, 1, 1, 1), np.uint8),
        np.zeros((1, 1, 1, 1), np.int8),
        np.array([total], np.int32),
    )
    operands = [byte(x.shape, 0.5), weights(w.shape, (1.0,)), plain(bias)]
    return answer("q.linear_conv", operands, {**POINT, **attributes}, [x, w, bias])


@pytest.mark.parametrize(
    ("total", "stored"), [(1, 10), (3, 12), (5, 12), (-1, 10), (-3, 8), (-5, 8), (7, 14)]
)
def test_halves_go_to_the_even_neighbour(total: int, stored: int) -> None:
    assert one_sum(total, **result(1.0, 10)).item() == stored


@pytest.mark.parametrize(("total", "stored"), [(1000, 200), (-1000, 10), (300, 155), (100, 55)])
def test_limits_hold_after_the_zero_point(total: int, stored: int) -> None:
    assert one_sum(total, **result(1.0, 5, (10, 200))).item() == stored


def test_sums_are_rounded_to_float32_before_the_product() -> None:
    assert one_sum(2**24 + 1, **REAL).item() == 2.0**23
    assert one_sum(2**31 - 1, **REAL).item() == 2.0**30


def test_padding_is_the_zero_point() -> None:
    x, w, bias = np.full((1, 2, 4, 5), 77, np.uint8), np.full((3, 2, 3, 3), 9, np.int8), np.array([4, -6, 0])
    operands = [byte(x.shape, 1.0, 77), weights(w.shape, (1.0,) * 3), plain(bias.astype(np.int32))]
    found = answer("q.linear_conv", operands, {**WINDOW, **REAL}, [x, w, bias.astype(np.int32)])
    np.testing.assert_array_equal(found, np.broadcast_to(bias.reshape(1, 3, 1, 1), (1, 3, 4, 5)))


def scalar_conv(x: Array, w: Array, bias: Array, zero: int, groups: int, m: int, i: int, j: int) -> int:
    """One sum of a convolution of stride 2, its pads 1, its second axis dilated by 2."""
    met, filters = w.shape[1], w.shape[0] // groups
    total = int(bias[m])
    for c in range(met):
        for k in range(3):
            for n in range(3):
                row, column = 2 * i + k - 1, 2 * j + 2 * n - 1
                if 0 <= row < x.shape[2] and 0 <= column < x.shape[3]:
                    total += (int(x[0, m // filters * met + c, row, column]) - zero) * int(w[m, c, k, n])
    return total


@settings(max_examples=25)
@given(seed=SEEDS, zero=st.integers(0, 255), groups=st.sampled_from([1, 2]), extreme=st.booleans())
def test_convolution_is_the_scalar_contract(seed: int, zero: int, groups: int, extreme: bool) -> None:
    rng = np.random.default_rng(seed)
    x = rng.integers(0, 256, (1, 4, 5, 8)).astype(np.uint8)
    w = rng.integers(-127, 128, (4, 4 // groups, 3, 3)).astype(np.int8)
    if extreme:
        x[:], w[:] = rng.choice([0, 255]), rng.choice([-128, 127])
    bias, residual = rng.integers(-9000, 9000, 4).astype(np.int32), rng.integers(0, 256, (1, 4, 3, 3))
    scales, sx, sr, sy = rng.uniform(1e-3, 1e-2, 4).tolist(), 0.03, 0.07, 0.05
    operands = [byte(x.shape, sx, zero), weights(w.shape, tuple(scales)), plain(bias)]
    operands.append(byte(residual.shape, sr, 9))
    window = {"strides": (2, 2), "pads": (1, 1, 1, 1), "dilations": (1, 2), "groups": groups}
    arrays: list[Array] = [x, w, bias, residual.astype(np.uint8)]
    found = answer("q.linear_conv", operands, {**window, **result(sy, 100, (3, 250))}, arrays)
    for m, i, j in np.ndindex(4, 3, 3):
        t = F32(scalar_conv(x, w, bias, zero, groups, m, i, j)) * factor(sx, scales[m], by=sy)
        t = t + F32(int(residual[0, m, i, j]) - 9) * factor(sr, by=sy)
        assert found[0, m, i, j] == requantized(t, 100, (3, 250))


def test_residual_is_rounded_before_it_is_added() -> None:
    rng = np.random.default_rng(0)
    x, w = rng.integers(0, 256, (1, 1, 16, 16)).astype(np.uint8), np.full((1, 1, 1, 1), 3, np.int8)
    residual, bias = rng.integers(0, 256, x.shape).astype(np.uint8), np.zeros(1, np.int32)
    operands = [byte(x.shape, 0.1), weights(w.shape, (0.7,)), plain(bias), byte(x.shape, 0.3, 8)]
    found = answer("q.linear_conv", operands, {**POINT, **REAL}, [x, w, bias, residual])
    first, second = x.astype(F32) * 3 * factor(0.1, 0.7), residual.astype(F32) - 8
    np.testing.assert_array_equal(found, first + second * factor(0.3))
    fused = first.astype(np.float64) + second.astype(np.float64) * float(factor(0.3))
    assert (found != fused.astype(F32)).any(), "these numbers would not show a fused product"


@settings(max_examples=25)
@given(seed=SEEDS, zero=st.integers(0, 255))
def test_matrix_product_is_the_scalar_contract(seed: int, zero: int) -> None:
    rng = np.random.default_rng(seed)
    x, w = rng.integers(0, 256, (2, 5)).astype(np.uint8), rng.integers(-127, 128, (5, 3)).astype(np.int8)
    bias, scales = rng.integers(-99, 99, 3).astype(np.int32), rng.uniform(1e-3, 1e-2, 3).tolist()
    operands = [byte(x.shape, 0.03, zero), weights(w.shape, tuple(scales), 1), plain(bias)]
    found = answer("q.linear_matmul", operands, result(0.04, 60), [x, w, bias])
    for i, j in np.ndindex(2, 3):
        total = sum((int(x[i, k]) - zero) * int(w[k, j]) for k in range(5)) + int(bias[j])
        assert found[i, j] == requantized(F32(total) * factor(0.03, scales[j], by=0.04), 60)


@given(seed=SEEDS, za=st.integers(0, 255), zb=st.integers(0, 255))
def test_sum_and_product_are_the_scalar_contract(seed: int, za: int, zb: int) -> None:
    rng = np.random.default_rng(seed)
    a, b = (
        rng.integers(0, 256, (1, 2, 2, 2)).astype(np.uint8),
        rng.integers(0, 256, (1, 2, 1, 1)).astype(np.uint8),
    )
    operands = [byte(a.shape, 0.03, za), byte(b.shape, 0.02, zb)]
    added = answer("q.linear_add", operands, result(0.04, 60), [a, b])
    multiplied = answer("q.linear_mul", operands, result(0.04, 60), [a, b])
    for at in np.ndindex(a.shape):
        x, y = int(a[at]) - za, int(b[0, at[1], 0, 0]) - zb
        t = F32(x) * factor(0.03, by=0.04) + F32(y) * factor(0.02, by=0.04)
        assert added[at] == requantized(t, 60)
        assert multiplied[at] == requantized(F32(x * y) * factor(0.03, 0.02, by=0.04), 60)


@given(seed=SEEDS, zero=st.integers(0, 255))
def test_a_slope_below_zero_is_the_scalar_contract(seed: int, zero: int) -> None:
    rng = np.random.default_rng(seed)
    x, slopes = rng.integers(0, 256, (1, 3, 2, 2)).astype(np.uint8), rng.uniform(-1, 1, 3).astype(np.float32)
    found = answer(
        "q.linear_prelu", [byte(x.shape, 0.03, zero), plain(slopes)], result(0.04, 60), [x, slopes]
    )
    for at in np.ndindex(x.shape):
        centred, slope = int(x[at]) - zero, float(slopes[at[1]])
        factors = (0.03,) if centred >= 0 else (0.03, slope)
        assert found[at] == requantized(F32(centred) * factor(*factors, by=0.04), 60)


@pytest.mark.parametrize(("include", "counts"), [(True, (4, 4, 4, 4)), (False, (1, 2, 2, 4))])
def test_average_divides_by_what_it_counts(include: bool, counts: tuple[int, ...]) -> None:
    x = np.array([[[[30, 60], [90, 101]]]], np.uint8)
    window = {"kernel": (2, 2), "strides": (1, 1), "pads": (1, 1, 0, 0), "dilations": (1, 1)}
    attributes = {**window, "count_include_pad": include, **result(0.02, 5)}
    found = answer("q.linear_average_pool", [byte(x.shape, 0.01, 20)], attributes, [x])
    sums = (10, 50, 80, 10 + 40 + 70 + 81)
    wanted = [
        requantized(F32(s) * F32(0.01 * 1.0 / (0.02 * n)), 5) for s, n in zip(sums, counts, strict=True)
    ]
    assert found.reshape(-1).tolist() == wanted


X, W, B = byte((1, 2, 4, 4)), weights((3, 2, 3, 3), (1.0,) * 3), plain(np.zeros(3, np.int32))
OK = {**WINDOW, **result()}


def bare(shape: tuple[int, ...], dtype: DType) -> Value:
    return Value(TensorType(shape, dtype), "v")


def channels(shape: tuple[int, ...]) -> Value:
    return Value(TensorType(shape, DType.U8, quant=Quant((1.0,) * shape[1], (0,) * shape[1], 1)), "v")


SHIFTED = Value(TensorType((3, 2, 3, 3), DType.I8, quant=Quant((1.0,), (1,))), "w")
CONV_REFUSALS: list[tuple[list[Value], dict[str, Any], str]] = [
    ([bare((1, 2, 4, 4), DType.U8), W, B], OK, "input is not quantized with one scale"),
    ([bare((1, 2, 4, 4), DType.F32), W, B], OK, "input is f32, not u8"),
    ([channels((1, 2, 4, 4)), W, B], OK, "input is not quantized with one scale"),
    ([X, bare((3, 2, 3, 3), DType.I8), B], OK, "weights are not quantized i8"),
    ([X, weights((3, 2, 3, 3), (1.0,) * 2, 1), B], OK, "weights' scales lie along axis 1"),
    ([X, SHIFTED, B], OK, "zero points other than 0"),
    ([X, W, bare((3,), DType.F32)], OK, "bias is .*f32.*, not 3 x i32"),
    ([X, W, bare((2,), DType.I32)], OK, "not 3 x i32"),
    ([byte((1, 3, 4, 4)), W, B], OK, "3 channels and weights .* do not fit 1 groups"),
    ([X, W, B], {**OK, "groups": 0}, "do not fit 0 groups"),
    ([byte((1, 2, 4)), W, B], OK, "need the same rank"),
    ([X, W, B, byte((1, 3, 4, 5))], OK, "the residual is"),
    ([X, W, B, bare((1, 3, 4, 4), DType.F32)], OK, "residual is f32, not u8"),
    ([X, W, B, byte((1, 3, 4, 4)), byte((1, 3, 4, 4))], OK, "at most one residual, got 2"),
    ([X, W, B], {**WINDOW, "zero_points": (0,)}, "the result needs one scale"),
    ([X, W, B], {**OK, "limits": (9, 3)}, "no range of u8"),
    ([X, W, B], {**OK, "limits": (0, 256)}, "no range of u8"),
    ([X, W, B], {**OK, "dtype": DType.I8}, "u8 or f32, not i8"),
    ([X, W, B], {**OK, "dtype": DType.F32}, "a real result has no scale"),
    ([X, W, B], {**WINDOW, **result(zero=256)}, "zero point does not fit u8"),
    ([X, W, B], {**WINDOW, **result(scale=-1.0)}, "scales must be finite and positive"),
]


@pytest.mark.parametrize(("operands", "attributes", "message"), CONV_REFUSALS)
def test_convolution_refuses(operands: list[Value], attributes: dict[str, Any], message: str) -> None:
    with pytest.raises(TypeRuleError, match=message):
        create("q.linear_conv", operands, attributes)


@pytest.mark.parametrize(
    ("name", "operands", "message"),
    [
        ("q.linear_matmul", [byte((2, 4)), weights((5, 3), (1.0,) * 3, 1), B], "do not multiply"),
        ("q.linear_matmul", [byte((2, 5)), weights((5, 3), (1.0,) * 5), B], "scales lie along axis 0"),
        ("q.linear_add", [byte((1, 2, 1)), byte((1, 2, 3))], "does not broadcast"),
        ("q.linear_add", [byte((1, 2, 3)), byte((2, 3))], "does not broadcast"),
        ("q.linear_prelu", [byte((1, 2, 3)), plain(np.zeros(3, np.float32))], "not one a channel"),
        ("q.linear_prelu", [byte((3,)), plain(np.zeros(3, np.float32))], "without channels"),
        ("q.linear_mul", [byte((2,)), bare((2,), DType.I8)], "second operand is i8, not u8"),
    ],
)
def test_others_refuse(name: str, operands: list[Value], message: str) -> None:
    with pytest.raises(TypeRuleError, match=message):
        create(name, operands, result())


def test_what_moves_elements_keeps_their_quantization() -> None:
    a, b = byte((1, 2, 4, 4), 0.5, 3), byte((1, 2, 4, 4), 0.5, 3)
    pool = {"kernel": (2, 2), "strides": (2, 2), "pads": (0, 0, 0, 0), "dilations": (1, 1)}
    made = [
        create("nn.max_pool", [a], pool),
        create("nn.concat", [a, b], {"axis": 1}),
        create("nn.transpose", [a], {"perm": (0, 2, 3, 1)}),
    ]
    assert [op.result.type.quant for op in made] == [a.type.quant] * 3


def test_what_joins_different_quantizations_has_none() -> None:
    a, b = byte((1, 2, 4, 4), 0.5, 3), byte((1, 2, 4, 4), 0.5, 4)
    assert create("nn.concat", [a, b], {"axis": 1}).result.type.quant is None
    assert create("nn.concat", [a, bare((1, 2, 4, 4), DType.U8)], {"axis": 1}).result.type.quant is None


def test_scales_along_an_axis_do_not_move() -> None:
    assert create("nn.transpose", [channels((1, 2, 4, 4))], {"perm": (1, 0, 2, 3)}).result.type.quant is None
