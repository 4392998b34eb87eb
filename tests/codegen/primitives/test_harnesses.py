"""The harnesses are oracles: for each there is a kernel, or an answer, that it must refuse."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from secateur.codegen.kernel import Kernel
from secateur.codegen.primitives.conv.direct import DIRECT
from secateur.codegen.primitives.conv.transposed import TRANSPOSED
from secateur.codegen.primitives.dense.float32 import DENSE
from secateur.codegen.primitives.registry import Primitives
from secateur.codegen.primitives.specs import ConvSpec, DenseSpec, TransposedSpec
from secateur.codegen.tir import T, prim_func, when
from secateur.ir import interpreter
from secateur.ir.graph import Operator
from secateur.ir.registry import create
from secateur.ir.types import DType, Layout, TensorType

from .. import conv_harness, generic_harness
from ..bytes_harness import activation, agree, some_bytes, stored
from ..conv_harness import convolution_error, dense_error
from ..cross_harness import Case, check_on
from ..generic_harness import RUNNABLE, Array, check, rand
from ..linear_harness import check_case, conv_case

TARGET = RUNNABLE[0]
HALF = 16  # elements of a task

# Kernels that do what they must not


@dataclass(frozen=True)
class Faulty:
    """Copies two times 16 floats, one task each; `fault` says what is wrong besides."""

    fault: str


def _build(spec: Faulty) -> Any:
    outside = {"before": (1, -1), "behind": (1, 32), "input": (0, 3), "behind_input": (0, 32),
               "before_input": (0, -1), "workspace": (2, HALF), "before_workspace": (2, -1)}  # fmt: skip

    def body(source: Any, result: Any, workspace: Any, begin: Any, end: Any) -> None:
        with T.serial(begin, end) as task:
            with T.serial(0, HALF - (spec.fault == "forgotten")) as i:
                read = source[task * HALF + i]
                before = result[T.max(0, task - 1) * HALF + i]
                value = T.if_then_else(task > 0, before, read) if spec.fault == "order" else read
                T.buffer_store(result, value, [task * HALF + i])
            if spec.fault in outside:
                buffer, at = outside[spec.fault]
                with when(task == 1):
                    T.buffer_store((source, result, workspace)[buffer], T.float32(0.5), [at])

    return prim_func(["source", "result"], body)


def faulty(fault: str) -> Kernel:
    spec = Faulty(fault)
    return Kernel("faulty", spec, partial(_build, spec), tasks=2, workspace=4 * HALF)


def generic_call(kernel: Kernel, x: Array) -> Array:
    return generic_harness.call(kernel, [x], TensorType(x.shape, DType.F32), TARGET)


def conv_call(kernel: Kernel, x: Array) -> Array:
    return conv_harness.call(kernel, TARGET, [x], np.zeros_like(x))


CALLS = pytest.mark.parametrize("call", [generic_call, conv_call], ids=["generic", "conv"])


@CALLS
def test_a_right_kernel_passes(call: Any) -> None:
    x = rand(2 * HALF)
    np.testing.assert_array_equal(call(faulty("none"), x), x)


@CALLS
@pytest.mark.parametrize(
    "fault", ["before", "behind", "input", "before_input", "behind_input", "before_workspace", "workspace"]
)
def test_a_write_outside_is_seen(call: Any, fault: str) -> None:
    with pytest.raises(AssertionError, match="the kernel wrote outside its"):
        call(faulty(fault), rand(2 * HALF))


@CALLS
@pytest.mark.parametrize("fault", ["forgotten", "order"])
def test_an_element_that_is_not_written_is_seen(call: Any, fault: str) -> None:
    """Results start as rubbish; and tasks run last first, so that none finds another's work done."""
    x = rand(2 * HALF)
    assert not (call(faulty(fault), x) == x).all()


def test_padding_lanes_are_seen() -> None:
    array = np.zeros((1, 1, 2, 2, 8), np.float32)
    array[..., 5] = 1
    assert conv_harness.from_layout(array, "NCHW8c", 6).any()
    with pytest.raises(AssertionError, match="past the last channel"):
        conv_harness.from_layout(array, "NCHW8c", 5)
    blocked = TensorType((1, 5, 2, 2), DType.F32).with_layout(Layout("NCHW8c"))
    with pytest.raises(AssertionError, match="padding lanes"):
        generic_harness.from_layout(array, blocked)


# Primitives whose constants are wrong


