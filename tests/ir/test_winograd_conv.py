"""Convolution quantized in the Winograd domain: transforms proven, steps held to scalar arithmetic."""

from __future__ import annotations

from fractions import Fraction
from itertools import product
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from secateur.ir.graph import Value
from secateur.ir.opdef import TypeRuleError
from secateur.ir.reference.winograd import quantized_input, transformed_input, transformed_output
from secateur.ir.registry import create
from secateur.ir.root_two import ONE, ROOT, ZERO, RootTwo, Surd, root_two
from secateur.ir.support.tiles import Tiles
from secateur.ir.types import DType, TensorType
from secateur.ir.winograd import winograd
from tests.ir.eight_bit import F32, REAL, Array, answer, byte, factor, plain, requantized, result, weights

TILES = [(2, 2), (2, 4), (4, 2), (4, 4)]
Bilinear = dict[tuple[int, int], Surd]  # coefficients of d_i g_k


def outputs(w: RootTwo) -> list[Bilinear]:
    """A^T [(G g) * (B^T d)] as polynomials in the entries of d and g."""
    found: list[Bilinear] = []
    for row in w.a_t:
        total: Bilinear = {}
        for a, b_row, g_row in zip(row, w.b_t, w.g, strict=True):
            for (i, b), (k, g) in product(enumerate(b_row), enumerate(g_row)):
                total[i, k] = total.get((i, k), ZERO) + a * b * g
        found.append({key: value for key, value in total.items() if value != ZERO})
    return found


def test_transforms_at_root_two_equal_the_correlation() -> None:
    assert outputs(root_two()) == [{(i + k, k): ONE for k in range(3)} for i in range(4)]


def test_the_proof_sees_a_wrong_matrix() -> None:
    right = root_two()
    wrong = RootTwo(right.a_t, right.g, (*right.b_t[:5], right.b_t[0]))
    assert outputs(wrong) != outputs(right)


SURDS = st.builds(Surd, st.fractions(-9, 9, max_denominator=9), st.fractions(-9, 9, max_denominator=9))


@given(a=SURDS, b=SURDS)
def test_surds_are_a_field(a: Surd, b: Surd) -> None:
    assert float(a * b + a - b) == pytest.approx(float(a) * float(b) + float(a) - float(b), abs=1e-9)
    if b != ZERO:
        assert a / b * b == a
    assert Surd(Fraction(2)) == ROOT * ROOT


def test_division_by_zero_is_refused() -> None:
    with pytest.raises(ZeroDivisionError):
        ONE / ZERO


def axis_matrix(outputs: int) -> Array:
    rows: Any = root_two().b_t if outputs == 4 else winograd(outputs).b_t
    return np.array([[float(v) for v in row] for row in rows])


@pytest.mark.parametrize("tile", TILES)
def test_steps_of_the_input_are_the_transform_but_for_rounding(tile: tuple[int, int]) -> None:
    d = np.random.default_rng(0).integers(-255, 256, (tile[0] + 2, tile[1] + 2, 3, 50))
    exact = np.einsum("ai,bj,ijct->abct", axis_matrix(tile[0]), axis_matrix(tile[1]), d)
    error = np.abs(transformed_input(d) - exact.reshape(-1, 3, 50))
    assert error.max() <= (5.0 if 4 in tile else 0.0)


@pytest.mark.parametrize("tile", TILES)
def test_the_transformed_input_fits_16_bits(tile: tuple[int, int]) -> None:
    """Largest where each pixel is at the end of its range that a tap asks for."""
    both = np.einsum("ai,bj->abij", axis_matrix(tile[0]), axis_matrix(tile[1]))
    both = both.reshape(-1, (tile[0] + 2) * (tile[1] + 2))
    for zero, sign in product((0, 128, 255), (1, -1)):
        worst = np.where(sign * both > 0, 255 - zero, -zero)
        d = worst.T.reshape(tile[0] + 2, tile[1] + 2, 1, -1)
        assert np.abs(transformed_input(d)).max() < 2**15 - 128


@pytest.mark.parametrize(
    ("v", "f", "q"),
    [
        (1, 1 << 14, 1),
        (-1, 1 << 14, 0),
        (3, 1 << 14, 2),
        (-3, 1 << 14, -1),
        (127, 32767, 127),
        (128, 32767, 127),
        (-128, 32767, -128),
        (-129, 32767, -128),
        (-300, 32767, -128),
        (5, 1, 0),
    ],
)
def test_halves_of_the_quantized_input_go_up_and_the_rest_saturates(v: int, f: int, q: int) -> None:
    assert quantized_input(np.array([[[v]]]), np.array([[f]], np.int16)).item() == q


def operands(arrays: list[Array], zero: int) -> list[Value]:
    return [byte(arrays[0].shape, 0.03, zero), *map(plain, arrays[1:])]


def as_scalars(f: list[np.float32]) -> list[np.float32]:
    """A^T f, an addition at a time."""
    s, d = f[1] + f[2], f[1] - f[2]
    if len(f) == 4:
        return [f[0] + s, d + f[3]]
    root, by_root = F32(np.sqrt(2.0)), F32(np.sqrt(0.5))
    near, odd = f[3] + f[4], f[3] - f[4]
    last = (d + odd / F32(4)) + f[5]
    return [(f[0] + s / F32(2)) + near, (d + odd) * by_root, s + near / F32(2), last * root]


