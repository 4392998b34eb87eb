"""8-bit operators other than products, against the interpreter, to the bit."""

from __future__ import annotations

import math
from functools import partial
from itertools import product
from typing import Any

import numpy as np
import pytest

from secateur.codegen.backends.cpu.primitives import PRIMITIVES
from secateur.codegen.targets.rows import TARGETS as ALL_TARGETS
from secateur.codegen.targets.target import Target
from secateur.ir.graph import Operator, Value
from secateur.ir.registry import create
from secateur.ir.types import DType, TensorType

from ...sampled import sampled_rows
from ..bytes_harness import REAL, activation, agree, runnable, slopes, some_bytes, stored

TARGETS = runnable()
PLAIN, BLOCKED, QUAD = "NCHW", "NCHW16c", "NCHW4c"
BOTH = {(PLAIN, PLAIN), (BLOCKED, BLOCKED)}
SHAPES = [(2, 20, 5, 7), (1, 32, 6, 6), (1, 3, 9, 11), (2, 3, 2, 2), (1, 16, 1, 1), (2, 4, 5)]


@pytest.fixture(params=TARGETS, ids=lambda t: t.name)
def target(request: pytest.FixtureRequest) -> Target:
    found: Target = request.param
    return found


# Layouts


@pytest.mark.parametrize("shape", [*SHAPES, (1, 5, 37, 40), (2, 40, 9, 9)])
def test_relayout_between_all_three(shape: tuple[int, ...], target: Target) -> None:
    pairs = agree(lambda: create("nn.relayout", [activation(shape)]), [some_bytes(shape)], target)
    assert pairs == {(a, b) for a in (PLAIN, BLOCKED, QUAD) for b in (PLAIN, BLOCKED, QUAD) if a != b}


WINDOWS = [
    ((2, 20, 9, 9), {"kernel": (3, 3), "strides": (2, 2), "pads": (1, 1, 1, 1)}),
    ((1, 3, 12, 13), {"kernel": (3, 2), "strides": (2, 2), "pads": (1, 0, 1, 1), "ceil_mode": True}),
    ((1, 32, 7, 7), {"kernel": (7, 7), "strides": (1, 1), "pads": (0, 0, 0, 0)}),
    ((1, 5, 14, 15), {"kernel": (3, 3), "strides": (1, 2), "pads": (2, 1, 0, 2), "dilations": (2, 2)}),
    ((1, 20, 40), {"kernel": (3,), "strides": (2,), "pads": (1, 1)}),
]  # fmt: skip


def _window(attributes: dict[str, Any]) -> dict[str, Any]:
    return {"dilations": (1,) * len(attributes["kernel"]), **attributes}


@pytest.mark.parametrize(("shape", "attributes"), WINDOWS)
def test_max_pool(shape: tuple[int, ...], attributes: dict[str, Any], target: Target) -> None:
    def make() -> Operator:
        return create("nn.max_pool", [activation(shape)], _window(attributes))

    assert agree(make, [some_bytes(shape)], target) == BOTH


@pytest.mark.parametrize("channels", [(32, 16), (20, 7, 40), (3, 3, 3)])
def test_concat_of_channels(channels: tuple[int, ...], target: Target) -> None:
    shapes = [(1, c, 5, 3) for c in channels]
    arrays = [some_bytes(s) for s in shapes]
    assert agree(lambda: create("nn.concat", [*map(activation, shapes)], {"axis": 1}), arrays, target) == BOTH


def test_slice_and_pad(target: Target) -> None:
    whole = {"starts": (0, 16, 1, 0), "sizes": (2, 24, 3, 5), "steps": (1, 1, 2, 1)}
    pads = {"pads": (0, 0, 2, 3, 0, 0, 1, 4), "value": 7.0}
    shape = (2, 40, 7, 5)
    assert agree(lambda: create("nn.slice", [activation(shape)], whole), [some_bytes(shape)], target) == BOTH
    shape = (2, 32, 5, 5)
    assert agree(lambda: create("nn.pad", [activation(shape)], pads), [some_bytes(shape)], target) == BOTH


def test_nearest_resize(target: Target) -> None:
    shape = (2, 20, 5, 6)
    attributes = {"shape": (2, 20, 10, 13), "scales": (1.0, 1.0, 2.0, 13 / 6), "mode": "nearest"}
    offered = agree(lambda: create("nn.resize", [activation(shape)], attributes), [some_bytes(shape)], target)
    assert offered == BOTH


