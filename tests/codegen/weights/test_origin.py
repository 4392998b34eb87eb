"""Constants that the runtime makes of filters: in C, to the bytes that packing them at compile time gives."""

from __future__ import annotations

import ctypes
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from secateur.codegen.backends.cuda.winograd import floats as floats_on_gpus
from secateur.codegen.backends.cuda.winograd.fused import WinogradFused
from secateur.codegen.backends.cuda.winograd.staged import WinogradStaged
from secateur.codegen.primitives.conv.operators import Convolution
from secateur.codegen.primitives.conv.winograd.exact import EXACT, EXACT_IMAGE, EXACT_STEM, ExactConvolution
from secateur.codegen.primitives.conv.winograd.float32 import LARGE, WINOGRAD
from secateur.codegen.primitives.conv.winograd.int8 import LinearWinograd
from secateur.codegen.primitives.operator import Constant, Primitive
from secateur.codegen.targets.rows import TARGETS
from secateur.codegen.targets.target import Target
from secateur.codegen.weights.origin import Digits, Origin, digits_of, places_of
from secateur.ir.elementwise import Step
from secateur.ir.filters import byte_filters, byte_matrix, rational_matrix, transformed_filters
from secateur.ir.graph import Operator, Value, constant_of
from secateur.ir.registry import create
from secateur.ir.types import DType, Quant, TensorType
from secateur.ir.winograd import winograd

from ..generic_harness import lay_out
from ..linear_harness import conv_case

ROOT = Path(__file__).parents[3]
Array = NDArray[Any]
TILES = ((2, 2), (4, 2), (2, 4), (4, 4))
NAMES = ("x86-64-v2", "x86-64-v3", "x86-64-v4-vnni", "rpi3", "rpi5", "cortex-a15")
WORDS = ("x86-64-v2", "x86-64-v3", "x86-64-v4", "rpi3", "cortex-a15")
"""Those that multiply bytes no faster than words."""
SHAPES = ((16, 16), (3, 20), (40, 33), (128, 64))


class Digit(ctypes.Structure):
    _fields_ = (("extent", ctypes.c_uint32), ("stride", ctypes.c_uint32))


class Table(ctypes.Structure):
    """rt_transform."""

    _fields_ = (
        ("down", ctypes.c_void_p), ("across", ctypes.c_void_p),
        ("tall", ctypes.c_uint32), ("wide", ctypes.c_uint32),
        ("filters", ctypes.c_uint32), ("channels", ctypes.c_uint32), ("tap", ctypes.c_uint32),
        ("filter_digits", Digit * 7), ("channel_digits", Digit * 7),
        ("first", ctypes.c_int32), ("side", ctypes.c_uint32), ("half", ctypes.c_uint32),
        ("work", ctypes.c_uint64), ("to", ctypes.c_uint64),
        ("width", ctypes.c_uint32), ("factors", ctypes.c_uint64), ("stride", ctypes.c_uint64),
        ("factor_bytes", ctypes.c_uint32), ("crossed", ctypes.c_uint32),
        ("scales", ctypes.c_uint64), ("starts", ctypes.c_uint64),
    )  # fmt: skip


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> ctypes.CDLL:
    compiler = shutil.which("gcc") or pytest.skip("gcc is not installed: apt-get install gcc")
    output = tmp_path_factory.mktemp("transform") / "transform.so"
    flags = ["-std=c11", "-O2", "-ffp-contract=off", "-Wall", "-Wextra", "-Werror", "-shared", "-fPIC"]
    subprocess.run([compiler, *flags, ROOT / "runtime" / "transform.c", "-o", output], check=True)
    return ctypes.CDLL(str(output))


def table(origin: Origin, offsets: Sequence[int], factors: int) -> tuple[Table, list[Array]]:
    """The row of a constant table, and the arrays that it points to."""
    matrices = [np.array(m, np.float64) for m in (origin.down, origin.across)]
    row = Table(
        down=matrices[0].ctypes.data, across=matrices[1].ctypes.data,
        tall=len(origin.down), wide=len(origin.across), tap=origin.places.tap,
        filters=origin.filters.shape[0], channels=origin.filters.shape[1], side=origin.side, half=origin.half,
        to=offsets[0],
    )  # fmt: skip
    for name, digits in (("filter", origin.places.filters), ("channel", origin.places.channels)):
        for i, digit in enumerate(digits):
            getattr(row, f"{name}_digits")[i] = Digit(*digit)
    if origin.bytes is not None:
        row.width, row.stride, row.factors = origin.bytes.width, origin.bytes.stride, factors
        row.factor_bytes, row.scales = origin.bytes.factor_bytes, offsets[-1]
        row.crossed = origin.bytes.crossed
        row.starts = offsets[1] if len(offsets) > 2 else 0
    return row, matrices


