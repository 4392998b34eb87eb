"""The generic primitives against the interpreter: every layout they offer, ragged shapes, element types."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from secateur.codegen.primitives.loops import Nest
from secateur.codegen.primitives.movement import axis_segments, channel_runs
from secateur.codegen.primitives.registry import candidates
from secateur.codegen.primitives.shuffles import transpose
from secateur.codegen.targets import Target
from secateur.ir.elementwise import FUNCTIONS, Step
from secateur.ir.types import DType

from .generic_harness import Array, check, operator, run, runnable_targets

BOTH = {"plain", "blocked"}
TARGETS = runnable_targets()
FLOATS = ("float32", "float16", "float64")
INTEGERS = ("int8", "uint16", "int32", "uint64")
_RANDOM = np.random.default_rng(7)


def rand(*shape: int, dtype: Any = np.float32) -> Array:
    return _RANDOM.standard_normal(shape).astype(dtype)


def whole(*shape: int, dtype: Any = np.int32, high: int = 6) -> Array:
    return _RANDOM.integers(1, high, shape).astype(dtype)


@pytest.fixture(params=TARGETS, ids=lambda t: t.name)
def target(request: pytest.FixtureRequest) -> Target:
    found: Target = request.param
    return found


# Element-wise


def _parameters(name: str) -> dict[str, float]:
    return dict(zip(FUNCTIONS[name].params, (0.25, 0.75), strict=False))


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("name", [n for n in FUNCTIONS if n not in ("sqrt", "log", "pow", "rpow")])
def test_function(name: str, dtype: str) -> None:
    arrays = [rand(3, 37, dtype=dtype) for _ in range(FUNCTIONS[name].arity)]
    tolerance = 5e-3 if dtype == "float16" else 2e-6
    check(name, arrays, _parameters(name), rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("name", ["sqrt", "log", "pow", "rpow"])
def test_function_of_positive(name: str, dtype: str) -> None:
    arrays = [np.abs(rand(3, 37, dtype=dtype)) + np.asarray(0.1, dtype) for _ in range(FUNCTIONS[name].arity)]
    check(name, arrays, rtol=5e-3 if dtype == "float16" else 4e-6)


@pytest.mark.parametrize("dtype", INTEGERS)
@pytest.mark.parametrize("name", ["add", "sub", "mul", "div", "min", "max", "pow", "abs", "relu"])
def test_integer_function(name: str, dtype: str) -> None:
    check(name, [whole(3, 37, dtype=dtype) for _ in range(FUNCTIONS[name].arity)], rtol=0, atol=0)


def test_integer_division_has_no_traps() -> None:
    x = np.array([-(2**31), 7, -7, 5], np.int32)
    y = np.array([-1, 0, 2, -2], np.int32)
    op = operator("div", [x, y], {})
    assert run(candidates(op)[0], op, [x, y], TARGETS[0]).tolist() == [-(2**31), 0, -3, -2]


def test_chain_with_full_channel_and_scalar_operands(target: Target) -> None:
    steps = (Step("mul"), Step("add"), Step("sigmoid"), Step("sub"), Step("relu"))
    arrays = [rand(2, 20, 5, 7), rand(20, 1, 1), np.array(0.5, np.float32), rand(2, 20, 5, 7)]
    assert check("map", arrays, {"epilogue": steps}, constants=(1, 2), target=target) == BOTH


def test_constant_full_operand_is_packed() -> None:
    arrays = [rand(1, 20, 3, 3), rand(1, 20, 3, 3)]
    assert check("sub", arrays, constants=(0,)) == BOTH


@pytest.mark.parametrize("other", [(2, 20, 1, 1), (2, 1, 5, 7), (1, 20, 5, 7), (7,), (5, 1), ()])
def test_broadcast_of_computed_operands(other: tuple[int, ...]) -> None:
    assert check("add", [rand(2, 20, 5, 7), np.asarray(rand(*other))]) == BOTH


@pytest.mark.parametrize("shape", [(), (1,), (0, 3), (1, 1, 1), (2, 0, 4, 4), (100_003,)])
def test_odd_extents(shape: tuple[int, ...]) -> None:
    check("map", [np.asarray(rand(*shape))], {"epilogue": (Step("exp"),)})


@pytest.mark.parametrize("name", ["equal", "greater", "greater_equal", "less", "less_equal"])
@pytest.mark.parametrize("dtype", ["float32", "float64", "int8", "int64"])
def test_comparison(name: str, dtype: str) -> None:
    check(name, [whole(3, 37, dtype=dtype), whole(37, dtype=dtype)])


@pytest.mark.parametrize("name", ["and", "or", "xor", "not"])
def test_boolean(name: str) -> None:
    arrays = [whole(3, 37, high=3) > 1 for _ in range(1 if name == "not" else 2)]
    check(name, arrays)


def test_where_broadcasts() -> None:
    check("where", [whole(3, 1, high=3) > 1, rand(1, 37), rand(3, 37)])


@pytest.mark.parametrize("source", list(DType), ids=lambda d: d.value)
def test_cast(source: DType) -> None:
    x = np.abs(rand(40) * 3).astype(source.numpy)
    for to in (DType.F32, DType.F16, DType.I8, DType.U8, DType.I64, DType.BOOL):
        check("cast", [x], {"dtype": to})


def test_not_a_number_is_true() -> None:
    check("cast", [np.array([math.nan, 0, 1, math.inf], np.float32)], {"dtype": DType.BOOL})


# Pools


def _pool(
    kernel: tuple[int, ...], strides: tuple[int, ...], pads: tuple[int, ...], **more: Any
) -> dict[str, Any]:
    return {"kernel": kernel, "strides": strides, "pads": pads, "dilations": (1,) * len(kernel), **more}


POOLS = [
    ((2, 20, 12, 13), _pool((3, 3), (2, 2), (1, 1, 1, 1))),
    ((1, 20, 12, 13), _pool((3, 3), (1, 1), (1, 1, 1, 1))),
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


# Reductions

REDUCTIONS = [
    ((2, 20, 7, 7), (1,)),
    ((5, 100), (1,)),
    ((5, 100), (0,)),
    ((3, 4, 5, 6, 7), (1, 3)),
    ((3, 4, 5, 6, 7), (0, 2, 4)),
    ((7,), (0,)),
    ((3, 4), ()),
]


@pytest.mark.parametrize("kind", ["mean", "sum", "max", "min"])
@pytest.mark.parametrize(("shape", "axes"), REDUCTIONS)
def test_reduce(kind: str, shape: tuple[int, ...], axes: tuple[int, ...]) -> None:
    check(f"reduce_{kind}", [rand(*shape)], {"axes": axes, "keepdims": False}, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("kind", ["mean", "sum", "max", "min"])
def test_reduce_over_pixels_is_blocked(kind: str, target: Target) -> None:
    arrays = [rand(2, 20, 7, 7)]
    assert check(f"reduce_{kind}", arrays, {"axes": (2, 3)}, target=target, atol=1e-5) == BOTH


@pytest.mark.parametrize("axes", [(1,), (2,), (1, 2)])
def test_sum_of_nothing_is_zero(axes: tuple[int, ...]) -> None:
    check("reduce_sum", [rand(2, 0, 3)], {"axes": axes})


@pytest.mark.parametrize(("axis", "last"), [(0, False), (1, True), (-1, False)])
def test_argmax(axis: int, last: bool) -> None:
    check("argmax", [whole(3, 7, 19, dtype=np.float32)], {"axis": axis, "select_last": last})


# Movement


@pytest.mark.parametrize("perm", [(0, 2, 3, 1), (0, 3, 1, 2), (3, 2, 1, 0), (1, 0, 2, 3)])
@pytest.mark.parametrize("dtype", ["float32", "uint8", "int64"])
def test_transpose(perm: tuple[int, ...], dtype: str) -> None:
    check("transpose", [whole(2, 40, 17, 23, dtype=dtype, high=100)], {"perm": perm})


@pytest.mark.parametrize("mode", ["constant", "reflect", "edge", "wrap"])
def test_pad(mode: str) -> None:
    assert check("pad", [rand(2, 20, 5, 7)], {"pads": (0, 0, 2, 3, 0, 0, 1, 4), "mode": mode}) == BOTH
    check("pad", [rand(2, 3, 5, 7)], {"pads": (1, 0, -1, 3, 0, 2, 1, -2), "mode": mode})


def test_pad_that_wraps_twice() -> None:
    check("pad", [rand(3)], {"pads": (7, 8), "mode": "wrap"})


def test_pad_that_wraps_too_often_is_refused() -> None:
    op = operator("pad", [rand(2)], {"pads": (1000, 0), "mode": "wrap"})
    assert candidates(op)[0].applicable(op, TARGETS[0]) == "padding in 501 pieces, at most 256 are compiled"


def test_pad_with_a_value_keeps_padding_lanes_zero() -> None:
    ragged, full = ((1, c, 3, 3) for c in (5, 16))
    attributes = {"pads": (0, 0, 1, 1, 0, 0, 1, 1), "value": 1.5}
    assert check("pad", [rand(*ragged)], attributes) == {"plain"}
    assert check("pad", [rand(*full)], attributes) == BOTH


def test_slice_with_negative_steps() -> None:
    attributes = {"starts": (0, 16, 8, 1), "sizes": (2, 24, 5, 4), "steps": (1, 1, -2, 2)}
    assert check("slice", [rand(2, 40, 9, 10)], attributes) == BOTH
    check("slice", [rand(40)], {"starts": (38,), "sizes": (39,), "steps": (-1,)})


def test_slice_through_a_block_is_row_major() -> None:
    attributes = {"starts": (0, 3, 0, 0), "sizes": (1, 8, 3, 3), "steps": (1, 1, 1, 1)}
    assert check("slice", [rand(1, 32, 3, 3)], attributes) == {"plain"}


@pytest.mark.parametrize("channels", [(32, 16), (20, 7, 40), (5,), (3, 3, 3, 3, 3, 3)])
def test_concat_of_ragged_channels(channels: tuple[int, ...], target: Target) -> None:
    parts = [rand(2, c, 3, 3) for c in channels]
    assert check("concat", parts, {"axis": 1}, target=target, only="copy") == BOTH


def test_concat_along_other_axes_and_of_constants() -> None:
    check("concat", [rand(2, 20, 3, 3), rand(2, 20, 3, 1)], {"axis": -1})
    check("concat", [rand(2, 20), rand(3, 20)], {"axis": 0}, constants=(0,))
    check("concat", [rand(2, 20), rand(2, 0)], {"axis": 1})


@pytest.mark.parametrize("mode", ["DCR", "CRD"])
def test_depth_and_space(mode: str) -> None:
    check("depth_to_space", [rand(2, 12, 5, 6)], {"block": 2, "mode": mode})
    check("space_to_depth", [rand(2, 3, 6, 4)], {"block": 2, "mode": mode})


def test_expand_and_tile() -> None:
    check("expand", [rand(2, 1, 5)], {"shape": (3, 2, 4, 5)})
    assert check("expand", [rand(2, 20, 1, 1)], {"shape": (2, 20, 4, 5)}) == BOTH
    check("tile", [rand(2, 3, 4)], {"repeats": (2, 1, 3)})


@pytest.mark.parametrize("constants", [(), (0,), (1,)])
def test_gather(constants: tuple[int, ...]) -> None:
    indices = np.array([[0, -1, 2], [1, 1, 0]])
    check("gather", [rand(4, 5, 6), indices], {"axis": 1}, constants=constants)
    check("gather", [rand(4, 5, 6), indices.astype(np.int32)], {"axis": -1}, constants=constants)


def test_gather_outside_the_axis_reads_its_ends() -> None:
    arrays = [np.arange(4, dtype=np.float32), np.array([-9, 9])]
    op = operator("gather", arrays, {"axis": 0})
    assert run(candidates(op)[0], op, arrays, TARGETS[0]).tolist() == [0.0, 3.0]


@pytest.mark.parametrize(
    "shape", [(1, 64, 9, 9), (2, 20, 5, 7), (1, 3, 40, 40), (2, 16, 1, 1), (1, 37, 7, 7), (1, 5, 3)]
)
def test_relayout_both_ways(shape: tuple[int, ...], target: Target) -> None:
    assert check("relayout", [rand(*shape)], target=target) == BOTH


# Resize


def _resized(shape: tuple[int, ...], out: tuple[int, ...], **more: Any) -> set[str]:
    scales = tuple(float(o / i) for o, i in zip(out, shape, strict=True))
    return check("resize", [rand(*shape)], {"shape": out, "scales": scales, **more}, rtol=1e-5, atol=1e-5)


COORDINATES = ["half_pixel", "pytorch_half_pixel", "half_pixel_symmetric", "align_corners", "asymmetric"]


@pytest.mark.parametrize("mode", ["nearest", "linear", "cubic"])
@pytest.mark.parametrize("coordinates", COORDINATES)
def test_resize(mode: str, coordinates: str) -> None:
    assert _resized((2, 20, 5, 6), (2, 20, 10, 13), mode=mode, coordinates=coordinates) == BOTH


@pytest.mark.parametrize("mode", ["nearest", "linear", "cubic"])
def test_resize_of_other_axes(mode: str) -> None:
    _resized((3, 4, 5), (5, 3, 7), mode=mode)
    _resized((4, 5), (4, 9), mode=mode)
    _resized((4, 5), (9, 5), mode=mode)
    _resized((1, 2, 4, 5, 6), (1, 2, 4, 10, 7), mode=mode)


@pytest.mark.parametrize("mode", ["nearest", "linear", "cubic"])
def test_resize_crops(mode: str) -> None:
    roi = (0.0, 0.0, -0.2, 0.3, 1.0, 1.0, 0.7, 1.4)
    more = {"mode": mode, "coordinates": "tf_crop_and_resize", "roi": roi}
    assert _resized((1, 3, 9, 8), (1, 3, 20, 5), extrapolation=7.0, **more) == {"plain"}
    assert _resized((1, 3, 9, 8), (1, 3, 20, 5), extrapolation=0.0, **more) == BOTH


@pytest.mark.parametrize("mode", ["linear", "cubic"])
@pytest.mark.parametrize("exclude", [False, True])
def test_resize_shrinks_without_aliasing(mode: str, exclude: bool) -> None:
    _resized((1, 4, 19, 18), (1, 4, 5, 7), mode=mode, antialias=True, exclude_outside=exclude)


@pytest.mark.parametrize("rounding", ["round_prefer_floor", "round_prefer_ceil", "floor", "ceil"])
def test_resize_rounding(rounding: str) -> None:
    _resized((1, 4, 7, 7), (1, 4, 4, 10), rounding=rounding)


@pytest.mark.parametrize("dtype", ["uint8", "int64", "float64", "float16"])
def test_nearest_resize_of_any_type(dtype: str) -> None:
    attributes = {"shape": (1, 2, 8, 8), "scales": (1.0, 1.0, 2.0, 2.0)}
    check("resize", [whole(1, 2, 4, 4, dtype=dtype)], attributes, rtol=0, atol=0)


# Normalization


@pytest.mark.parametrize("name", ["softmax", "log_softmax"])
@pytest.mark.parametrize(
    ("shape", "axis"), [((3, 10), -1), ((2, 37, 5, 7), 1), ((1, 1000), 1), ((4, 2, 3), 0)]
)
def test_softmax(name: str, shape: tuple[int, ...], axis: int) -> None:
    check(name, [4 * rand(*shape)], {"axis": axis}, rtol=4e-6)


@pytest.mark.parametrize("dtype", ["float16", "float64"])
def test_softmax_of_other_types(dtype: str) -> None:
    check("softmax", [rand(3, 20, dtype=dtype)], {"axis": 1}, rtol=2e-3 if dtype == "float16" else 1e-7)


def test_softmax_does_not_overflow() -> None:
    check("softmax", [np.array([[1e4, 1e4, -1e4], [-1e30, 0, 88]], np.float32)], {"axis": 1})


@pytest.mark.parametrize("shape", [(2, 20, 5, 7), (2, 20, 9), (2, 20)])
@pytest.mark.parametrize("constants", [(1, 2, 3, 4), (), (2,)])
def test_batch_norm(shape: tuple[int, ...], constants: tuple[int, ...]) -> None:
    arrays = [rand(*shape), *(np.abs(rand(20)) for _ in range(4))]
    blocked = len(shape) > 2 and len(constants) == 4
    offered = check("batch_norm", arrays, {"epsilon": 1e-5}, constants=constants, rtol=1e-5, atol=1e-5)
    assert offered == (BOTH if blocked else {"plain"})


@pytest.mark.parametrize("shape", [(2, 20, 5, 7), (2, 20, 9)])
def test_instance_norm(shape: tuple[int, ...], target: Target) -> None:
    arrays = [rand(*shape), rand(20), rand(20)]
    assert check("instance_norm", arrays, constants=(1, 2), target=target, atol=1e-5) == BOTH
    assert check("instance_norm", arrays, target=target, atol=1e-5) == {"plain"}


def test_layer_norm() -> None:
    check("layer_norm", [rand(2, 5, 20), rand(20), rand(20)], {"axis": -1}, atol=1e-5)
    check("layer_norm", [rand(2, 5, 20), rand(20), rand(5, 20)], {"axis": 1}, constants=(1, 2), atol=1e-5)
    check("layer_norm", [rand(2, 5, 20), rand(5, 20), rand(1)], {"axis": 1}, atol=1e-5)


def test_layer_norm_refuses_partly_broadcast_operands() -> None:
    op = operator("layer_norm", [rand(2, 5, 20), rand(20), rand(20)], {"axis": 1})
    reason = candidates(op)[0].applicable(op, TARGETS[0])
    assert reason == "a computed scale or bias is broadcast along some axes only"


@pytest.mark.parametrize("shape", [(1, 64, 6, 7), (2, 20, 5, 7), (1, 3, 40)])
@pytest.mark.parametrize(("size", "beta"), [(5, 0.75), (4, 0.5), (1, 1.0)])
def test_lrn(shape: tuple[int, ...], size: int, beta: float, target: Target) -> None:
    attributes = {"size": size, "alpha": 0.1, "beta": beta, "bias": 2.0}
    assert check("lrn", [rand(*shape)], attributes, target=target, rtol=4e-6) == BOTH


def test_lrn_over_many_channels_is_row_major() -> None:
    assert check("lrn", [rand(1, 40, 3, 3)], {"size": 35}) == {"plain"}


# Products


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


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(("shape", "weights", "attributes"), TRANSPOSED)
def test_naive_transposed_convolution(
    shape: tuple[int, ...], weights: tuple[int, ...], attributes: dict[str, Any], dtype: str
) -> None:
    filters = weights[1] * attributes.get("groups", 1)
    bias = (filters, *(1,) * (len(shape) - 2))
    arrays = [rand(*s, dtype=dtype) for s in (shape, weights, bias)]
    check("conv_transpose", arrays, attributes, only="naive", rtol=1e-5, atol=1e-5)


# Quantization


@pytest.mark.parametrize("stored", [DType.I8, DType.U8, DType.I16, DType.I32], ids=lambda d: d.value)
@pytest.mark.parametrize("axis", [-1, 1])
def test_quantize_to_the_bit(stored: DType, axis: int) -> None:
    x = np.concatenate([50 * rand(35), [math.nan, math.inf, -math.inf, 1e30, -0.15]]).astype(np.float32)
    count = 1 if axis == -1 else 5
    scales, zeros = tuple(0.1 * (i + 1) for i in range(count)), tuple(range(count))
    attributes = {"scales": scales, "zero_points": zeros, "axis": axis, "dtype": stored}
    check("q.quantize", [np.tile(x, (2, 5, 1))], attributes, rtol=0, atol=0)


# Refusals


def _refusal(primitive: str, name: str, arrays: list[Array], attributes: dict[str, Any]) -> str | None:
    op = operator(name, arrays, attributes)
    (found,) = (p for p in candidates(op) if p.name == primitive)
    return found.applicable(op, TARGETS[0])


@pytest.mark.parametrize(
    ("primitive", "name", "arrays", "attributes", "reason"),
    [
        ("reduce_blocked", "reduce_mean", [rand(1, 4, 3, 3)], {"axes": (1,)}, "all their spatial axes"),
        ("reduce_blocked", "reduce_max", [rand(1, 4, 3, 3)], {"axes": (2, 3), "keepdims": False}, "as 1"),
        ("reduce_blocked", "reduce_sum", [rand(1, 4, 0, 3)], {"axes": (2, 3)}, "an empty tensor"),
        ("pool_blocked", "max_pool", [whole(1, 4, 3, 3)], POOLS[0][1], "only float32 and 8-bit tensors"),
        ("pool_blocked", "average_pool", [whole(1, 4, 3, 3)], POOLS[0][1], "only float32 tensors"),
        ("relayout", "relayout", [rand(3, 4)], {}, "with spatial axes"),
        ("relayout", "relayout", [whole(1, 4, 3, 3)], {}, "only float32 and 8-bit tensors"),
        ("resize_blocked", "resize", [rand(1, 4, 3, 3)],
         {"shape": (1, 8, 3, 3), "scales": (1.0, 2.0, 1.0, 1.0)}, "channels are resized"),
        ("lrn_blocked", "lrn", [rand(1, 64, 3, 3)], {"size": 99}, "channels on one side"),
        ("batch_norm", "batch_norm", [rand(1, 4, 3), *[rand(4)] * 4], {}, "computed at run time"),
        ("gather", "gather", [rand(0, 4), np.array([0])], {}, "nothing to pick"),
    ],
)  # fmt: skip
def test_refusal(
    primitive: str, name: str, arrays: list[Array], attributes: dict[str, Any], reason: str
) -> None:
    assert reason in (_refusal(primitive, name, arrays, attributes) or "nothing")


def test_relayout_needs_two_layouts() -> None:
    op = operator("relayout", [rand(1, 4, 3, 3)], {})
    with pytest.raises(ValueError, match="converts NCHW to NCHW"):
        candidates(op)[0].kernel(op, TARGETS[0])


def test_only_squares_of_powers_of_two_are_transposed() -> None:
    with pytest.raises(ValueError, match="3 rows: a power of two is needed"):
        transpose([None, None, None])


def test_a_nest_needs_a_stride_for_each_dimension() -> None:
    with pytest.raises(ValueError, match="do not fit extents"):
        Nest((2, 3), ((3, 1), (1,)))


# Kernels as values


def test_equal_operators_make_equal_kernels() -> None:
    """Merging kernels relies on it: weights and names are no part of a specification."""
    arrays = [rand(1, 20, 5, 7), rand(20, 1, 1)]
    others = [rand(1, 20, 5, 7), rand(20, 1, 1)]
    ops = [operator("add", a, {}, (1,)) for a in (arrays, others)]
    first, second = (candidates(op)[0].kernel(op, TARGETS[0]) for op in ops)
    assert repr(first.spec) == repr(second.spec)
    different = operator("sub", arrays, {}, (1,))
    assert repr(candidates(different)[0].kernel(different, TARGETS[0]).spec) != repr(first.spec)


@pytest.mark.parametrize(
    ("name", "shape", "attributes", "least"),
    [("relu", (4,), {}, 1), ("relu", (1, 64, 56, 56), {}, 8), ("relayout", (1, 3, 224, 224), {}, 4),
     ("softmax", (1, 21, 64, 64), {"axis": 1}, 8), ("transpose", (1, 64, 56, 56), {"perm": (0, 2, 3, 1)}, 8)],
)  # fmt: skip
def test_work_is_cut_into_tasks(
    name: str, shape: tuple[int, ...], attributes: dict[str, Any], least: int
) -> None:
    op = operator(name, [np.zeros(shape, np.float32)], attributes)
    primitive = candidates(op)[0]
    layouts, result = primitive.layouts(op, TARGETS[0])[0]
    op.operands[0].type = op.operands[0].type.with_layout(layouts[0])
    op.result.type = op.result.type.with_layout(result)
    tasks = primitive.kernel(op, TARGETS[0]).tasks
    assert tasks == 1 if least == 1 else least <= tasks <= 64


@pytest.mark.parametrize("mode", ["constant", "reflect", "edge", "wrap"])
@pytest.mark.parametrize(("begin", "end"), [(0, 0), (2, 3), (-1, 2), (3, -2), (-2, -1)])
def test_segments_cover_an_axis_once(mode: str, begin: int, end: int) -> None:
    covered = [p for s in axis_segments(5, begin, end, mode) for p in range(s.at, s.at + s.length)]
    assert sorted(covered) == list(range(5 + begin + end))


@pytest.mark.parametrize(("begin", "channels"), [(0, 32), (0, 20), (20, 7), (27, 40), (16, 3)])
def test_runs_stay_within_blocks(begin: int, channels: int) -> None:
    runs = channel_runs(begin, channels, 16)
    assert sum(count * blocks for _, count, blocks in runs) == channels
    for first, count, _ in runs:
        assert first % 16 + count <= 16
        assert (begin + first) % 16 + count <= 16