@pytest.mark.parametrize("kind", ["max", "min"])
def test_extremes_of_pixels(kind: str, target: Target) -> None:
    def make() -> Operator:
        return create(f"nn.reduce_{kind}", [activation((2, 20, 5, 6))], {"axes": (2, 3)})

    assert agree(make, [some_bytes((2, 20, 5, 6))], target) == BOTH


def test_channels_of_one_pixel_are_a_view(target: Target) -> None:
    def make() -> Operator:
        return create("nn.reshape", [activation((1, 40, 1, 1))], {"shape": (1, 40)})

    assert agree(make, [some_bytes((1, 40, 1, 1))], target) == {(PLAIN, PLAIN), (BLOCKED, PLAIN)}


# Between floats and bytes


def _quantize(shape: tuple[int, ...], zero: int) -> Operator:
    attributes = {"scales": (0.1,), "zero_points": (zero,), "dtype": DType.U8}
    return create("q.quantize", [Value(TensorType(shape), "x")], attributes)


def _floats(shape: tuple[int, ...]) -> Any:
    x = (20 * np.random.default_rng(3).standard_normal(math.prod(shape))).astype(np.float32)
    special = [math.nan, math.inf, -math.inf, 1e30, -0.15, 0.25, 0.05]
    x[: len(special)] = special[: x.size]
    return x.reshape(shape)


shape_and_zero = pytest.mark.parametrize(
    ("shape", "zero"),
    sampled_rows(
        product([*SHAPES, (7,), (100,), (3, 0)], (0, 7, 255)),
        lambda shape, zero: zero == 7 or shape in (SHAPES[0], (100,)),
    ),
)


@shape_and_zero
def test_quantize(shape: tuple[int, ...], zero: int, target: Target) -> None:
    offered = agree(lambda: _quantize(shape, zero), [_floats(shape)], target)
    assert (PLAIN, PLAIN) in offered
    if len(shape) > 2:
        assert (PLAIN, QUAD if shape[1] <= 4 else BLOCKED) in offered
        assert (f"NCHW{target.lanes}c", BLOCKED) in offered


@shape_and_zero
def test_dequantize(shape: tuple[int, ...], zero: int, target: Target) -> None:
    def make() -> Operator:
        return create("q.dequantize", [activation(shape, zero)])

    offered = agree(make, [some_bytes(shape)], target)
    blocks = (BLOCKED, f"NCHW{target.lanes}c")
    assert len(shape) < 3 or {(PLAIN, PLAIN), (BLOCKED, PLAIN), blocks} <= offered


# Sums, products, averages

PAIRS = [
    ((2, 20, 5, 7), (2, 20, 5, 7)),
    ((1, 32, 6, 6), (1, 32, 6, 6)),
    ((2, 20, 5, 7), (2, 20, 1, 1)),
    ((1, 48, 6, 6), (1, 48, 1, 1)),
    ((2, 20, 5, 7), (2, 1, 5, 7)),
    ((1, 16, 3), (1, 1, 1)),
]
RESULTS = [stored(), stored(9, (9, 200)), stored(255, (0, 255), 0.5), REAL]


def _pair(function: str, a: tuple[int, ...], b: tuple[int, ...], result: dict[str, Any]) -> Operator:
    return create(f"q.linear_{function}", [activation(a, 5), activation(b, 200, 0.03)], result)


@pytest.mark.parametrize("result", RESULTS)
@pytest.mark.parametrize("function", ["add", "mul"])
@pytest.mark.parametrize(("a", "b"), PAIRS)
def test_pair(a: tuple[int, ...], b: tuple[int, ...], function: str, result: dict[str, Any]) -> None:
    for kind in ("any", "extreme"):
        arrays = [some_bytes(a, kind), some_bytes(b, kind)]
        offered = agree(lambda: _pair(function, a, b, result), arrays, TARGETS[0])
        assert offered == (BOTH if "scales" in result else {(PLAIN, PLAIN)})


@pytest.mark.parametrize("function", ["add", "mul"])
def test_pair_on_shorter_vectors(function: str, target: Target) -> None:
    for a, b in PAIRS[:3]:
        agree(partial(_pair, function, a, b, RESULTS[1]), [some_bytes(a), some_bytes(b)], target)


def test_pair_of_matrices_and_of_nothing() -> None:
    for shape in ((3, 37), (1, 1), (0, 4), (2, 0, 3, 3)):
        arrays = [some_bytes(shape), some_bytes(shape)]
        agree(partial(_pair, "add", shape, shape, RESULTS[0]), arrays, TARGETS[0])


