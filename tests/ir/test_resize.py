"""Resizing as the interpreter defines it: against fractions, and against ONNX Runtime where that is exact."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from fractions import Fraction
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from onnx import helper, numpy_helper

from secateur.ir import interpreter
from secateur.ir.graph import Value
from secateur.ir.onnx_reader import read_model
from secateur.ir.registry import create
from secateur.ir.resampling import positions, simplest, stands_for
from secateur.ir.types import DType, TensorType

Array = np.ndarray[Any, Any]
ROUNDINGS: dict[str, Callable[[Fraction], int]] = {
    "floor": math.floor,
    "ceil": math.ceil,
    "round_prefer_ceil": lambda at: math.floor(at + Fraction(1, 2)),
    "round_prefer_floor": lambda at: math.ceil(at - Fraction(1, 2)),
}
PLACES = ["asymmetric", "half_pixel", "pytorch_half_pixel", "half_pixel_symmetric", "align_corners"]
FRACTIONS = st.fractions(Fraction(1, 9), 9, max_denominator=30)


def place(coordinates: str, i: int, scale: Fraction, size: int, out: int) -> Fraction:
    """The formulas of the specification, in fractions."""
    half = Fraction(1, 2)
    if coordinates == "asymmetric":
        return i / scale
    if coordinates == "align_corners":
        return i * (size - 1) / (scale * size - 1) if out > 1 else Fraction(0)
    if coordinates == "pytorch_half_pixel" and out == 1:
        return Fraction(0)
    offset = size * half * (1 - out / (scale * size)) if coordinates == "half_pixel_symmetric" else 0
    return offset + (i + half) / scale - half


def resized(x: Sequence[float], scale: float, out: int, dtype: Any = np.float32, **more: Any) -> list[Any]:
    """The interpreter on one row."""
    row = np.array(x, dtype)
    operand = Value(TensorType(row.shape, DType.of(row.dtype)), "x")
    op = create("nn.resize", [operand], {"shape": (out,), "scales": (scale,), **more})
    return list(interpreter.evaluate(op, [row])[0].tolist())


@given(FRACTIONS, st.integers(1, 60), st.sampled_from(PLACES), st.sampled_from(list(ROUNDINGS)))
@example(Fraction(1, 3), 12, "asymmetric", "floor")
def test_nearest_takes_the_element_that_exact_positions_name(
    scale: Fraction, size: int, coordinates: str, rounding: str
) -> None:
    """Scales in float32, as a model holds them."""
    out = math.floor(scale * size)
    if out < 1:
        return
    rounded = float(np.float32(float(scale)))
    found = resized(range(size), rounded, out, mode="nearest", coordinates=coordinates, rounding=rounding)
    places = [place(coordinates, i, scale, size, out) for i in range(out)]
    assert found == [min(max(ROUNDINGS[rounding](at), 0), size - 1) for at in places]


def test_a_third_of_twelve() -> None:
    third = float(np.float32(1 / 3))
    assert resized(range(12), third, 4, coordinates="asymmetric", rounding="floor") == [0, 3, 6, 9]


@given(st.integers(1, 2000), st.integers(1, 2000))
def test_a_scale_is_the_ratio_or_the_simplest_fraction_that_it_was_rounded_from(a: int, b: int) -> None:
    meant = Fraction(a, b)
    assert stands_for(a / b, meant) == stands_for(float(np.float32(a / b)), meant) == meant
    if a * b < 1000:
        assert stands_for(float(np.float32(a / b))) == meant


@given(st.fractions(Fraction(1, 99), 99), st.fractions(0, 1))
def test_the_simplest_fraction_is_the_one_of_least_denominator(low: Fraction, width: Fraction) -> None:
    found = simplest(low, low + width)
    assert low <= found <= low + width
    for d in range(1, min(found.denominator, 200)):
        assert math.ceil(low * d) > (low + width) * d


def test_huge_positions_do_not_overflow() -> None:
    operand = Value(TensorType((3,), DType.F32), "x")
    op = create("nn.resize", [operand], {"shape": (4,), "scales": (1e-30,), "mode": "linear"})
    assert positions(op, 0).floor[0] > 10**9


CUBIC = [0, 0, 0, 58, 197, 255, 255, 197, 57, 0, 0, 11]
ROW = [0, 0, 255, 255, 0, 10]


def test_cubic_overshoot_of_bytes_saturates() -> None:
    assert resized(ROW, 2.0, 12, np.uint8, mode="cubic") == CUBIC
    assert resized(ROW, 2.0, 12, np.uint8, mode="cubic", antialias=True) == CUBIC
    signed = resized([v - 128 for v in ROW], 2.0, 12, np.int8, mode="cubic")
    assert signed == [-128, -128, -128, -70, 69, 127, 127, 69, -71, -128, -128, -117]
    assert resized(ROW, 2.0, 12, np.int32, mode="cubic")[1:3] == [-9, -27]


@pytest.mark.parametrize("antialias", [False, True])
def test_linear_results_of_integers_are_rounded_half_to_even(antialias: bool) -> None:
    wanted = [0, 0, 0, 64, 191, 255, 255, 191, 64, 2, 8, 10]
    assert resized(ROW, 2.0, 12, np.uint8, mode="linear", antialias=antialias) == wanted


def test_an_antialiased_row_of_bytes_is_rounded() -> None:
    assert resized(ROW, 0.5, 3, np.uint8, mode="linear", antialias=True) == [32, 191, 37]


# Against ONNX Runtime. It computes positions in float32, so nearest is compared where none is near a tie;
# with align_corners and scales it divides by another extent than ONNX's reference, so sizes are given; of
# integers it takes the whole part (linear), or breaks (int8, antialiased).

SCALES = [(1, 3), (2, 3), (3, 2), (7, 3), (3, 7), (5, 2), (13, 10), (2, 1)]


def _model(x: Array, scale: Fraction | None, sizes: list[int], attributes: dict[str, Any]) -> onnx.ModelProto:
    scales = np.array([1, 1, 1, float(scale or 1)], np.float32)
    given = numpy_helper.from_array(scales if scale else np.array(sizes), "s")
    names = ["x", "", "s"] if scale else ["x", "", "", "s"]
    node = helper.make_node("Resize", names, ["y"], **attributes)
    port = helper.make_tensor_value_info("x", helper.np_dtype_to_tensor_dtype(x.dtype), x.shape)
    graph = helper.make_graph([node], "g", [port], [onnx.ValueInfoProto(name="y")], [given])
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 19)], ir_version=9)


def _both(
    tmp_path: Any, x: Array, scale: Fraction | None, out: int, attributes: dict[str, Any]
) -> tuple[Array, Array]:
    model = _model(x, scale, [*x.shape[:-1], out], attributes)
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    onnx.save(model, tmp_path / "m.onnx")
    ours = interpreter.run(read_model(tmp_path / "m.onnx"), {"x": x})["y"]
    return ours, np.asarray(session.run(None, {"x": x})[0])


@pytest.mark.parametrize("mode", ["linear", "cubic"])
@pytest.mark.parametrize("by_sizes", [False, True])
@pytest.mark.parametrize("coordinates", PLACES)
def test_floats_are_as_onnx_runtimes(tmp_path: Any, mode: str, by_sizes: bool, coordinates: str) -> None:
    x = np.random.default_rng(0).standard_normal((1, 2, 3, 21)).astype(np.float32)
    if coordinates == "align_corners" and not by_sizes:
        return
    for a, b in SCALES:
        scale, out = Fraction(a, b), 21 * a // b
        attributes = {"mode": mode, "coordinate_transformation_mode": coordinates}
        ours, theirs = _both(tmp_path, x, None if by_sizes else scale, out, attributes)
        np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-4, err_msg=f"{scale}")


@pytest.mark.parametrize("rounding", list(ROUNDINGS))
@pytest.mark.parametrize("coordinates", ["asymmetric", "half_pixel"])
@pytest.mark.parametrize("dtype", ["float32", "uint8", "int8"])
def test_nearest_is_as_onnx_runtimes(tmp_path: Any, rounding: str, coordinates: str, dtype: str) -> None:
    x = np.arange(42).reshape(1, 1, 2, 21).astype(dtype)
    attributes = {"mode": "nearest", "coordinate_transformation_mode": coordinates, "nearest_mode": rounding}
    compared = 0
    for a, b in SCALES:
        scale, out = Fraction(a, b), 21 * a // b
        ours, theirs = _both(tmp_path, x, scale, out, attributes)
        places = [2 * place(coordinates, i, scale, 21, out) for i in range(out)]
        clear = [abs(at - round(at)) > Fraction(1, 1000) for at in places]
        np.testing.assert_array_equal(ours[..., clear], theirs[..., clear])
        compared += sum(clear)
    assert compared > 60


def test_antialiased_bytes_are_as_onnx_runtimes(tmp_path: Any) -> None:
    """But for halves, which it rounds up: ninths have none. The border's eighths have, and are left out."""
    x = np.random.default_rng(0).integers(0, 256, (1, 1, 2, 21)).astype(np.uint8)
    attributes = {"mode": "linear", "antialias": 1, "exclude_outside": 1}
    ours, theirs = _both(tmp_path, x, Fraction(1, 3), 7, attributes)
    np.testing.assert_array_equal(ours[..., 1:-1], theirs[..., 1:-1])
