"""Convolution quantized in the Winograd domain: every target gives the interpreter's bits."""

from __future__ import annotations

import re
from collections import Counter
from typing import Any

import numpy as np
import pytest

from secateur.codegen.backends.cpu.objects import assembly_of, build_object
from secateur.codegen.primitives.conv.winograd.int8 import LinearWinograd, pack
from secateur.codegen.primitives.conv.winograd.nest import kernel_of
from secateur.codegen.primitives.conv.winograd.plan import Blocking
from secateur.codegen.primitives.operator import Constant, to_layout
from secateur.codegen.targets.find import find
from secateur.codegen.targets.target import Target
from secateur.ir import interpreter
from secateur.ir.graph import Operator, Value
from secateur.ir.registry import create
from secateur.ir.types import DType, Quant, TensorType

from ....sampled import in_turn, sampled
from ...generic_harness import Array, call, from_layout, lay_out
from ...linear_harness import native_targets

TILES = ((2, 2), (4, 2), (2, 4), (4, 4))
X86 = native_targets()


def _constant(array: Array) -> Value:
    return create("nn.constant", [], {"value": array}).result


def layer(
    shape: tuple[int, int, int, int],
    filters: int,
    tile: tuple[int, int],
    *,
    pads: tuple[int, int, int, int] = (1, 1, 1, 1),
    zero: int = 0,
    result: int | None = 0,
    residual: bool = False,
    extreme: int | None = None,
    u: Array | None = None,
    words: int = 0,
) -> tuple[Operator, list[Array]]:
    """An operator and arrays for its operands; `result` is its zero point, None for float32.

    With `words` results are computed in them, by factors of so many bits. `extreme` fills input, weights and
    factors with their largest values, times its sign.
    """
    rng = np.random.default_rng(0)
    taps, channels = (tile[0] + 2) * (tile[1] + 2), shape[1]
    x = rng.integers(0, 256, shape).astype(np.uint8)
    u = rng.integers(-127, 128, (taps, filters, channels)).astype(np.int8) if u is None else u
    factors = rng.integers(100, 4000, (taps, channels)).astype(np.int16)
    if extreme is not None:
        x[:], u[:], factors[:] = 255, 127 * extreme, 32767
    scales = (rng.uniform(0.5, 2, (taps, filters)) / (127 * 40 * np.sqrt(channels))).astype(np.float32)
    bias = 10 * rng.standard_normal(filters).astype(np.float32)
    arrays: list[Array] = [x, u, factors, scales, bias]
    operands = [
        Value(TensorType(shape, DType.U8, quant=Quant((0.05,), (zero,))), "x"),
        *map(_constant, arrays[1:]),
    ]
    sides = shape[2] + pads[0] + pads[2] - 2, shape[3] + pads[1] + pads[3] - 2
    if residual:
        arrays.append(rng.integers(0, 256, (shape[0], filters, *sides)).astype(np.uint8))
        operands.append(Value(TensorType(arrays[-1].shape, DType.U8, quant=Quant((0.07,), (5,))), "r"))
    attributes: dict[str, Any] = {"tile": tile, "pads": pads, "dtype": DType.F32}
    if result is not None:
        attributes = {
            "tile": tile,
            "pads": pads,
            "scales": (0.03,),
            "zero_points": (result,),
            "limits": (result, 250),
        }
    if words:
        attributes |= {"results": "words", "factor_bits": words}
    return create("q.winograd_conv", operands, attributes), arrays


def compiled(op: Operator, arrays: list[Array], target: Target) -> Array:
    primitive = LinearWinograd()
    assert primitive.applicable(op, target) is None
    ((operands, result),) = primitive.layouts(op, target)
    lay_out(op, operands, result)
    inputs = [
        a.array if isinstance(a, Constant) else to_layout(arrays[a.index], operands[a.index])
        for a in primitive.arguments(op, target)
    ]
    return from_layout(call(primitive.kernel(op, target), inputs, op.result.type, target), op.result.type)


def check(target: Target, *args: Any, **options: Any) -> None:
    op, arrays = layer(*args, **options)
    wanted = interpreter.evaluate(op, arrays)[0]
    assert np.unique(wanted).size > 3 or options.get("extreme")
    np.testing.assert_array_equal(compiled(op, arrays, target), wanted)


@pytest.mark.parametrize("tile", TILES)
@pytest.mark.parametrize("target", X86, ids=lambda t: t.name)
def test_bits(target: Target, tile: tuple[int, int]) -> None:
    check(target, (1, 32, 9, 11), 32, tile)
    check(target, (2, 20, 10, 7), 40, tile, zero=7, result=3, residual=True)


@pytest.mark.parametrize("tile", sampled(TILES, TILES[1::2]))
def test_ragged_edges_and_zero_points(tile: tuple[int, int]) -> None:
    check(X86[0], (1, 64, 6, 5), 16, tile, pads=(0, 1, 2, 0), zero=128)
    for target in (X86[0], X86[-1]):
        check(target, (1, 16, 3, 3), 36, tile, pads=(0, 0, 0, 0), zero=255, result=None)


