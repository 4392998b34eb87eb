"""Runs one primitive on one operator, apart from lowering: builds its kernel and calls it in this process."""

from __future__ import annotations

import ctypes
import pickle
from collections.abc import Mapping, Sequence
from typing import Any

import llvmlite.binding as llvm
import numpy as np
import pytest
from numpy.typing import NDArray

from secateur.codegen.backends.cpu.primitives import PRIMITIVES
from secateur.codegen.kernel import Kernel
from secateur.codegen.primitives.operator import Constant, Primitive, to_layout
from secateur.codegen.targets.rows import TARGETS
from secateur.codegen.targets.target import Target
from secateur.ir import interpreter
from secateur.ir.graph import Operator, Value
from secateur.ir.registry import create
from secateur.ir.types import DType, Layout, TensorType

from .wide_code import object_here, tried_here

Array = NDArray[Any]
GUARD = 64  # bytes around every array; a change there is a write outside
_FUNCTIONS: dict[str, tuple[Any, Any]] = {}  # machine code lives as long as its engine


def runnable_targets() -> list[Target]:
    """The x86-64 rows whose kernels are tried here, longest vectors first."""
    rows = (TARGETS[n] for n in ("x86-64-v4", "x86-64-v3", "x86-64-v2"))
    return [t for t in rows if tried_here(t)]


BOTH = {"plain", "blocked"}  # what `check` returns where a result comes in both
RUNNABLE = runnable_targets()
every_target = pytest.mark.parametrize("target", RUNNABLE, ids=lambda t: t.name)
RANDOM = np.random.default_rng(7)
_START = RANDOM.bit_generator.state


def restart() -> None:
    """Random numbers from the first on: a test's do not depend on the tests before it."""
    RANDOM.bit_generator.state = _START


def rand(*shape: int, dtype: Any = np.float32) -> Array:
    return RANDOM.standard_normal(shape).astype(dtype)


def whole(*shape: int, dtype: Any = np.int32, high: int = 6) -> Array:
    return RANDOM.integers(1, high, shape).astype(dtype)


def operator(
    name: str, arrays: Sequence[Array], attributes: Mapping[str, Any], constants: Sequence[int] = ()
) -> Operator:
    """An operator on operands shaped like `arrays`, those numbered in `constants` being constants."""
    operands = []
    for i, array in enumerate(arrays):
        if i in constants:
            operands.append(create("nn.constant", [], {"value": array}).result)
        else:
            operands.append(Value(TensorType(array.shape, DType.of(array.dtype)), f"x{i}"))
    return create(name if "." in name else f"nn.{name}", operands, attributes)


def lay_out(op: Operator, layouts: Sequence[Layout], result: Layout) -> None:
    """Writes a combination of layouts into the types."""
    for value, layout in zip(op.operands, layouts, strict=True):
        if value.producer is None:
            value.type = value.type.with_layout(layout)
    op.result.type = op.result.type.with_layout(result)


def from_layout(array: Array, type: TensorType) -> Array:
    """The logical array of one in memory; AssertionError where padding lanes are not zero."""
    if not type.layout.block:
        return array
    n, c, *spatial = type.shape
    logical = np.moveaxis(array, -1, 2).reshape(n, -1, *spatial)
    assert not logical[:, c:].any(), "padding lanes are not zero"
    return logical[:, :c]


def function_of(kernel: Kernel, target: Target) -> Any:
    key = repr((kernel.name, kernel.spec, kernel.overwritten, target.name))
    if key not in _FUNCTIONS:
        code = object_here(kernel, "under_test", target)
        machine = llvm.Target.from_default_triple().create_target_machine()
        engine = llvm.create_mcjit_compiler(llvm.parse_assembly(""), machine)
        engine.add_object_file(llvm.ObjectFileRef.from_data(code))
        engine.finalize_object()
        kind = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_int, ctypes.c_int)
        _FUNCTIONS[key] = (engine, kind(engine.get_function_address("under_test")))
    return _FUNCTIONS[key][1]


