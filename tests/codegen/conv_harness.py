"""Compiles a convolution kernel into this process and compares it with NumPy."""

from __future__ import annotations

import ctypes
import pickle
from dataclasses import replace
from typing import Any

import llvmlite.binding as llvm
import numpy as np
from numpy.typing import NDArray

from secateur.codegen.kernel import Kernel
from secateur.codegen.primitives.specs import ConvSpec, DenseSpec, TransposedSpec, layout_block
from secateur.codegen.rounding import up
from secateur.codegen.targets.rows import TARGETS
from secateur.codegen.targets.target import Target
from secateur.ir.elementwise import apply_epilogue

from .wide_code import object_here, tried_here

Array = NDArray[np.float32]
Double = NDArray[np.float64]
Spec = Any  # one of the three specifications

_GUARD = 1024  # floats of NaN before and behind every buffer
_ENGINES: list[Any] = []  # machine code lives as long as its engine


def targets() -> list[Target]:
    """One target for each vector length that is tried here; kernels see lanes and registers only."""
    rows = (TARGETS[name] for name in ("x86-64-v4", "x86-64-v3", "x86-64-v2"))
    return [replace(row, rates=replace(row.rates, l2_bytes=1 << 20)) for row in rows if tried_here(row)]


def compiled(kernel: Kernel, target: Target) -> Any:
    code = object_here(kernel, "k", target)
    machine = llvm.Target.from_triple(target.triple).create_target_machine()
    engine = llvm.create_mcjit_compiler(llvm.parse_assembly(""), machine)
    engine.add_object_file(llvm.ObjectFileRef.from_data(code))
    engine.finalize_object()
    _ENGINES.append(engine)
    kind = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_int, ctypes.c_int)
    return kind(engine.get_function_address("k"))


def guarded(array: Array) -> tuple[Array, Array]:
    """(floats with guards, a copy in their middle, aligned to 64 bytes).

    The guards are NaN: reading them spoils the answer.
    """
    raw = np.full(array.size + 16 + 2 * _GUARD, np.nan, np.float32)
    start = _GUARD + -raw.ctypes.data % 64 // 4
    copy = raw[start : start + array.size]
    copy[:] = array.ravel()
    return raw, copy


