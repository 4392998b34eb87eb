"""Softmax and normalizations against the interpreter: every layout they offer, ragged shapes."""

from __future__ import annotations

import numpy as np
import pytest

from secateur.codegen.backends.cpu.primitives import PRIMITIVES
from secateur.codegen.targets.target import Target

from ...generic_harness import BOTH, RUNNABLE, check, every_target, operator, rand


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


@every_target
@pytest.mark.parametrize("shape", [(2, 20, 5, 7), (2, 20, 9)])
def test_instance_norm(shape: tuple[int, ...], target: Target) -> None:
    arrays = [rand(*shape), rand(20), rand(20)]
    assert check("instance_norm", arrays, constants=(1, 2), target=target, atol=1e-5) == BOTH
    assert check("instance_norm", arrays, target=target, atol=1e-5) == {"plain"}


def test_layer_norm() -> None:
    check("layer_norm", [rand(2, 5, 20), rand(20), rand(20)], {"axis": -1}, atol=1e-5)
    check("layer_norm", [rand(2, 5, 20), rand(20), rand(5, 20)], {"axis": 1}, constants=(1, 2), atol=1e-5)
    check("layer_norm", [rand(2, 5, 20), rand(5, 20), rand(1)], {"axis": 1}, atol=1e-5)


@every_target
@pytest.mark.parametrize("shape", [(1, 64, 6, 7), (2, 20, 5, 7), (1, 3, 40)])
@pytest.mark.parametrize(("size", "beta"), [(5, 0.75), (4, 0.5), (1, 1.0)])
def test_lrn(shape: tuple[int, ...], size: int, beta: float, target: Target) -> None:
    attributes = {"size": size, "alpha": 0.1, "beta": beta, "bias": 2.0}
    assert check("lrn", [rand(*shape)], attributes, target=target, rtol=4e-6) == BOTH


def test_lrn_over_many_channels_is_row_major() -> None:
    assert check("lrn", [rand(1, 40, 3, 3)], {"size": 35}) == {"plain"}


def test_layer_norm_refuses_partly_broadcast_operands() -> None:
    op = operator("layer_norm", [rand(2, 5, 20), rand(20), rand(20)], {"axis": 1})
    reason = PRIMITIVES.candidates(op)[0].applicable(op, RUNNABLE[0])
    assert reason == "a computed scale or bias is broadcast along some axes only"
