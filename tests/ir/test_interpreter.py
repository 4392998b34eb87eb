"""The interpreter against sums written out by hand, and what it refuses.

ONNX's own suite (`tests/onnx/test_suite.py`) holds every operator against expected outputs; here the
windows run over many more shapes, and quantization over every value.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from secateur.ir.elementwise import FUNCTIONS, Step, apply_epilogue
from secateur.ir.errors import SecateurError
from secateur.ir.graph import Graph, Value
from secateur.ir.interpreter import evaluate, run
from secateur.ir.parser import parse_graph
from secateur.ir.registry import create
from secateur.ir.types import DType, Quant, TensorType

Array = NDArray[Any]
Geometry = dict[str, tuple[int, ...]]


def one(name: str, arrays: Sequence[Array], **attributes: Any) -> Array:
    """The result of one operator on arrays."""
    values = [Value(TensorType(a.shape, DType.of(a.dtype))) for a in arrays]
    return evaluate(create(name, values, attributes), arrays)[0]


def random(seed: int, *shape: int) -> Array:
    """Small whole numbers, whose sums float32 holds exactly."""
    return np.random.default_rng(seed).integers(-4, 5, shape).astype(np.float32)


def several(low: int, high: int, count: int) -> st.SearchStrategy[tuple[int, ...]]:
    return st.lists(st.integers(low, high), min_size=count, max_size=count).map(tuple)


@st.composite
def geometries(draw: st.DrawFn) -> tuple[tuple[int, ...], tuple[int, ...], Geometry]:
    """Input extents, kernel extents and a window that fits them."""
    n = draw(st.integers(1, 2))
    kernel, strides = draw(several(1, 3, n)), draw(several(1, 3, n))
    dilations, pads = draw(several(1, 2, n)), draw(several(0, 2, 2 * n))
    least = [
        max(1, (k - 1) * d + 1 - pads[i] - pads[n + i])
        for i, (k, d) in enumerate(zip(kernel, dilations, strict=True))
    ]
    size = tuple(draw(st.integers(low, low + 4)) for low in least)
    return size, kernel, {"strides": strides, "dilations": dilations, "pads": pads}


def positions(out: tuple[int, ...], kernel: tuple[int, ...], g: Geometry) -> Any:
    """Each pair of an output position, a tap, and the input position under it."""
    for at in itertools.product(*map(range, out)):
        for tap in itertools.product(*map(range, kernel)):
            under = tuple(o * s + t * d - p for o, s, t, d, p in
                          zip(at, g["strides"], tap, g["dilations"], g["pads"], strict=False))  # fmt: skip
            yield at, tap, under


def inside(at: tuple[int, ...], size: tuple[int, ...]) -> bool:
    return all(0 <= a < s for a, s in zip(at, size, strict=True))


@given(geometries(), st.sampled_from([(1, 1, 2), (2, 2, 1), (3, 1, 1), (2, 1, 2)]), st.integers(0, 99))
def test_conv(geometry: Any, channels: tuple[int, int, int], seed: int) -> None:
    (size, kernel, g), (groups, per_group, outs) = geometry, channels
    x, w = random(seed, 2, groups * per_group, *size), random(seed + 1, groups * outs, per_group, *kernel)
    found = one("nn.conv", [x, w], groups=groups, **g)
    wanted = np.zeros_like(found)
    for at, tap, under in positions(found.shape[2:], kernel, g):
        if inside(under, size):
            for m in range(groups * outs):
                own = x[(slice(None), slice(m // outs * per_group, (m // outs + 1) * per_group), *under)]
                wanted[(slice(None), m, *at)] += own @ w[(m, slice(None), *tap)]
    np.testing.assert_array_equal(found, wanted)


@given(geometries(), st.integers(0, 1), st.integers(0, 99))
def test_conv_transpose(geometry: Any, more: int, seed: int) -> None:
    size, kernel, g = geometry
    n = len(size)
    g["pads"] = (0,) * (2 * n)
    x, w = random(seed, 1, 2, *size), random(seed + 1, 2, 3, *kernel)
    found = one("nn.conv_transpose", [x, w], output_padding=(more,) * n, **g)
    wanted = np.zeros_like(found)
    for at, tap, under in positions(size, kernel, g):
        wanted[(0, slice(None), *under)] += x[(0, slice(None), *at)] @ w[(slice(None), slice(None), *tap)]
    np.testing.assert_array_equal(found, wanted)


@given(geometries(), st.booleans(), st.booleans(), st.integers(0, 99))
def test_pools(geometry: Any, ceil: bool, include: bool, seed: int) -> None:
    size, kernel, g = geometry
    n, x = len(size), random(seed, 1, 1, *size)
    largest = one("nn.max_pool", [x], kernel=kernel, ceil_mode=ceil, **g)
    mean = one("nn.average_pool", [x], kernel=kernel, ceil_mode=ceil, count_include_pad=include, **g)
    met: dict[tuple[int, ...], list[float]] = {}
    counted: dict[tuple[int, ...], int] = {}
    padded = tuple(s + b + e for s, b, e in zip(size, g["pads"][:n], g["pads"][n:], strict=True))
    for at, _, under in positions(largest.shape[2:], kernel, g):
        within = inside(under, size)
        met.setdefault(at, []).extend([float(x[(0, 0, *under)])] if within else [])
        shifted = tuple(u + b for u, b in zip(under, g["pads"][:n], strict=True))
        counted[at] = counted.get(at, 0) + (inside(shifted, padded) if include else within)
    for at, elements in met.items():
        assert largest[(0, 0, *at)] == max(elements, default=-np.inf)
        if counted[at]:
            np.testing.assert_allclose(mean[(0, 0, *at)], sum(elements) / counted[at], rtol=1e-6)


EVERY = {DType.I8: np.arange(-128, 128), DType.U8: np.arange(256), DType.I16: np.arange(-(1 << 15), 1 << 15)}


@pytest.mark.parametrize("dtype", EVERY)
@pytest.mark.parametrize(("scale", "zero"), [(1.0, 0), (0.1, 7), (3e-5, 100), (1e30, 1)])
def test_quantize_returns_what_dequantize_gave(dtype: DType, scale: float, zero: int) -> None:
    stored = EVERY[dtype].astype(dtype.numpy)
    quant = Quant((scale,), (zero,))
    value = Value(TensorType(stored.shape, dtype, quant=quant))
    real = evaluate(create("q.dequantize", [value]), [stored])[0]
    np.testing.assert_array_equal(
        real, (stored.astype(np.int64) - zero).astype(np.float32) * np.float32(scale)
    )
    again = one("q.quantize", [real], scales=(scale,), zero_points=(zero,), dtype=dtype)
    np.testing.assert_array_equal(again, stored)


TIES = [
    (0.5, 0),
    (1.5, 2),
    (2.5, 2),
    (-0.5, 0),
    (-1.5, -2),
    (-2.5, -2),
    (0.49999997, 0),
    (126.5, 126),
    (127.5, 127),
]
LIMITS = [(1e9, 127), (-1e9, -128), (np.inf, 127), (-np.inf, -128), (np.nan, 0), (3e38, 127)]


@pytest.mark.parametrize(("x", "stored"), TIES + LIMITS)
def test_quantize_rounds_half_to_even_and_saturates(x: float, stored: int) -> None:
    found = one("q.quantize", [np.array([x], np.float32)], scales=(1.0,), zero_points=(0,), dtype=DType.I8)
    assert found.tolist() == [stored]


def test_quantize_adds_the_zero_point_before_it_saturates() -> None:
    found = one(
        "q.quantize", [np.array([-200, 200], np.float32)], scales=(1.0,), zero_points=(100,), dtype=DType.I8
    )
    assert found.tolist() == [-100, 127]


def test_quantize_by_channel() -> None:
    x = np.array([[1, 2], [1, 2]], np.float32)
    found = one("q.quantize", [x], scales=(1.0, 0.5), zero_points=(0, 1), axis=0, dtype=DType.U8)
    assert found.tolist() == [[1, 2], [3, 5]]


def test_integer_division_and_powers() -> None:
    x, y = np.array([7, -7, 7, -7, 5], np.int32), np.array([2, 2, -2, -2, 0], np.int32)
    assert one("nn.div", [x, y]).tolist() == [3, -3, -3, 3, 0]
    base, exponent = np.array([2, -1, 3, 0, 1], np.int64), np.array([10, -3, -1, -2, -5], np.int64)
    assert one("nn.pow", [base, exponent]).tolist() == [1024, -1, 0, 0, 1]


def test_half_precision_is_summed_in_single() -> None:
    x = np.full((1, 4096), 1, np.float16)
    assert one("nn.reduce_sum", [x], axes=(1,)).tolist() == [[4096]]
    assert one("nn.matmul", [x, np.full((4096, 1), 1, np.float16)]).tolist() == [[4096]]


@given(st.lists(st.sampled_from(sorted(FUNCTIONS)), max_size=4), st.integers(0, 99))
def test_an_epilogue_is_its_steps_one_by_one(names: list[str], seed: int) -> None:
    steps = tuple(Step(n, FUNCTIONS[n].defaults) for n in names)
    x = np.random.default_rng(seed).uniform(0.1, 2, (2, 3)).astype(np.float32)
    extras = [random(seed + i, 2, 1) for i, step in enumerate(steps) if step.function.arity == 2]
    rest, wanted = iter(extras), x
    for name in names:
        operands = [wanted, next(rest)] if FUNCTIONS[name].arity == 2 else [wanted]
        wanted = one(f"nn.{name}", operands)
    np.testing.assert_array_equal(one("nn.map", [x, *extras], epilogue=steps), wanted)
    with np.errstate(all="ignore"):
        np.testing.assert_array_equal(apply_epilogue(x, steps, extras), wanted)


def test_layouts_and_primitives_change_nothing() -> None:
    graph = parse_graph("""graph @main(%x: tensor<1x3x2x2xf32>) {
      %b = prim.relayout(%x) {primitive = "relayout"} : tensor<1x3x2x2xf32, NCHW8c>
      %r = prim.relu(%b) {primitive = "map"} : tensor<1x3x2x2xf32, NCHW8c>
      return %r as "y"
    }""")
    x = random(0, 1, 3, 2, 2)
    np.testing.assert_array_equal(run(graph, {"x": x})["y"], np.maximum(x, 0))


@pytest.fixture
def graph() -> Graph:
    return parse_graph('graph @main(%x: tensor<2xf32>) { %y = nn.relu(%x) : tensor<2xf32> return %y as "y" }')


def test_a_missing_input(graph: Graph) -> None:
    with pytest.raises(SecateurError, match="no array for input 'x'; given: none"):
        run(graph, {})


def test_an_unknown_input(graph: Graph) -> None:
    with pytest.raises(SecateurError, match="the graph has no input z"):
        run(graph, {"x": np.zeros(2, np.float32), "z": np.zeros(1)})


@pytest.mark.parametrize("array", [np.zeros(3, np.float32), np.zeros(2, np.float64)])
def test_an_input_that_does_not_fit(graph: Graph, array: Array) -> None:
    with pytest.raises(SecateurError, match="input 'x' is tensor<2xf32>, got float"):
        run(graph, {"x": array})


def test_an_index_out_of_range() -> None:
    graph = parse_graph("""graph @main(%x: tensor<2xf32>, %i: tensor<1xi64>) {
      %y = nn.gather(%x, %i) : tensor<1xf32>
      return %y as "y"
    }""")
    with pytest.raises(SecateurError, match="an index is outside axis 0 of extent 2"):
        run(graph, {"x": np.zeros(2, np.float32), "i": np.array([2])})


def test_cubic_taps_behind_a_border_are_brought_inside_one_by_one() -> None:
    """As in PyTorch and ONNX Runtime: half a pixel past 0 0 0 1 the outermost tap still reads the last 0."""
    row, grid = (np.array(a, np.float32) for a in ([[[[0, 0, 0, 1]]]], [[[[4 / 3, 0], [9, 0]]]]))
    found = one("nn.grid_sample", [row, grid], mode="cubic", padding="border", align_corners=True)
    np.testing.assert_allclose(found, [[[[1.09375, 1]]]], rtol=1e-6)