def made_in_c(library: ctypes.CDLL, origin: Origin, arguments: Sequence[Any]) -> list[Array]:
    """The constants of an origin as the runtime makes them, among the others of its operator."""
    arrays = {i: a.array for i, a in enumerate(arguments) if isinstance(a, Constant)}
    offsets, end = {}, 0
    for i, array in arrays.items():
        offsets[i], end = end, end + -(-array.nbytes // 64) * 64
    weights = np.zeros(end, np.uint8)
    for i, array in arrays.items():
        if i not in origin.made:
            weights[offsets[i] : offsets[i] + array.nbytes] = array.reshape(-1).view(np.uint8)
    row, kept = table(origin, [offsets[i] for i in origin.made], offsets.get(origin.factors, 0))
    filters = np.ascontiguousarray(origin.filters)
    given = [ctypes.byref(row), ctypes.c_void_p(filters.ctypes.data)]
    if origin.bytes is None:
        make = library.rt_transform_words if origin.side else library.rt_transform_floats
        make(*given, ctypes.c_void_p(weights.ctypes.data))
    else:
        scales = np.ascontiguousarray(origin.bytes.scales)
        work = np.empty((2 * origin.taps + 1) * filters.shape[1], np.float32)
        pointers = (scales.ctypes.data, work.ctypes.data, weights.ctypes.data)
        library.rt_transform_bytes(*given, *map(ctypes.c_void_p, pointers))
    assert kept
    return [weights[offsets[i] : offsets[i] + arrays[i].nbytes] for i in origin.made]


def check(library: ctypes.CDLL, primitive: Primitive, op: Operator, target: Target) -> None:
    operands, result = primitive.layouts(op, target)[0]
    lay_out(op, operands, result)
    arguments, origin = primitive.arguments(op, target), primitive.origin(op, target)
    assert origin is not None
    for number, got in zip(origin.made, made_in_c(library, origin, arguments), strict=True):
        expected = arguments[number].array.reshape(-1).view(np.uint8)  # type: ignore[union-attr]
        np.testing.assert_array_equal(got, expected)


def _constant(array: Array) -> Value:
    return create("nn.constant", [], {"value": array}).result


def float_conv(channels: int, filters: int, side: int, dtype: DType = DType.F32) -> Operator:
    rng = np.random.default_rng(channels)
    weights = rng.standard_normal((filters, channels, 3, 3), np.float32)
    if dtype == DType.F16:  # from the least numbers that there are to some whose sums are none
        weights *= np.float32(2) ** rng.integers(-24, 15, weights.shape)
    weights, bias = (a.astype(dtype.numpy) for a in (weights, rng.standard_normal((filters, 1, 1))))
    x = Value(TensorType((1, channels, side, side), dtype), "x")
    attributes = {"pads": (1, 1, 1, 1), "strides": (1, 1), "dilations": (1, 1), "epilogue": (Step("add"),)}
    return create("nn.conv", [x, _constant(weights), _constant(bias)], attributes)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("primitive", WINOGRAD, ids=lambda p: p.name)
def test_floats(library: ctypes.CDLL, primitive: Any, name: str) -> None:
    for channels, filters in SHAPES:
        check(library, Convolution(primitive), float_conv(channels, filters, 12), TARGETS[name])


def test_floats_of_the_largest_tile(library: ctypes.CDLL) -> None:
    target, op = TARGETS["rpi3"], float_conv(20, 33, 14)
    check(library, Convolution(LARGE), op, target)
    origin, header = Convolution(LARGE).origin(op, target), (ROOT / "runtime" / "transform.h").read_text()
    assert origin is not None
    assert f"RT_MOST_TAPS = {origin.taps}," in header


def byte_conv(channels: int, filters: int, tile: tuple[int, int], residual: bool = False) -> Operator:
    """With filters of the model; one of them is all zeros."""
    rng = np.random.default_rng(filters)
    w = rng.integers(-127, 128, (filters, channels, 3, 3)).astype(np.int8)
    w[filters // 2] = 0
    factors = rng.integers(1, 32768, ((tile[0] + 2) * (tile[1] + 2), channels)).astype(np.int16)
    scales, bias = rng.uniform(1e-4, 1e-2, filters), rng.standard_normal(filters)
    constants: list[Array] = [w, factors, scales.astype(np.float32), bias.astype(np.float32)]
    operands = [Value(TensorType((1, channels, 9, 12), DType.U8, quant=Quant((0.05,), (3,))), "x")]
    operands += map(_constant, constants)
    if residual:
        operands.append(Value(TensorType((1, filters, 9, 12), DType.U8, quant=Quant((0.07,), (5,))), "r"))
    ending = {"scales": (0.03,), "zero_points": (2,), "limits": (2, 250)}
    return create("q.winograd_conv", operands, {"tile": tile, "pads": (1, 1, 1, 1), **ending})


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("tile", TILES)
def test_bytes(library: ctypes.CDLL, tile: tuple[int, int], name: str) -> None:
    for channels, filters in SHAPES:
        check(library, LinearWinograd(), byte_conv(channels, filters, tile, filters == 33), TARGETS[name])


@pytest.mark.parametrize("name", WORDS)
@pytest.mark.parametrize("primitive", EXACT, ids=lambda p: p.name)
def test_whole_numbers(library: ctypes.CDLL, primitive: Any, name: str) -> None:
    for channels, filters in SHAPES:
        more: dict[str, Any] = {"pads": (1, 1, 1, 1), "zero": 7, "residual": filters == 33}
        op, _ = conv_case(channels, (1, channels, 9, 12), filters, (3, 3), **more)
        check(library, ExactConvolution(primitive), op, TARGETS[name])


@pytest.mark.parametrize("weight", [-128, 127])
@pytest.mark.parametrize("primitive", EXACT, ids=lambda p: p.name)
def test_the_largest_whole_numbers(library: ctypes.CDLL, primitive: Any, weight: int) -> None:
    w = np.full((16, 16, 3, 3), weight, np.int8)
    op, _ = conv_case(0, (1, 16, 6, 6), 16, (3, 3), w=w, pads=(1, 1, 1, 1))
    check(library, ExactConvolution(primitive), op, TARGETS["x86-64-v3"])


@pytest.mark.parametrize("name", WORDS)
@pytest.mark.parametrize("kernel", [(7, 7), (8, 7)])
def test_whole_numbers_of_phases(library: ctypes.CDLL, kernel: tuple[int, int], name: str) -> None:
    """Of 1 to 4 channels: on ARM kernels read none of those that are none."""
    for channels, filters in ((1, 16), (2, 20), (3, 33), (4, 64)):
        more: dict[str, Any] = {"strides": (2, 2), "pads": (3, 3, 3, 3), "residual": filters == 33}
        op, _ = conv_case(channels, (1, channels, 12, 19), filters, kernel, **more)
        check(library, ExactConvolution(EXACT_STEM), op, TARGETS[name])
        origin = ExactConvolution(EXACT_STEM).origin(op, TARGETS[name])
        assert origin is not None
        assert origin.filters.shape == (filters, 16 if name.startswith("x86") else 4 * channels, 4, 4)


def test_whole_numbers_of_an_image(library: ctypes.CDLL) -> None:
    for channels, filters in ((1, 16), (3, 33)):
        op, _ = conv_case(channels, (1, channels, 9, 14), filters, (3, 3), pads=(1, 1, 1, 1))
        check(library, ExactConvolution(EXACT_IMAGE), op, TARGETS["rpi4"])


@pytest.mark.parametrize("primitive", floats_on_gpus.PRIMITIVES[:2], ids=lambda p: p.name)
def test_floats_for_gpus(library: ctypes.CDLL, primitive: Primitive) -> None:
    for channels, filters in SHAPES:
        check(library, primitive, float_conv(channels, filters, 12), TARGETS["jetson-nano"])


@pytest.mark.parametrize("primitive", floats_on_gpus.PRIMITIVES[2:], ids=lambda p: p.name)
@pytest.mark.parametrize("name", ["jetson-nano", "jetson-orin"])
@pytest.mark.filterwarnings("ignore:overflow")
def test_halves_for_gpus(library: ctypes.CDLL, primitive: Primitive, name: str) -> None:
    for channels, filters in SHAPES:
        check(library, primitive, float_conv(channels, filters, 12, DType.F16), TARGETS[name])


def test_halves_that_are_not_finite_have_no_origin() -> None:
    op = float_conv(16, 16, 12, DType.F16)
    weights = _constant(np.full((16, 16, 3, 3), np.inf, np.float16))
    op = create("nn.conv", [op.operands[0], weights, op.operands[2]], op.attributes)
    lay_out(op, *floats_on_gpus.PRIMITIVES[2].layouts(op, TARGETS["jetson-nano"])[0])
    assert floats_on_gpus.PRIMITIVES[2].origin(op, TARGETS["jetson-nano"]) is None


ON_GPUS = {
    "one by one": (WinogradStaged(), "jetson-nano"),
    "three kernels": (WinogradStaged(), "jetson-orin"),
    "one kernel, dp4a": (WinogradFused(), "cuda-sm_61"),
    "one kernel, wmma": (WinogradFused(), "jetson-xavier"),
    "one kernel, mma": (WinogradFused(), "jetson-orin"),
}


@pytest.mark.parametrize("tile", TILES)
@pytest.mark.parametrize("way", ON_GPUS)
def test_bytes_for_gpus(library: ctypes.CDLL, tile: tuple[int, int], way: str) -> None:
    primitive, name = ON_GPUS[way]
    for channels, filters in SHAPES:
        check(library, primitive, byte_conv(channels, filters, tile, filters == 33), TARGETS[name])


def test_weights_of_the_domain_have_no_origin() -> None:
    op = byte_conv(16, 16, (2, 2))
    x, filters, factors, _, bias = op.operands
    w, f = constant_of(filters), constant_of(factors)
    assert w is not None
    assert f is not None
    made = byte_filters(w, f, (2, 2))
    weights, scales = _constant(made.weights), _constant(made.units)
    op = create("q.winograd_conv", [x, weights, factors, scales, bias], op.attributes)
    lay_out(op, *LinearWinograd().layouts(op, TARGETS["rpi3"])[0])
    assert LinearWinograd().origin(op, TARGETS["rpi3"]) is None


# The definition -----------------------------------------------------------------------------------


@pytest.mark.parametrize("outputs", [2, 4, 6])
def test_the_transform_is_that_of_exact_numbers(outputs: int) -> None:
    g = np.random.default_rng(0).integers(-127, 128, (4, 5, 3, 3)).astype(np.int8)
    exact = np.array(winograd(outputs).g, object)
    matrix = rational_matrix(outputs)
    found = transformed_filters(g, matrix, matrix)
    wanted = np.einsum("ia,mcab,jb->ijmc", exact, g.astype(object), exact)
    np.testing.assert_allclose(found, wanted.astype(np.float64), rtol=1e-13, atol=1e-12)


def test_bytes_of_filters_use_their_range_and_come_near() -> None:
    rng = np.random.default_rng(1)
    w = rng.integers(-127, 128, (6, 8, 3, 3)).astype(np.int8)
    factors = rng.integers(500, 2000, (36, 8)).astype(np.int16)
    found = byte_filters(w, factors, (4, 4))
    assert (np.abs(found.weights).max(2) == 127).all()
    u = transformed_filters(w, byte_matrix(4), byte_matrix(4)).reshape(36, 6, 8)
    error = found.weights * found.units[:, :, None] - u * (32768 / factors[:, None, :])
    assert np.abs(error / found.units[:, :, None]).max() < 0.5001
    assert not byte_filters(np.zeros((2, 3, 3, 3), np.int8), factors[:, :3], (4, 4)).weights.any()


# Places -------------------------------------------------------------------------------------------


def place(digits: Digits, number: int) -> int:
    at = 0
    for extent, stride in digits:
        at, number = at + number % extent * stride, number // extent
    return at


@pytest.mark.parametrize("order", [(0, 1, 2, 3, 4), (4, 2, 0, 3, 1), (1, 3, 4, 0, 2)])
def test_digits_find_every_place(order: tuple[int, ...]) -> None:
    shape = (4, 2, 3, 2, 5)
    lie = np.empty(np.prod(shape), np.int64)
    lie[np.arange(len(lie)).reshape(shape).transpose(order).reshape(-1)] = np.arange(len(lie))
    digits = digits_of(lie)
    assert [place(digits, i) for i in range(len(lie))] == lie.tolist()


def test_what_is_no_number_of_digits_is_refused() -> None:
    with pytest.raises(ValueError, match="mixed radix"):
        digits_of(np.array([0, 1, 3, 4, 5, 7]))


def test_channels_without_places_are_left_out() -> None:
    def arrange(numbers: Array) -> Array:
        return numbers.reshape(2, 3, 2, 4)[..., :3].swapaxes(2, 3)

    found = places_of(arrange, (2, 3, 8), np.array([0, 1, 2, 4, 5, 6]))
    assert (found.tap, found.filters, found.channels) == (18, ((3, 6),), ((3, 2), (2, 1)))
    with pytest.raises(ValueError, match="apart"):
        places_of(arrange, (2, 3, 8))


def test_taps_that_order_channels_each_in_its_way_are_refused() -> None:
    def arrange(numbers: Array) -> Array:
        return np.concatenate([numbers[:1], numbers[1:, :, ::-1]])

    with pytest.raises(ValueError, match="apart"):
        places_of(arrange, (2, 2, 2))
