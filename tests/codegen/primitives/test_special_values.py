"""NaN and infinities go where the interpreter says, in every kernel that is offered, on x86-64 and on ARM."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from itertools import product
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest

from secateur.codegen.backends.cpu.primitives import PRIMITIVES
from secateur.codegen.targets.rows import TARGETS
from secateur.codegen.targets.target import Target
from secateur.ir import interpreter
from secateur.ir.elementwise import FUNCTIONS

from ...sampled import in_turn, sampled_rows
from ..cross_harness import EMULATORS, FLOATS, HALF, Case, check_on
from ..generic_harness import Array, check, every_target, operator, rand

SPECIAL = (math.nan, math.inf, -math.inf, 0.0, -0.0, 1.0, -2.5, 3e4, 0.5, 6.0, -3.0)


class Asked(NamedTuple):
    """An operator; operands numbered in `constants` are constants."""

    name: str
    arrays: list[Array]
    attributes: dict[str, Any] = {}  # noqa: RUF012  (a named tuple's default, never changed)
    constants: tuple[int, ...] = ()


def spoiled(*shape: int, dtype: str = "float32") -> Array:
    """Copies of one random array along axis 0, with specials at every few places, alone and in pairs."""
    base = rand(*shape, dtype=dtype)
    step = max(1, base.size // 19)
    specials = [(a,) for a in SPECIAL[:3]] + [(a, b) for a in SPECIAL[:3] for b in SPECIAL[:3]]
    places = range(0, base.size, step)
    copies = [_marked(base, place, values) for values in specials for place in places]
    return np.concatenate([*copies, *(np.full_like(base, v) for v in SPECIAL[:3])])


def _marked(base: Array, place: int, values: Sequence[float]) -> Array:
    copy = base.copy()
    for i, value in enumerate(values):
        copy.flat[(place + 7 * i) % base.size] = value
    return copy


def _pairs(dtype: str) -> list[Array]:
    row, n = np.array(SPECIAL, dtype), len(SPECIAL)
    return [np.repeat(row, n).reshape(1, n, n, 1), np.tile(row, n).reshape(1, n, n, 1)]


PARAMETERS: dict[str, list[dict[str, float]]] = {
    "clip": [{"min": 0.0, "max": 6.0}, {"min": -1.0}, {"max": 1.0}, {"min": 2.0, "max": 1.0}],
    "leaky_relu": [{"alpha": 0.0}, {"alpha": -0.5}],
    "elu": [{"alpha": 0.0}],
    "hard_sigmoid": [{"alpha": 0.0}],
}
REVERSED = ("rsub", "rdiv", "rpow")  # steps of epilogues alone


def functions(dtype: str) -> Iterator[Asked]:
    """Every element-wise function, and parameters that invite to leave a multiplication out."""
    row = np.tile(np.array(SPECIAL, dtype), 5).reshape(1, 5, -1, 1)
    for function in FUNCTIONS.values():
        arrays = [row] if function.arity == 1 else _pairs(dtype)
        defaults = dict(zip(function.params, function.defaults, strict=True))
        for more in ({}, *PARAMETERS.get(function.name, [])):
            if function.name not in REVERSED:
                yield Asked(function.name, arrays, {**defaults, **more})


POOLS: tuple[tuple[tuple[int, ...], dict[str, Any]], ...] = (
    ((1, 5, 7, 7), {"kernel": (3, 3), "strides": (2, 2), "pads": (1,) * 4, "dilations": (1, 1)}),
    ((1, 3, 17), {"kernel": (3,), "strides": (1,), "pads": (1, 1), "dilations": (1,)}),
)


def extremes(dtype: str) -> Iterator[Asked]:
    """What picks a largest or smallest element."""
    for kind in ("max", "min"):
        for axes in ((2, 3), (1,)):
            yield Asked(f"reduce_{kind}", [spoiled(1, 5, 7, 7, dtype=dtype)], {"axes": axes})
        yield Asked(f"reduce_{kind}", [spoiled(1, 37, dtype=dtype)], {"axes": (1,)})
    for last in (False, True):
        yield Asked("argmax", [spoiled(1, 5, 9, dtype=dtype)], {"axis": 1, "select_last": last})
    for shape, attributes in POOLS:
        yield Asked("max_pool", [spoiled(*shape, dtype=dtype)], attributes)
        yield Asked("max_pool_index", [spoiled(*shape, dtype=dtype)], attributes)
    for largest in (False, True):
        yield Asked("top_k", [spoiled(1, 5, 9, dtype=dtype)], {"k": 4, "largest": largest})


def sums(dtype: str) -> Iterator[Asked]:
    """What adds up, normalizes or interpolates."""
    for kind in ("mean", "sum"):
        for axes in ((2, 3), (1,)):
            yield Asked(f"reduce_{kind}", [spoiled(1, 5, 7, 7, dtype=dtype)], {"axes": axes})
    for shape, attributes in POOLS:
        yield Asked("average_pool", [spoiled(*shape, dtype=dtype)], attributes)
    for name in ("softmax", "log_softmax"):
        yield Asked(name, [spoiled(1, 5, 9, dtype=dtype)], {"axis": 1})
        yield Asked(name, [spoiled(1, 37, dtype=dtype)], {"axis": 1})
    pixels = spoiled(1, 5, 3, 3, dtype=dtype)
    parameters = [rand(5, dtype=dtype) for _ in range(3)]
    yield Asked("lrn", [pixels], {"size": 3})
    yield Asked("instance_norm", [pixels, *parameters[:2]], {}, (1, 2))
    yield Asked("batch_norm", [pixels, *parameters, abs(rand(5, dtype=dtype))], {}, (1, 2, 3, 4))
    for mode in ("nearest", "linear", "cubic"):
        size = {"shape": (len(pixels), 5, 6, 6), "scales": (1.0, 1.0, 2.0, 2.0)}
        yield Asked("resize", [pixels], {**size, "mode": mode})


def products(dtype: str) -> Iterator[Asked]:
    """Convolutions and matrix products, with channels that do not fill whole vectors."""
    window: dict[str, Any] = {"strides": (1, 1), "dilations": (1, 1)}
    padded, plain = {**window, "pads": (1,) * 4}, {**window, "pads": (0,) * 4}
    pixels, images = spoiled(1, 8, 6, 6, dtype=dtype), spoiled(1, 5, 6, 6, dtype=dtype)
    yield Asked("conv", [images, rand(6, 5, 3, 3, dtype=dtype)], padded, (1,))
    yield Asked("conv", [pixels, rand(16, 8, 3, 3, dtype=dtype)], padded, (1,))
    yield Asked("conv", [pixels, rand(6, 8, 1, 1, dtype=dtype)], plain, (1,))
    yield Asked("conv", [images, rand(5, 1, 3, 3, dtype=dtype)], {**padded, "groups": 5}, (1,))
    doubled = {**padded, "strides": (2, 2), "output_padding": (0, 0)}
    yield Asked("conv_transpose", [images, rand(5, 6, 3, 3, dtype=dtype)], doubled, (1,))
    yield Asked("matmul", [spoiled(1, 5, 7, dtype=dtype), rand(7, 9, dtype=dtype)], {}, (1,))


def _check(asked: Asked, target: Target, rtol: float = 1e-4, atol: float = 1e-5) -> None:
    op = operator(*asked)
    with np.errstate(all="ignore"):
        for primitive in PRIMITIVES.candidates(op):
            if not primitive.spreads and primitive.applicable(op, target) is None:
                only = primitive.name
                check(*asked[:3], constants=asked.constants, target=target, only=only, rtol=rtol, atol=atol)


HALVED = {"extremes": "armv7-a+neon", "sums": "armv7-a+neon", "products": "armv8-a"}
"""On which of the two ARM architectures they are tried: what is special is the functions' alone."""
GROUPS = {"functions": functions, "extremes": extremes, "sums": sums, "products": products}


