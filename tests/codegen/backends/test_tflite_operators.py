"""Every operator that rounds as TFLite does: LiteRT's reference kernels give the interpreter's bytes."""

from __future__ import annotations

from types import ModuleType

import numpy as np
import pytest

from secateur.ir.graph import Graph
from secateur.ir.interpreter import run
from secateur.ir.ops.quantize import quant_attributes
from secateur.ir.reference import fixed_point, fixed_softmax, tflite, tflite_kernels
from secateur.ir.reference.byte_functions import FIXED, TABLES
from secateur.ir.reference.fixed_point import Integers
from secateur.ir.registry import create
from secateur.ir.types import DType, Quant, TensorType

from ...sampled import sampled
from .litert import check_agrees, file_of, litert
from .random_bytes import GENERATORS, random_graph


@pytest.mark.parametrize("seed", sampled(range(24), range(10)))
@pytest.mark.parametrize("kind", GENERATORS)
def test_an_operator_gives_litert_s_bytes(kind: str, seed: int) -> None:
    check_agrees(random_graph(kind, seed), seed, ["litert", "edgetpu"][seed % 2])


def _single_rounding(x: Integers, multiplier: Integers | int, shift: Integers | int) -> Integers:
    """What TFLite's kernels compute when they are built to round once."""
    wide = x.astype(object) * multiplier
    down = 31 - np.asarray(shift, object)
    found: Integers = ((wide + 2 ** (down - 1)) // 2**down).astype(np.int64)
    return found


def _half_up(x: Integers, bits: Integers | int) -> Integers:
    found: Integers = np.where(np.asarray(bits) > 0, (x + (1 << np.maximum(bits, 1) - 1)) >> bits, x)
    return found


def _by_float32(x: Integers, multiplier: Integers | int, shift: Integers | int) -> Integers:
    """Our other definition: one rounding of a product in float32."""
    factor = (np.asarray(multiplier, np.float64) * 2.0 ** (np.asarray(shift) - 31)).astype(np.float32)
    found: Integers = np.rint(x.astype(np.float32) * factor).astype(np.int64)
    return found


def _down(x: Integers, bits: Integers | int) -> Integers:
    found: Integers = x >> bits
    return found


def _floored(x: Integers, multiplier: Integers | int, shift: Integers | int) -> Integers:
    """Not rounded at all."""
    found: Integers = (x.astype(object) * multiplier // 2 ** (31 - np.asarray(shift, object))).astype(
        np.int64
    )
    return found


USUAL = ("convolution", "product", "add", "mul")
ALONE = ("slopes", "spread", "products")


@pytest.mark.parametrize(
    ("place", "name", "wrong", "kinds"),
    [
        (tflite, "rescaled", _single_rounding, USUAL),
        (tflite, "rescaled", _by_float32, USUAL),
        (fixed_point, "divided", _half_up, USUAL),
        *((tflite_kernels, "rescaled", _single_rounding, (kind,)) for kind in ALONE),
        (tflite_kernels, "rescaled", _floored, ("difference",)),
        (fixed_softmax, "divided", _down, ("softmax",)),
        (tflite_kernels, "UNIT_BITS", 11, ("interpolated",)),
    ],
)
def test_a_wrong_rounding_is_found(
    monkeypatch: pytest.MonkeyPatch, place: ModuleType, name: str, wrong: object, kinds: tuple[str, ...]
) -> None:
    """Rounded once, in float32, halves up, down, or with finer weights."""
    monkeypatch.setattr(place, name, wrong)
    with pytest.raises(AssertionError, match="not equal"):
        _check_many(kinds)


def _check_many(kinds: tuple[str, ...]) -> None:
    for seed in range(60):
        for kind in kinds:
            check_agrees(random_graph(kind, seed), seed)


FULL_BYTE = np.arange(256, dtype=np.uint8).reshape(1, 16, 4, 4)


@pytest.mark.parametrize("seed", range(12))
@pytest.mark.parametrize("function", TABLES)
def test_a_function_of_a_byte_is_litert_s(function: str, seed: int) -> None:
    """Every byte, between quantizations that a network may have."""
    rng = np.random.default_rng([seed, len(function)])
    x = Quant((float(np.float32(10 ** rng.uniform(-3, 0))),), (int(rng.integers(256)),))
    own = Quant((float(np.float32(x.scales[0] * 10 ** rng.uniform(-1, 1))),), (int(rng.integers(256)),))
    y = FIXED.get(function, own)
    graph = Graph()
    value = graph.add_input(TensorType(FULL_BYTE.shape, DType.U8, quant=x), "x")
    table = graph.append(create("nn.constant", [], {"value": TABLES[function](x, y)})).result
    attributes = {"function": function, **quant_attributes(y)}
    made = graph.append(create("q.table", [value, table], attributes)).result
    graph.set_outputs([made], ["y"])
    inputs = {"x": FULL_BYTE}
    np.testing.assert_array_equal(litert(file_of(graph), inputs)["y"], run(graph, inputs)["y"])
