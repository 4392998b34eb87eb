"""Element-wise kernels against the interpreter: every layout they offer, ragged shapes, element types."""

from __future__ import annotations

import math

import numpy as np
import pytest

from secateur.codegen.backends.cpu.primitives import PRIMITIVES
from secateur.codegen.targets.target import Target
from secateur.ir.elementwise import FUNCTIONS, Step
from secateur.ir.types import DType

from ...generic_harness import BOTH, RUNNABLE, check, every_target, operator, rand, run, whole

FLOATS = ("float32", "float16", "float64")
INTEGERS = ("int8", "uint16", "int32", "uint64")


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
    assert run(PRIMITIVES.candidates(op)[0], op, [x, y], RUNNABLE[0]).tolist() == [-(2**31), 0, -3, -2]


@every_target
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


def test_equal_operators_make_equal_kernels() -> None:
    """Merging kernels relies on it: weights and names are no part of a specification."""
    arrays = [rand(1, 20, 5, 7), rand(20, 1, 1)]
    others = [rand(1, 20, 5, 7), rand(20, 1, 1)]
    ops = [operator("add", a, {}, (1,)) for a in (arrays, others)]
    first, second = (PRIMITIVES.candidates(op)[0].kernel(op, RUNNABLE[0]) for op in ops)
    assert repr(first.spec) == repr(second.spec)
    different = operator("sub", arrays, {}, (1,))
    assert repr(PRIMITIVES.candidates(different)[0].kernel(different, RUNNABLE[0]).spec) != repr(first.spec)
