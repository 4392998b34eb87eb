"""One primitive of GPUs on one operator, in the emulator and apart from lowering."""

from __future__ import annotations

import ctypes
import pickle
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from secateur.codegen.backends.cuda.costs import GpuCosts
from secateur.codegen.backends.cuda.modules import build_module, workspace_stride
from secateur.codegen.backends.cuda.primitives import PRIMITIVES
from secateur.codegen.cache import kernel_symbol
from secateur.codegen.kernel import Kernel
from secateur.codegen.primitives.chosen import chosen_as
from secateur.codegen.primitives.operator import Constant, to_layout
from secateur.codegen.targets.target import Target
from secateur.ir.choice import Choice
from secateur.ir.graph import Operator

from ...generic_harness import _guarded, from_layout
from ...simt.emulator import load_kernels, stand_in

Array = NDArray[Any]
THREADS = 128  # of a block whose threads have tasks of their own, as in runtime/device.c


def choices(op: Operator, target: Target, only: str | None = None) -> list[Choice]:
    """What selection may choose, by the primitives of a name alone where one is given."""
    return [c for c in GpuCosts(target).choices(op) if only in (None, c.primitive)]


def run(op: Operator, arrays: Sequence[Array], target: Target, choice: Choice) -> Array:
    """The choice's answer in logical order; AssertionError where a kernel writes outside its result."""
    chosen = chosen_as(op, choice)
    primitive = PRIMITIVES.find(chosen)
    inputs = [
        given.array if isinstance(given, Constant)
        else to_layout(arrays[given.index], choice.operand_layouts[given.index])
        for given in primitive.arguments(chosen, target)
    ]  # fmt: skip
    kernel = pickle.loads(pickle.dumps(primitive.kernel(chosen, target)))  # as workers get it
    type = chosen.results[0].type
    return from_layout(launch(kernel, inputs, type, target), type)


def launch(kernel: Kernel, inputs: Sequence[Array], type: Any, target: Target) -> Array:
    """The result in memory order."""
    symbol = kernel_symbol(kernel, target)
    load_kernels([build_module(kernel, symbol, target)])
    count = int(np.prod(type.layout.physical_shape(type.shape)))
    filler = np.full(count * type.dtype.bytes, 0xA5, np.uint8).view(type.dtype.numpy)
    filler = filler.reshape(type.layout.physical_shape(type.shape))
    guarded = [_guarded(np.ascontiguousarray(a)) for a in (*inputs, filler)]
    own = 0 if kernel.threads else kernel.tasks * workspace_stride(kernel)
    workspace = _guarded(np.full(max(1, own), 0xA5, np.uint8))
    before = [raw.copy() for raw, _ in guarded]
    _launch(symbol, kernel, [array for _, array in (*guarded, workspace)])
    out = guarded[-1][1]
    answer = out.copy()
    out[...] = filler
    for (raw, _), old in zip(guarded, before, strict=True):
        assert (raw == old).all(), "the kernel wrote outside its result"
    return answer


def _launch(symbol: str, kernel: Kernel, buffers: Sequence[Array]) -> None:
    pointers = [ctypes.c_void_p(buffer.ctypes.data) for buffer in buffers]
    values = [*pointers, ctypes.c_int32(kernel.tasks)]
    parameters = (ctypes.c_void_p * len(values))(*[ctypes.addressof(v) for v in values])
    blocks, threads = -(-kernel.tasks // THREADS), THREADS
    if kernel.threads:
        blocks, threads = kernel.tasks, kernel.threads
    result = stand_in().simt_launch(symbol.encode(), blocks, threads, parameters)
    assert result == 0, f"the launch failed: {result}"