@pytest.mark.parametrize("result", RESULTS)
@pytest.mark.parametrize("shape", [*SHAPES, (3, 37), (1, 1), (2, 0, 3, 3)])
def test_slopes_below_zero(shape: tuple[int, ...], result: dict[str, Any], target: Target) -> None:
    def make() -> Operator:
        return create("q.linear_prelu", [activation(shape, 99), slopes(shape)], result)

    for kind in ("any", "extreme"):
        values = make().operands[1].producer
        assert values is not None
        offered = agree(make, [some_bytes(shape, kind), values["value"]], target)
        blocked = "scales" in result and len(shape) > 2 and math.prod(shape) > 0
        assert offered == (BOTH if blocked else {(PLAIN, PLAIN)})


@pytest.mark.parametrize(("result", "padding"), [(stored(9), False), (stored(), True), (REAL, False)])
@pytest.mark.parametrize(
    ("shape", "attributes"),
    [*WINDOWS, ((1, 16, 22, 20), {"kernel": (20, 20), "strides": (1, 1), "pads": (0, 0, 0, 0)})],
)
def test_average_pool(
    shape: tuple[int, ...], attributes: dict[str, Any], padding: bool, result: dict[str, Any], target: Target
) -> None:
    def make() -> Operator:
        more = {"count_include_pad": padding, **result}
        return create("q.linear_average_pool", [activation(shape, 77)], {**_window(attributes), **more})

    for kind in ("any", "extreme"):
        offered = agree(make, [some_bytes(shape, kind)], target)
        gathered = {(BLOCKED, PLAIN)} if math.prod(make().result.type.shape[2:]) == 1 else set()
        assert offered == (BOTH if "scales" in result else {(PLAIN, PLAIN), *gathered})


@pytest.mark.parametrize("shape", [(2, 20, 5, 7), (1, 31, 3, 3), (2, 32, 4, 1), (1, 8, 1, 1)])
def test_average_of_an_image(shape: tuple[int, ...], target: Target) -> None:
    """Real results of one position each are row-major, also of an image in blocks."""
    whole = {"kernel": shape[2:], "strides": (1, 1), "pads": (0, 0, 0, 0), "dilations": (1, 1), **REAL}
    for kind in ("any", "extreme"):
        offered = agree(
            lambda: create("q.linear_average_pool", [activation(shape, 77)], whole),
            [some_bytes(shape, kind)],
            target,
        )
        assert offered == {(BLOCKED, PLAIN), (PLAIN, PLAIN)}


# Tables


def _table(shape: tuple[int, ...], values: Any) -> Operator:
    table = create("nn.constant", [], {"value": values}).result
    return create("q.table", [activation(shape), table], {"scales": (0.1,), "zero_points": (3,)})


@pytest.mark.parametrize("shape", [(2, 20, 5, 7), (1, 32, 6, 6), (3,), (100,), (2, 3, 60, 61), (0, 4)])
def test_table(shape: tuple[int, ...], target: Target) -> None:
    values = some_bytes((256,))
    offered = agree(partial(_table, shape, values), [some_bytes(shape), values], target)
    assert offered == (BOTH if len(shape) > 2 else {(PLAIN, PLAIN)})


def test_table_of_wider_elements() -> None:
    values = np.arange(256, dtype=np.int32)[::-1] * 1000
    offered = agree(partial(_table, (2, 3, 4, 5), values), [some_bytes((2, 3, 4, 5)), values], TARGETS[0])
    assert offered == {(PLAIN, PLAIN)}


# Refusals


def _refusal(primitive: str, op: Operator) -> str | None:
    (found,) = (p for p in PRIMITIVES.candidates(op) if p.name == primitive)
    return found.applicable(op, TARGETS[0])


def test_quantize_bytes_refuses_other_types_and_scales_along_an_axis() -> None:
    x = Value(TensorType((2, 3)), "x")
    signed = create("q.quantize", [x], {"scales": (1.0,), "zero_points": (0,), "dtype": DType.I8})
    assert _refusal("quantize_bytes", signed) == "converts between f32 and u8, not f32 and i8"
    along = {"scales": (1.0, 2.0), "zero_points": (0, 0), "axis": 0, "dtype": DType.U8}
    assert _refusal("quantize_bytes", create("q.quantize", [x], along)) == "needs one scale"


def test_bytes_tables_refuse_wider_elements_and_targets_without_lookups() -> None:
    wide = _table((4,), np.zeros(256, np.int32))
    assert _refusal("table_bytes", wide) == "the table is not of bytes"
    narrow = _table((4,), np.zeros(256, np.uint8))
    (found,) = (p for p in PRIMITIVES.candidates(narrow) if p.name == "table_bytes")
    assert found.applicable(narrow, ALL_TARGETS["armv7-a+neon"]) == "no lookups in registers of neon32"