@dataclass(frozen=True)
class Spoiled:
    """A primitive whose packed constant number `which` has its largest element 1% too large."""

    primitive: Any
    which: int

    def __getattr__(self, name: str) -> Any:
        return getattr(self.primitive, name)

    def pack(self, *asked: Any) -> list[Array]:
        arrays = [np.array(a) for a in self.primitive.pack(*asked)]
        spoiled = arrays[self.which].reshape(-1)
        spoiled[np.abs(spoiled).argmax()] *= 1.01
        return [a if i != self.which else spoiled.reshape(a.shape) for i, a in enumerate(arrays)]


CONV = ConvSpec(
    1, 20, 6, 7, 24, (3, 3), pads=(1, 1, 1, 1), bias=True, in_layout="BLOCKED", out_layout="BLOCKED"
)
TRANSPOSED_SPEC = TransposedSpec(1, 8, 4, 5, 16, (3, 3), (2, 2), bias=True, in_layout="BLOCKED")


@pytest.mark.parametrize("which", [0, 1], ids=["weights", "bias"])
@pytest.mark.parametrize(
    ("primitive", "spec"), [(DIRECT, CONV), (TRANSPOSED, TRANSPOSED_SPEC)], ids=["conv", "transposed"]
)
def test_convolution_error_sees_one_wrong_constant(primitive: Any, spec: Any, which: int) -> None:
    assert convolution_error(primitive, spec, TARGET) < 1e-5
    assert convolution_error(Spoiled(primitive, which), spec, TARGET) > 1e-4


@pytest.mark.parametrize("which", [0, 1], ids=["weights", "bias"])
def test_dense_error_sees_one_wrong_constant(which: int) -> None:
    spec = DenseSpec(3, 40, 24, bias=True)
    assert dense_error(DENSE, spec, TARGET) < 1e-5
    assert dense_error(Spoiled(DENSE, which), spec, TARGET) > 1e-4


# References that differ in one element


def off_by_one(element: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """From now on the interpreter's answer has one element (by its flat index) changed a little."""
    right = interpreter.evaluate

    def evaluate(op: Operator, arrays: Any) -> list[Array]:
        answer = np.array(right(op, arrays)[0])
        value = answer.flat[element]
        answer.flat[element] = value * 1.0001 if answer.dtype == np.float32 else value ^ 1
        return [answer]

    monkeypatch.setattr(interpreter, "evaluate", evaluate)


ELEMENTS = pytest.mark.parametrize("element", [0, -1])


@ELEMENTS
def test_check_sees_one_wrong_element(element: int, monkeypatch: pytest.MonkeyPatch) -> None:
    arrays = [rand(1, 5, 3, 4) + 3]
    check("relu", arrays)
    off_by_one(element, monkeypatch)
    with pytest.raises(AssertionError, match="Not equal to tolerance"):
        check("relu", arrays)


@ELEMENTS
def test_agree_sees_one_wrong_bit(element: int, monkeypatch: pytest.MonkeyPatch) -> None:
    def make() -> Operator:
        return create(
            "q.linear_add", [activation((1, 5, 3, 4)), activation((1, 5, 3, 4), name="y")], stored()
        )

    arrays = [some_bytes((1, 5, 3, 4)), some_bytes((1, 5, 3, 4))]
    agree(make, arrays, TARGET)
    off_by_one(element, monkeypatch)
    with pytest.raises(AssertionError, match="Arrays are not equal"):
        agree(make, arrays, TARGET)


@ELEMENTS
def test_check_case_sees_one_wrong_bit(element: int, monkeypatch: pytest.MonkeyPatch) -> None:
    case = conv_case(1, (1, 20, 6, 11), 33, (3, 3), pads=(1, 1, 1, 1))
    off_by_one(element, monkeypatch)
    with pytest.raises(AssertionError, match="Arrays are not equal"):
        check_case(case, TARGET)


def test_check_on_sees_one_wrong_bit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    op, arrays = conv_case(1, (1, 8, 4, 5), 16, (1, 1))
    off_by_one(-1, monkeypatch)
    with pytest.raises(AssertionError, match="by pointwise"):
        check_on("armv8-a", [Case("pointwise", op, arrays)], tmp_path)


@pytest.mark.parametrize("oracle", [check, agree, check_case])
def test_no_primitive_is_no_success(oracle: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """An oracle that found nothing to try has not agreed."""
    module = import_module(oracle.__module__)
    monkeypatch.setattr(module, "PRIMITIVES", Primitives(()))
    op, arrays = conv_case(1, (1, 8, 4, 5), 16, (1, 1))
    asked = {
        check: ("relu", [rand(3)]),
        agree: (lambda: op, arrays, TARGET),
        check_case: ((op, arrays), TARGET),
    }
    with pytest.raises(AssertionError, match="no primitive"):
        oracle(*asked[oracle])