@every_target
@pytest.mark.parametrize("group", GROUPS)
def test_float32(group: str, target: Target) -> None:
    for asked in GROUPS[group]("float32"):
        _check(asked, target)


@pytest.mark.parametrize("dtype", ["float16", "float64"])
@pytest.mark.parametrize("group", ["functions", "extremes"])
def test_other_types(group: str, dtype: str) -> None:
    for asked in GROUPS[group](dtype):
        _check(asked, TARGETS["x86-64-v2"], *((5e-3, 5e-3) if dtype == "float16" else ()))


@pytest.mark.examples
@pytest.mark.parametrize(
    ("name", "group"),
    sampled_rows(
        product(EMULATORS, GROUPS),
        lambda name, group: name in FLOATS and (group == "functions" or name == HALVED[group]),
    ),
)
def test_on_arm(name: str, group: str, tmp_path: Path) -> None:
    """Each operator by the first layout of each primitive; ARMv7's vectors flush what is below 2^-126."""
    cases = _cases(group, "float32", TARGETS[name])
    cases = in_turn(cases, FLOATS.index(name) if name in FLOATS else 0, lambda case: case.primitive)
    with np.errstate(all="ignore"):
        check_on(name, cases, tmp_path, rtol=1e-4, atol=1e-5)


def test_halves_on_arm(tmp_path: Path) -> None:
    """Maxima of binary16 are one instruction there, which keeps a NaN of either operand."""
    cases = _cases("extremes", "float16", TARGETS[HALF])
    assert "pool_blocked" in {case.primitive for case in cases}
    with np.errstate(all="ignore"):
        check_on(HALF, cases, tmp_path, rtol=5e-3, atol=5e-3)


def _cases(group: str, dtype: str, target: Target) -> list[Case]:
    cases = []
    for asked in GROUPS[group](dtype):
        for primitive in PRIMITIVES.candidates(operator(*asked)):
            op = operator(*asked)
            if not primitive.spreads and primitive.applicable(op, target) is None:
                cases.append(Case(primitive.name, op, asked.arrays))
    return cases


def test_the_oracle_is_no_constant() -> None:
    """The largest of a row is NaN where the row holds one, and only there."""
    asked = next(extremes("float32"))
    with np.errstate(all="ignore"):
        found = interpreter.evaluate(operator(*asked), asked.arrays)[0]
    assert (np.isnan(found) == np.isnan(asked.arrays[0]).any((2, 3), keepdims=True)).all()
    assert 0 < np.isnan(found).sum() < found.size