@pytest.mark.parametrize("sign", [1, -1])
@pytest.mark.parametrize("zero", [0, 255])
def test_saturation(sign: int, zero: int) -> None:
    check(X86[0], (1, 32, 8, 8), 16, (4, 4), zero=zero, extreme=sign)
    check(X86[-1], (1, 32, 8, 8), 16, (2, 2), zero=zero, extreme=sign)


def test_several_blocks_of_tiles_and_ranges_of_filters(monkeypatch: pytest.MonkeyPatch) -> None:
    blocking = Blocking(tiles=12, rows=4, vectors=1, channels=64, filters=32, ahead=256)
    monkeypatch.setattr(LinearWinograd, "blocking", lambda *_: blocking)
    op, arrays = layer((1, 64, 18, 19), 64, (4, 4))
    assert LinearWinograd().kernel(op, X86[0]).tasks == 6
    np.testing.assert_array_equal(compiled(op, arrays, X86[0]), interpreter.evaluate(op, arrays)[0])


def test_a_wrong_bit_is_seen() -> None:
    op, arrays = layer((1, 32, 8, 8), 16, (4, 4))
    answer = compiled(op, arrays, X86[0])
    arrays[2] = arrays[2] + 40  # a factor off by a hundredth
    assert (answer != interpreter.evaluate(op, arrays)[0]).any()


@pytest.mark.parametrize("target", X86, ids=lambda t: t.name)
def test_words(target: Target) -> None:
    tiles = in_turn(TILES, X86.index(target), len)
    for tile in tiles:
        check(target, (1, 20, 9, 11), 40, tile, zero=7, result=3, words=15)
    check(target, (1, 32, 12, 8), 16, (4, 4), words=13, residual=True)
    check(target, (1, 32, 8, 8), 32, (4, 4), words=15, residual=True, zero=255, extreme=-1)


@pytest.mark.parametrize("filters", [16, 48])
def test_words_of_eight_filters_lie_side_by_side(filters: int) -> None:
    """Whatever a register tile has."""
    shape = LinearWinograd().shape(layer((1, 64, 28, 28), filters, (4, 4), words=13)[0], find("rpi4"))
    for numbers in shape.blockings(find("rpi4")):
        blocking = Blocking(*numbers)
        assert shape.together(blocking) == max(8, shape.width(blocking))
        assert blocking.filters % shape.together(blocking) == 0


def test_computed_weights_are_refused() -> None:
    op, _ = layer((1, 16, 8, 8), 16, (2, 2))
    op.operands = [op.operands[0], Value(op.operands[1].type, "u"), *op.operands[2:]]
    assert LinearWinograd().applicable(op, X86[0]) == "needs constant weights"


def test_packed_weights_keep_every_weight_once() -> None:
    op, arrays = layer((1, 20, 8, 8), 40, (2, 2))
    primitive = LinearWinograd()
    shape, blocking = primitive.shape(op, X86[0]), primitive.blocking(op, X86[0])
    quads, start, *_ = pack(shape, blocking, *arrays[1:])
    assert np.abs(quads.astype(int)).sum() == np.abs(arrays[1].astype(int)).sum()
    assert start.sum() == -128 * arrays[1].sum(dtype=int)


def test_bytes_become_words_as_they_are_added() -> None:
    """On the A72, in tiles inside the image; those at the border are masked first."""
    target, (op, _) = find("rpi4"), layer((1, 16, 24, 24), 16, (4, 4))
    lay_out(op, *LinearWinograd().layouts(op, target)[0])
    assembly = assembly_of(build_object(LinearWinograd().kernel(op, target), "k", target), target)
    columns, found = 6, Counter(re.findall(r"\b(usubl|usubw|uaddw)\b", assembly))
    assert found["usubl"] >= 2 * columns
    assert found["usubw"] >= 4 * columns
    assert found["uaddw"] >= 4 * columns


def test_sums_of_register_tiles_are_stored_by_addresses_that_move_on() -> None:
    """Where an index would be scaled and extended for each, in two instructions."""
    target, (op, _) = find("rpi4"), layer((1, 16, 24, 24), 16, (4, 4))
    lay_out(op, *LinearWinograd().layouts(op, target)[0])
    built = build_object(LinearWinograd().kernel(op, target), "k", target)
    assert set(re.findall(r"call [^@\n]*@secateur_stream_put_(\w+)\(", built.texts["ll"])) == {"float32x4"}


def test_tiles_that_ask_for_weights_share_no_code_with_others() -> None:
    """LLVM would move the ends of both to one place, and copy halves of registers for it."""
    target = find("rpi4")
    op, _ = layer((1, 64, 28, 28), 16, (4, 4), u=np.full((36, 16, 64), 63, np.int8), words=13)
    primitive = LinearWinograd()
    lay_out(op, *primitive.layouts(op, target)[0])
    blocking = primitive.blocking(op, target)._replace(ahead=2048)
    kernel = kernel_of(primitive.name, primitive.shape(op, target), blocking)
    assembly = assembly_of(build_object(kernel, "k", target), target)
    assert "prfm" in assembly
    assert not re.search(r"\bext\b", assembly)
