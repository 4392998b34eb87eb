"""Quantized operators made of random numbers, to hold kernels against the interpreter to the bit."""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from secateur.codegen.backends.cpu.primitives import PRIMITIVES
from secateur.codegen.primitives.operator import Constant, to_layout
from secateur.codegen.targets.rows import TARGETS
from secateur.codegen.targets.target import Target
from secateur.ir import interpreter
from secateur.ir.graph import Operator, Value
from secateur.ir.registry import create
from secateur.ir.types import ROW_MAJOR, DType, Quant, TensorType

from .generic_harness import from_layout, function_of, lay_out, run
from .wide_code import tried_here

Array = NDArray[Any]
NATIVE = ("x86-64-v4-vnni", "x86-64-v4", "x86-64-v3", "x86-64-v2")


def native_targets() -> list[Target]:
    """The x86-64 rows whose kernels are tried here; each has another dot product."""
    return [TARGETS[n] for n in NATIVE if tried_here(TARGETS[n])]


def activation(shape: Sequence[int], zero: int = 0, scale: float = 0.02, name: str = "x") -> Value:
    """A u8 value computed at run time."""
    return Value(TensorType(tuple(shape), DType.U8, quant=Quant((scale,), (zero,))), name)


def constant(array: Array, quant: Quant | None = None) -> Value:
    value = create("nn.constant", [], {"value": array}).result
    value.type = replace(value.type, quant=quant)
    return value


def weights(array: Array, rng: np.random.Generator, axis: int = 0) -> Value:
    """Constant i8 weights with a scale for each index of `axis`."""
    count = array.shape[axis]
    scales = tuple(float(s) for s in rng.uniform(0.001, 0.02, (count,)))
    return constant(array, Quant(scales, (0,) * count, axis))


def bytes_of(rng: np.random.Generator, shape: Sequence[int]) -> Array:
    return rng.integers(0, 256, shape).astype(np.uint8)


def conv_case(
    seed: int,
    shape: tuple[int, ...],
    filters: int,
    kernel: tuple[int, ...],
    *,
    zero: int = 0,
    result_zero: int = 0,
    limits: tuple[int, int] = (0, 255),
    residual: bool = False,
    real: bool = False,
    residual_zero: int = 0,
    x: Array | None = None,
    w: Array | None = None,
    scale: float | None = None,
    width: int | None = None,
    **window: Any,
) -> tuple[Operator, list[Array]]:
    """(a `q.linear_conv` on random bytes whose results fill the range, an array for each operand)."""
    rng = np.random.default_rng(seed)
    groups = window.get("groups", 1)
    x = bytes_of(rng, shape) if x is None else x
    w = rng.integers(-127, 128, (filters, shape[1] // groups, *kernel)).astype(np.int8) if w is None else w
    bias = rng.integers(-5000, 5000, filters).astype(np.int32)
    operands = [activation(shape, zero), weights(w, rng), constant(bias)]
    scale = scale or 0.02 * 0.01 * 90 * float(np.sqrt(w[0].size))  # of the sums' spread
    attributes = {"strides": (1, 1), "pads": (0, 0, 0, 0), "dilations": (1, 1), **window}
    if real:
        attributes["dtype"] = DType.F32
    else:
        attributes |= {"scales": (scale,), "zero_points": (result_zero,), "limits": limits}
    arrays = [x, w, bias]
    if residual:
        plain = {name: value for name, value in attributes.items() if name != "reach"}
        out = create("q.linear_conv", operands, plain).result.type.shape
        out = (out[0], width or out[1], *out[2:])
        operands.append(activation(out, residual_zero, 0.7 * scale, "r"))
        arrays.append(bytes_of(rng, out))
    return create("q.linear_conv", operands, attributes), arrays


def matmul_case(
    seed: int,
    batch: int,
    inputs: int,
    outputs: int,
    *,
    zero: int = 0,
    result_zero: int = 0,
    limits: tuple[int, int] = (0, 255),
    real: bool = False,
) -> tuple[Operator, list[Array]]:
    """A `q.linear_matmul` on random bytes, as `conv_case`."""
    rng = np.random.default_rng(seed)
    x, w = bytes_of(rng, (batch, inputs)), rng.integers(-127, 128, (inputs, outputs)).astype(np.int8)
    bias = rng.integers(-5000, 5000, outputs).astype(np.int32)
    scale = 0.02 * 0.01 * 90 * float(np.sqrt(inputs))
    attributes: dict[str, Any] = {"scales": (scale,), "zero_points": (result_zero,), "limits": limits}
    if real:
        attributes = {"dtype": DType.F32}
    operands = [activation(x.shape, zero), weights(w, rng, 1), constant(bias)]
    return create("q.linear_matmul", operands, attributes), [x, w, bias]


def check_case(case: tuple[Operator, list[Array]], target: Target, *, only: str | None = None) -> set[str]:
    """Every applicable primitive (`only` one, by name) in every layout gives the interpreter's bits."""
    op, arrays = case
    want = interpreter.evaluate(op, arrays)[0]
    seen: set[str] = set()
    for primitive in PRIMITIVES.candidates(op):
        if primitive.applicable(op, target) is not None or only not in (None, primitive.name):
            continue
        for number in range(len(primitive.layouts(op, target))):
            fresh = create(op.name, op.operands, op.attributes)
            got = run(primitive, fresh, arrays, target, number)
            np.testing.assert_array_equal(got, want, f"{primitive.name} on {target.name}")
            seen.add(primitive.name)
        for value in op.operands:
            value.type = value.type.with_layout(ROW_MAJOR)
    assert seen, f"no primitive takes {op!r}"
    return seen


def overwriting(case: tuple[Operator, list[Array]], name: str, target: Target) -> Array:
    """A convolution's answer where its result lies on its residual; tasks run two at a time, last first."""
    op, arrays = case
    primitive = next(p for p in PRIMITIVES.candidates(op) if p.name == name)
    layouts, result = primitive.layouts(op, target)[-1]
    lay_out(op, layouts, result)
    arguments = primitive.arguments(op, target)
    kernel = replace(primitive.kernel(op, target), overwritten=(1,))
    laid = [to_layout(a, layout) for a, layout in zip(arrays, layouts, strict=True)]
    buffers = [a.array if isinstance(a, Constant) else laid[a.index] for a in arguments]
    inputs = [b.ctypes.data for b in buffers]
    pointers = (ctypes.c_void_p * (len(inputs) + 1))(*inputs, inputs[1])
    workspace = np.zeros(max(1, kernel.workspace), np.uint8)
    function = function_of(kernel, target)
    for task in reversed(range(0, kernel.tasks, 2)):
        function(pointers, workspace.ctypes.data, task, min(task + 2, kernel.tasks))
    return from_layout(buffers[1], op.result.type)