def call(kernel: Kernel, target: Target, inputs: list[Array], result: Array) -> Array:
    """Runs the tasks last first, two at a time, since their order must not matter."""
    buffers = [guarded(a) for a in (*inputs, np.full_like(result, np.nan))]
    before = [raw.copy() for raw, _ in buffers]
    scratch, workspace = guarded(np.full(kernel.workspace // 4, np.nan, np.float32))
    pointers = (ctypes.c_void_p * len(buffers))(*[b.ctypes.data for _, b in buffers])
    function = compiled(kernel, target)
    for task in reversed(range(0, kernel.tasks, 2)):
        function(pointers, workspace.ctypes.data, task, min(task + 2, kernel.tasks))
    answer = buffers[-1][1].copy()
    buffers[-1][1][:] = workspace[:] = np.nan
    for (raw, _), old in zip(buffers, before, strict=True):
        np.testing.assert_array_equal(raw, old, "the kernel wrote outside its result")
    assert np.isnan(scratch).all(), "the kernel wrote outside its workspace"
    return answer.reshape(result.shape)


def to_layout(array: Array, layout: str) -> Array:
    block = layout_block(layout)
    if layout == "NCHW":
        return array
    n, c, h, w = array.shape
    padded = np.zeros((n, up(c, block), h, w), np.float32)
    padded[:, :c] = array
    return np.ascontiguousarray(np.moveaxis(padded.reshape(n, -1, block, h, w), 2, -1))


def from_layout(array: Array, layout: str, channels: int) -> Array:
    if layout == "NCHW":
        return array
    n, _, h, w, _ = array.shape
    flat = np.moveaxis(array, -1, 2).reshape(n, -1, h, w)
    assert not flat[:, channels:].any(), "lanes past the last channel are not zero"
    return flat[:, :channels]


def convolve(spec: ConvSpec, x: Double, w: Double) -> Double:
    top, left, bottom, right = spec.pads
    padded = np.pad(x, ((0, 0), (0, 0), (top, bottom), (left, right)))
    reads, writes = spec.channels // spec.groups, spec.filters // spec.groups
    y = np.zeros((spec.batch, spec.filters, spec.out_height, spec.out_width))
    (sh, sw), (dh, dw) = spec.strides, spec.dilations
    for f in range(spec.filters):
        first = f // writes * reads
        for i, j in np.ndindex(*spec.kernel):
            rows = slice(i * dh, i * dh + (spec.out_height - 1) * sh + 1, sh)
            columns = slice(j * dw, j * dw + (spec.out_width - 1) * sw + 1, sw)
            y[:, f] += np.tensordot(padded[:, first : first + reads, rows, columns], w[f, :, i, j], (1, 0))
    return y


def convolve_transposed(spec: TransposedSpec, x: Double, w: Double) -> Double:
    reads, writes = spec.channels // spec.groups, spec.filters // spec.groups
    full = np.zeros(
        (
            spec.batch,
            spec.filters,
            spec.out_height + sum(spec.pads[::2]),
            spec.out_width + sum(spec.pads[1::2]),
        )
    )
    (sh, sw), (dh, dw) = spec.strides, spec.dilations
    for c, f in np.ndindex(spec.channels, writes):
        for i, j in np.ndindex(*spec.kernel):
            rows = slice(i * dh, i * dh + (spec.height - 1) * sh + 1, sh)
            columns = slice(j * dw, j * dw + (spec.width - 1) * sw + 1, sw)
            full[:, c // reads * writes + f, rows, columns] += x[:, c] * w[c, f, i, j]
    top, left = spec.pads[:2]
    return full[:, :, top : top + spec.out_height, left : left + spec.out_width]


def convolution_error(primitive: Any, spec: Spec, target: Target, seed: int = 0) -> float:
    """The largest error of the primitive on random data, relative to the largest result."""
    blocked = f"NCHW{target.lanes}c"
    spec = replace(spec, in_layout=spec.in_layout.replace("BLOCKED", blocked), out_layout=blocked)
    assert primitive.applicable(spec, target) is None
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((spec.batch, spec.channels, spec.height, spec.width), np.float32)
    transposed = isinstance(spec, TransposedSpec)
    outer, inner = (spec.channels, spec.filters) if transposed else (spec.filters, spec.channels)
    w = rng.standard_normal((outer, inner // spec.groups, *spec.kernel), np.float32)
    bias = rng.standard_normal(spec.filters, np.float32) if spec.bias else None
    shapes = {"full": (spec.batch, spec.filters, spec.out_height, spec.out_width),
              "channel": (1, spec.filters, 1, 1), "scalar": (1, 1, 1, 1)}  # fmt: skip
    extras = [rng.standard_normal(shapes[kind], np.float32) + 0.5 for kind in spec.extras]
    laid_out = [
        e if k == "scalar" else to_layout(e, blocked) for e, k in zip(extras, spec.extras, strict=True)
    ]
    kernel = pickle.loads(pickle.dumps(primitive.kernel(spec, target)))  # as workers get it
    assert kernel.workspace <= primitive.workspace(spec, target)
    assert primitive.estimate(spec, target) > 0
    inputs = [to_layout(x, spec.in_layout), *laid_out, *primitive.pack(spec, target, w, bias)]
    got = call(kernel, target, inputs, to_layout(np.zeros(shapes["full"], np.float32), blocked))
    want = (convolve_transposed if transposed else convolve)(spec, x.astype(np.float64), w.astype(np.float64))
    want = want + (0.0 if bias is None else bias[:, None, None])
    return _error(from_layout(got, blocked, spec.filters), apply_epilogue(want, spec.epilogue, extras))


def dense_error(primitive: Any, spec: DenseSpec, target: Target) -> float:
    rng = np.random.default_rng(0)
    x = rng.standard_normal((spec.batch, spec.inputs), np.float32)
    w = rng.standard_normal((spec.inputs, spec.outputs), np.float32)
    bias = rng.standard_normal(spec.outputs, np.float32) if spec.bias else None
    shapes = {"full": (spec.batch, spec.outputs), "channel": (1, spec.outputs), "scalar": (1, 1)}
    extras = [rng.standard_normal(shapes[kind], np.float32) for kind in spec.extras]
    inputs = [x, *extras, *primitive.pack(spec, target, w, bias)]
    got = call(
        pickle.loads(pickle.dumps(primitive.kernel(spec, target))),
        target,
        inputs,
        np.zeros((spec.batch, spec.outputs), np.float32),
    )
    want = x.astype(np.float64) @ w + (0.0 if bias is None else bias)
    return _error(got, apply_epilogue(want, spec.epilogue, extras))


def _error(got: Array, want: Any) -> float:
    assert np.isfinite(got).all(), (
        "not a finite result: something outside the buffers was read, or not written"
    )
    return float(np.abs(got - want).max() / np.abs(want).max())