def as_integers(d: list[int]) -> list[int]:
    if len(d) == 4:
        return [d[2] - d[0], d[1] + d[2], d[2] - d[1], d[3] - d[1]]
    a, b = [((2 * d[4] - d[2]) * 23170 + 2**14) // 2**15, 2 * d[3] - d[1]]
    e, o = d[4] - 2 * d[2], ((d[3] - 2 * d[1]) * 23170 + 2**14) // 2**15
    return [2 * (d[0] + d[4]) - 5 * d[2], a + b, a - b, e + o, e - o, 2 * (d[1] + d[5]) - 5 * d[3]]


def one_tile(d: Array, arrays: list[Array], m: int, tile: tuple[int, int]) -> list[list[np.float32]]:
    """The outputs of one filter on one input tile (C, h, w), without bias."""
    u, factors, scales = arrays[1:4]
    high, wide = tile[0] + 2, tile[1] + 2
    v = []
    for c in range(len(d)):
        columns = [as_integers([int(d[c, i, j]) for i in range(high)]) for j in range(wide)]
        v.append([as_integers([columns[j][i] for j in range(wide)]) for i in range(high)])
    real = [[F32(0)] * wide for _ in range(high)]
    for i, j in product(range(high), range(wide)):
        t = i * wide + j
        q = [(v[c][i][j] * int(factors[t, c]) + 2**14) // 2**15 for c in range(len(d))]
        total = sum(min(max(q[c], -128), 127) * int(u[t, m, c]) for c in range(len(d)))
        real[i][j] = F32(total) * scales[t, m]
    down = [as_scalars([real[i][j] for i in range(high)]) for j in range(wide)]
    return [as_scalars([down[j][i] for j in range(wide)]) for i in range(tile[0])]


def along(results: int, most: int) -> list[tuple[int, int]]:
    """Where tiles start and how many results they have: the last ones one less, so that none is left over."""
    sizes = [most] * -(-results // most)
    for at in reversed(range(len(sizes))):
        if sum(sizes) > results:
            sizes[at] -= 1
    return [(sum(sizes[:at]), min(size, results - sum(sizes[:at]))) for at, size in enumerate(sizes)]


@given(results=st.integers(1, 60), most=st.integers(2, 7))
def test_tiles_have_every_result_once_and_lower_ones_are_the_last(results: int, most: int) -> None:
    tiles, expected = Tiles(results, most), along(results, most)
    assert [tiles.start(number) for number in range(tiles.count)] == [first for first, _ in expected]
    assert tiles.owners == tuple((n, at) for n, (_, size) in enumerate(expected) for at in range(size))
    assert [size for _, size in expected].count(most) == tiles.whole


@settings(max_examples=16, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), tile=st.sampled_from(TILES), zero=st.sampled_from([0, 7, 255]))
def test_the_operator_is_the_scalar_definition(seed: int, tile: tuple[int, int], zero: int) -> None:
    rng = np.random.default_rng(seed)
    taps, pads = (tile[0] + 2) * (tile[1] + 2), tuple(int(p) for p in rng.integers(0, 3, 4))
    x = rng.integers(0, 256, (2, 2, 3, 4)).astype(np.uint8)
    u = rng.integers(-127, 128, (taps, 2, 2)).astype(np.int8)
    factors = rng.integers(1, 6000, (taps, 2)).astype(np.int16)
    arrays: list[Array] = [x, u, factors, rng.uniform(1e-3, 4e-3, (taps, 2)).astype(F32)]
    arrays.append(rng.standard_normal(2).astype(F32))
    height, width = 3 + pads[0] + pads[2] - 2, 4 + pads[1] + pads[3] - 2
    residual = rng.integers(0, 256, (2, 2, height, width)).astype(np.uint8)
    given = [*operands(arrays, zero), byte(residual.shape, 0.05, 9)]
    attributes = {"tile": tile, "pads": pads, **result(0.04, 100, (2, 240))}
    found = answer("q.winograd_conv", given, attributes, [*arrays, residual])
    edges = [(0, 0), (0, 0), (pads[0], pads[2] + 4), (pads[1], pads[3] + 4)]
    padded = np.pad(x.astype(int) - zero, edges)
    for n, m in np.ndindex(2, 2):
        for (top, high), (left, wide) in product(along(height, tile[0]), along(width, tile[1])):
            d = padded[n, :, top : top + tile[0] + 2, left : left + tile[1] + 2]
            made = one_tile(d, arrays, m, tile)
            for i, j in product(range(high), range(wide)):
                at = n, m, top + i, left + j
                t = made[i][j] + arrays[4][m] + F32(int(residual[at]) - 9) * factor(0.05, by=0.04)
                assert found[at] == requantized(F32(t), 100, (2, 240))


@settings(max_examples=20)
@given(seed=st.integers(0, 2**32 - 1), zero=st.integers(0, 12))
def test_without_rounding_it_is_the_direct_convolution(seed: int, zero: int) -> None:
    """F(2, 3) of small pixels and weights that are multiples of 4: V and U are whole numbers of 8 bits."""
    rng = np.random.default_rng(seed)
    x = rng.integers(0, 13, (1, 3, 7, 6)).astype(np.uint8)
    w = (4 * rng.integers(-4, 5, (2, 3, 3, 3))).astype(np.int8)
    g = np.array([[float(v) for v in row] for row in winograd(2).g])
    u = np.einsum("ai,bj,mcij->abmc", g, g, w).reshape(16, 2, 3)
    assert (u == np.rint(u)).all()
    assert np.abs(u).max() <= 127
    arrays = [
        x,
        u.astype(np.int8),
        np.full((16, 3), 32767, np.int16),
        np.ones((16, 2), F32),
        np.zeros(2, F32),
    ]
    attributes = {"tile": (2, 2), "pads": (1, 0, 1, 1), **REAL}
    found = answer("q.winograd_conv", operands(arrays, zero), attributes, arrays)
    bias = np.zeros(2, np.int32)
    given = [byte(x.shape, 1.0, zero), weights(w.shape, (1.0, 1.0)), plain(bias)]
    window = {"strides": (1, 1), "pads": (1, 0, 1, 1), "dilations": (1, 1)}
    wanted = answer("q.linear_conv", given, {**window, **REAL}, [x, w, bias])
    np.testing.assert_array_equal(found, wanted)


def test_every_sum_of_the_output_transform_is_rounded() -> None:
    real = np.random.default_rng(0).standard_normal((36, 2, 9)).astype(F32)
    found = transformed_output(real, 4, 4)
    a_t = np.array([[float(v) for v in row] for row in root_two().a_t])
    exact = np.einsum("ai,bj,ijmt->abmt", a_t, a_t, real.reshape(6, 6, 2, 9).astype(np.float64))
    assert found.dtype == F32
    np.testing.assert_allclose(found, exact, atol=2e-5)
    assert (found != exact.astype(F32)).any()


def bare(shape: tuple[int, ...], dtype: DType = DType.F32) -> Value:
    return Value(TensorType(shape, dtype), "v")


X, U, FACTORS = byte((1, 2, 5, 5)), bare((16, 3, 2), DType.I8), bare((16, 2), DType.I16)
SCALES, BIAS = bare((16, 3)), bare((3,))
USUAL = {"tile": (2, 2), "pads": (1, 1, 1, 1), **result()}


@pytest.mark.parametrize(
    ("at", "value", "message"),
    [
        (0, bare((1, 2, 5, 5), DType.U8), "input is not quantized"),
        (0, byte((1, 2, 5)), "not an image"),
        (0, byte((1, 4, 5, 5)), "weights .* are neither 16 x filters x 4"),
        (1, bare((36, 3, 2), DType.I8), "weights .* are neither 16 x filters x 2"),
        (1, bare((16, 3, 2), DType.U8), "are neither 16 x filters x 2 nor filters x 2 x 3 x 3 of i8"),
        (2, bare((16, 3), DType.I16), "factors are"),
        (2, bare((16, 2)), "factors are"),
        (3, bare((16, 2)), "scales are"),
        (4, bare((3,), DType.I32), "bias are"),
    ],
)
def test_operands_that_do_not_fit_are_refused(at: int, value: Value, message: str) -> None:
    given = [X, U, FACTORS, SCALES, BIAS]
    given[at] = value
    with pytest.raises(TypeRuleError, match=message):
        create("q.winograd_conv", given, USUAL)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"tile": (6, 6)}, "outputs an axis are 2 or 4"),
        ({"tile": (2,)}, "outputs an axis are 2 or 4"),
        ({"pads": (1, 1)}, "are not four counts"),
        ({"pads": (-1, 0, 0, 0)}, "are not four counts"),
        ({"limits": (5, 4)}, "no range of u8"),
        ({"scales": ()}, "needs one scale"),
    ],
)
def test_attributes_that_make_no_sense_are_refused(changed: dict[str, Any], message: str) -> None:
    with pytest.raises(TypeRuleError, match=message):
        create("q.winograd_conv", [X, U, FACTORS, SCALES, BIAS], {**USUAL, **changed})


def test_an_image_smaller_than_the_kernel_is_refused() -> None:
    given = [byte((1, 2, 1, 5)), U, FACTORS, SCALES, BIAS]
    with pytest.raises(TypeRuleError, match="a 3x3 kernel does not fit"):
        create("q.winograd_conv", given, {**USUAL, "pads": (0, 0, 1, 0)})


def test_a_residual_of_another_shape_is_refused() -> None:
    with pytest.raises(TypeRuleError, match="the residual is"):
        create("q.winograd_conv", [X, U, FACTORS, SCALES, BIAS, byte((1, 3, 5, 4))], USUAL)


def test_multiplications_are_those_of_the_convolution() -> None:
    op = create("q.winograd_conv", [X, U, FACTORS, SCALES, BIAS], USUAL)
    macs = op.macs
    assert macs == op.result.type.elements * X.type.shape[1] * 9
