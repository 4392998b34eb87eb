"""One primitive of GPUs on one operator, in the emulator and apart from lowering."""

from __future__ import annotations

import ctypes
import pickle
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from secateur.codegen.backends.cuda.costs import GpuCosts
from secateur.codegen.backends.cuda.primitives import PRIMITIVES
from secateur.codegen.backends.cuda.ptx.modules import build_module, llvm_of
from secateur.codegen.backends.cuda.thread import workspace_stride
from secateur.codegen.cache import kernel_symbol
from secateur.codegen.kernel import Kernel
from secateur.codegen.primitives.chosen import chosen_as
from secateur.codegen.primitives.operator import Constant, Operand, Result, Scratch, to_layout
from secateur.codegen.program import Module
from secateur.codegen.targets.target import Target
from secateur.ir.choice import Choice
from secateur.ir.graph import Operator

from ....sampled import whole
from ...generic_harness import _guarded, from_layout
from ...simt.emulator import Gpu, configure, is_loaded, load_kernels, stand_in

Array = NDArray[Any]
THREADS = 128  # of a block whose threads have tasks of their own, as in runtime/device.c


def choices(op: Operator, target: Target, only: str | None = None) -> list[Choice]:
    """What selection may choose, by the primitives of a name alone where one is given."""
    return [c for c in GpuCosts(target).choices(op) if only in (None, c.primitive)]


def run(op: Operator, arrays: Sequence[Array], target: Target, choice: Choice) -> Array:
    """The choice's answer in logical order; AssertionError where a kernel writes outside its result."""
    chosen = chosen_as(op, choice)
    primitive, type = PRIMITIVES.find(chosen), chosen.results[0].type
    laid = [to_layout(a, layout) for a, layout in zip(arrays, choice.operand_layouts, strict=True)]
    workspace = _filler(max(1, choice.workspace))
    answer = _filler(type.dtype.bytes * int(np.prod(type.layout.physical_shape(type.shape))))

    def array(given: Operand | Constant | Result | Scratch) -> Array:
        if isinstance(given, Operand):
            return laid[given.index]
        if isinstance(given, Scratch):
            return workspace[given.offset :]
        return given.array if isinstance(given, Constant) else answer

    for stage in primitive.stages(chosen, target):
        kernel = pickle.loads(pickle.dumps(stage.kernel))  # as workers get it
        array(stage.arguments[-1])[...] = launch(kernel, [array(a) for a in stage.arguments], target)
    found = answer.view(type.dtype.numpy).reshape(type.layout.physical_shape(type.shape))
    return from_layout(found, type)


def assert_same_in_every_order(op: Operator, arrays: Sequence[Array], target: Target, choice: Choice) -> None:
    """The choice's bits do not depend on the order in which threads run."""
    answers = []
    for order in (0, 1, 7):
        configure(Gpu(order=order))
        answers.append(run(op, arrays, target, choice))
    configure()
    for answer in answers[1:]:
        np.testing.assert_array_equal(answer, answers[0])


def _filler(count: int) -> Array:
    return np.full(count, 0xA5, np.uint8)


def launch(kernel: Kernel, buffers: Sequence[Array], target: Target) -> Array:
    """What the last of the buffers holds afterwards; nothing else may change."""
    symbol = kernel_symbol(kernel, target)
    if not is_loaded(symbol):
        load_kernels([_module(kernel, symbol, target)])
    guarded = [_guarded(np.ascontiguousarray(a)) for a in buffers]
    own = 0 if kernel.threads else kernel.tasks * workspace_stride(kernel)
    workspace = _guarded(np.full(max(1, own), 0xA5, np.uint8))
    before = [raw.copy() for raw, _ in guarded]
    start(symbol, kernel, [array for _, array in (*guarded, workspace)])
    out = guarded[-1][1]
    answer = out.copy()
    out[...] = buffers[-1]
    for (raw, _), old in zip(guarded, before, strict=True):
        assert (raw == old).all(), "the kernel wrote outside its result"
    return answer


def _module(kernel: Kernel, symbol: str, target: Target) -> Module:
    """What the emulator takes; PTX, which it does not, is emitted of the like by tests that read it."""
    if whole():
        return build_module(kernel, symbol, target)
    return Module(symbol, b"", {"ll": llvm_of(kernel, symbol, target)})


def start(symbol: str, kernel: Kernel, buffers: Sequence[Array]) -> None:
    """Runs a kernel that the stand-in knows on its buffers, of which the last is the workspace."""
    pointers = [ctypes.c_void_p(buffer.ctypes.data) for buffer in buffers]
    values = [*pointers, ctypes.c_int32(kernel.tasks)]
    parameters = (ctypes.c_void_p * len(values))(*[ctypes.addressof(v) for v in values])
    blocks, threads = -(-kernel.tasks // THREADS), THREADS
    if kernel.threads:
        blocks, threads = kernel.tasks, kernel.threads
    result = stand_in().simt_launch(symbol.encode(), blocks, threads, parameters)
    assert result == 0, f"the launch failed: {result}"
