"""Winograd's matrices: proven on a symbolic tile, over exact rationals."""

from fractions import Fraction

import numpy as np
import pytest

from secateur.ir.winograd import Winograd, float_winograd, half_winograd, winograd

Bilinear = dict[tuple[int, int], Fraction]  # coefficients of d_i g_k


def symbolic_outputs(w: Winograd) -> list[Bilinear]:
    """A^T [(G g) * (B^T d)] as polynomials in the entries of d and g."""
    outputs = []
    for row in w.a_t:
        total: Bilinear = {}
        for a, b_row, g_row in zip(row, w.b_t, w.g, strict=True):
            for i, b in enumerate(b_row):
                for k, g in enumerate(g_row):
                    total[i, k] = total.get((i, k), Fraction(0)) + a * b * g
        outputs.append({key: value for key, value in total.items() if value})
    return outputs


def correlation(outputs: int, taps: int) -> list[Bilinear]:
    return [{(i + k, k): Fraction(1) for k in range(taps)} for i in range(outputs)]


@pytest.mark.parametrize(
    ("outputs", "taps"), [(1, 1), (2, 3), (3, 3), (4, 3), (6, 3), (2, 5), (4, 5), (3, 2), (6, 5)]
)
def test_transforms_equal_the_correlation(outputs: int, taps: int) -> None:
    assert symbolic_outputs(winograd(outputs, taps)) == correlation(outputs, taps)


@pytest.mark.parametrize(
    ("outputs", "taps"), [(2, 3), (4, 3), (5, 3), (6, 3), (7, 3), (3, 2), (5, 2), (7, 2), (5, 4), (3, 3)]
)
def test_those_of_floats_do_too(outputs: int, taps: int) -> None:
    of_floats = float_winograd(outputs, taps)
    assert symbolic_outputs(of_floats) == correlation(outputs, taps)
    assert all(any(abs(x) == 1 for x in row) for row in of_floats.b_t)
    assert all(x.denominator == 1 for row in of_floats.a_t for x in row) or outputs + taps == 10


@pytest.mark.parametrize(
    ("outputs", "taps"), [(2, 3), (4, 3), (5, 3), (6, 3), (3, 2), (5, 2), (3, 4), (4, 4)]
)
def test_those_of_binary16_do_too_with_numbers_near_1(outputs: int, taps: int) -> None:
    of_halves = half_winograd(outputs, taps)
    assert symbolic_outputs(of_halves) == correlation(outputs, taps)
    assert all(max(map(abs, row)) < 4 for row in of_halves.b_t)


def test_where_points_are_even_in_number_rows_are_pairs_but_for_the_last() -> None:
    *rows, _ = float_winograd(5).b_t
    assert all(list(map(abs, a)) == list(map(abs, b)) for a, b in zip(rows[::2], rows[1::2], strict=True))


def test_proof_sees_a_wrong_matrix() -> None:
    right = winograd(2)
    b_t = ((*right.b_t[0][:-1], Fraction(1)), *right.b_t[1:])
    wrong = Winograd(2, 3, right.a_t, right.g, b_t)
    assert symbolic_outputs(wrong) != correlation(2, 3)


def test_other_points_prove_too() -> None:
    points = tuple(Fraction(p) for p in ("0", "1", "-1", "1/2", "-3"))
    assert symbolic_outputs(winograd(4, 3, points)) == correlation(4, 3)


def test_f23_is_the_textbook_matrix_up_to_signs() -> None:
    b_t = np.array([[int(x) for x in row] for row in winograd(2).b_t])
    assert sorted(map(tuple, np.abs(b_t))) == [(0, 1, 0, 1), (0, 1, 1, 0), (0, 1, 1, 0), (1, 0, 1, 0)]


@pytest.mark.parametrize("outputs", [2, 4, 6])
def test_input_transform_is_integer(outputs: int) -> None:
    assert all(x.denominator == 1 for row in winograd(outputs).b_t for x in row)


@pytest.mark.parametrize(
    "points", [("0", "1"), ("0", "1", "1"), ("0", "1", "-1", "2")], ids=["few", "repeated", "many"]
)
def test_points_must_be_right_in_number_and_distinct(points: tuple[str, ...]) -> None:
    with pytest.raises(ValueError, match=r"F\(2, 3\) takes 3 distinct points"):
        winograd(2, 3, tuple(Fraction(p) for p in points))


def test_more_points_than_known_are_refused() -> None:
    with pytest.raises(ValueError, match="distinct points"):
        winograd(12, 3)