def _guarded(array: Array) -> tuple[Array, Array]:
    """(bytes with guards, the array in their middle, 64-byte aligned)."""
    raw = np.full(array.nbytes + 3 * GUARD, 0xA5, np.uint8)
    start = GUARD + -(raw.ctypes.data + GUARD) % 64
    middle = raw[start : start + array.nbytes].view(array.dtype).reshape(array.shape)
    middle[...] = array
    return raw, middle


def call(kernel: Kernel, inputs: Sequence[Array], result: TensorType, target: Target) -> Array:
    """The result in memory order; tasks run two at a time, in reverse, as their order must not matter."""
    shape = result.layout.physical_shape(result.shape)
    filler = np.full(int(np.prod(shape)) * result.dtype.bytes, 0xA5, np.uint8).view(result.dtype.numpy)
    guarded = [_guarded(np.ascontiguousarray(a)) for a in (*inputs, filler.reshape(shape))]
    before = [raw.copy() for raw, _ in guarded]
    pointers = (ctypes.c_void_p * len(guarded))(*[a.ctypes.data for _, a in guarded])
    scratch, workspace = _guarded(np.full(max(kernel.workspace, 1), 0xA5, np.uint8))
    for task in reversed(range(0, kernel.tasks, 2)):
        end = min(task + 2, kernel.tasks)
        function_of(kernel, target)(pointers, workspace.ctypes.data, task, end)
    out = guarded[-1][1]
    answer = out.copy()
    out[...] = filler.reshape(shape)
    workspace[...] = 0xA5
    for (raw, _), old in zip(guarded, before, strict=True):
        assert (raw == old).all(), "the kernel wrote outside its result"
    assert (scratch == 0xA5).all(), "the kernel wrote outside its workspace"
    return answer


def run(
    primitive: Primitive, op: Operator, arrays: Sequence[Array], target: Target, combination: int = 0
) -> Array:
    """The primitive's answer in logical order, with the layouts of its combination number `combination`."""
    operands, result = primitive.layouts(op, target)[combination]
    lay_out(op, operands, result)
    inputs = []
    for argument in primitive.arguments(op, target):
        if isinstance(argument, Constant):
            inputs.append(argument.array)
        else:
            inputs.append(to_layout(arrays[argument.index], operands[argument.index]))
    kernel = pickle.loads(pickle.dumps(primitive.kernel(op, target)))  # as workers get it
    assert kernel.workspace <= primitive.workspace(op, target)
    assert primitive.estimate(op, target) > 0 or primitive.name in ("view", "join")
    return from_layout(call(kernel, inputs, op.result.type, target), op.result.type)


def check(
    name: str,
    arrays: Sequence[Array],
    attributes: Mapping[str, Any] | None = None,
    *,
    constants: Sequence[int] = (),
    target: Target | None = None,
    only: str | None = None,
    rtol: float = 2e-6,
    atol: float = 1e-6,
) -> set[str]:
    """Every applicable primitive (`only` one, by name) in every layout gives the interpreter's answer.

    Returns the names of the result layouts that were offered.
    """
    target = target or runnable_targets()[0]
    seen: set[str] = set()
    fresh = (name, arrays, attributes or {}, constants)
    reference = interpreter.evaluate(operator(*fresh), arrays)[0]
    for primitive in PRIMITIVES.candidates(operator(*fresh)):
        op = operator(*fresh)
        if primitive.applicable(op, target) is not None or only not in (None, primitive.name):
            continue
        for i in range(len(primitive.layouts(op, target))):
            op = operator(*fresh)
            answer = run(primitive, op, arrays, target, i)
            assert answer.dtype == reference.dtype
            where = f"{primitive.name} {op.result.type}"
            np.testing.assert_allclose(answer, reference, rtol, atol, err_msg=where)
            seen.add("blocked" if op.result.type.layout.block else "plain")
    assert seen, f"no primitive takes {name}"
    return seen
