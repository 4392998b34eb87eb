"""Dense layers of many rows as pointwise convolutions: implicit GEMM, by matrix instructions where there are.

A row is an image of one pixel. Rows of whole blocks of channels lie as such images do, and results, stored
four at a time, as the rows of a matrix.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from secateur.ir.graph import Operator
from secateur.ir.ops.linear import one_quant

from ....kernel import Kernel
from ....primitives.conv.int8_spec import LinearSpec, starts
from ....primitives.conv.operators import Dense
from ....primitives.conv.planned import costs_of
from ....primitives.dense.int8 import NO_RESIDUAL, LinearDense
from ....primitives.operator import (
    Adjustable,
    Argument,
    Constant,
    Cost,
    Operand,
    Primitive,
    Ways,
    constant_of,
    workspace_limit,
)
from ....primitives.specs import ConvSpec, DenseSpec, Floats, HalfConvSpec, HalfDenseSpec
from ....targets.target import Target
from ....vector.requantize import BLOCK, on_target, padded_multipliers, requantization, result_parameters
from ..implicit_gemm import GEMM, Parted
from ..thread import thread_of
from .half import InHalf
from .schedule import WORDS

Array = NDArray[Any]
LEAST = 8  # rows, as many as one thread has of those that read weights once


def _images(spec: DenseSpec) -> ConvSpec:
    """The convolution that a dense layer of floats is."""
    kind = HalfConvSpec if isinstance(spec, HalfDenseSpec) else ConvSpec
    made = kind(
        spec.batch, spec.inputs, 1, 1, spec.outputs, (1, 1), bias=spec.bias, epilogue=spec.epilogue,
        extras=spec.extras, in_layout=f"NCHW{_block(spec.element_bytes)}c", out_layout=f"NCHW{WORDS}c",
    )  # fmt: skip
    return replace(made, workspace_limit=spec.workspace_limit)


def _block(element_bytes: int) -> int:
    """Elements of an access."""
    return BLOCK // element_bytes


def _refusal(batch: int, inputs: int, outputs: int, element_bytes: int) -> str | None:
    if batch < LEAST:
        return f"fewer than {LEAST} rows"
    if inputs % _block(element_bytes) or outputs % WORDS:
        return f"rows that are no multiples of {_block(element_bytes)} inputs and {WORDS} outputs"
    return None


@dataclass(frozen=True)
class _Rows:
    """What the adapter of dense layers of floats asks for, as implicit GEMM answers it."""

    name: str = "dense_gemm"
    parted = True

    def layouts(self, spec: DenseSpec, target: Target) -> tuple[tuple[str, str], ...]:
        return (("NCHW", "NCHW"),)

    def applicable(self, spec: DenseSpec, target: Target) -> str | None:
        refusal = _refusal(spec.batch, spec.inputs, spec.outputs, spec.element_bytes)
        return refusal or (None if GEMM.tile(_images(spec), target) else "no tile fits the GPU")

    def pack(
        self, spec: DenseSpec, target: Target, weights: Floats, bias: Floats | None
    ) -> tuple[Array, ...]:
        return GEMM.pack(_images(spec), target, weights.T[..., None, None], bias)

    def kernel(self, spec: DenseSpec, target: Target) -> Kernel:
        return GEMM.kernel(_images(spec), target)

    def kernels(self, spec: DenseSpec, target: Target) -> tuple[Kernel, Kernel] | None:
        return GEMM.kernels(_images(spec), target)


class _AsImages(Adjustable):
    """What a convolution costs, and how it is cut."""

    @abstractmethod
    def images(self, op: Operator) -> ConvSpec:
        """The convolution, within the operator's limit on workspace."""

    def costs(self, op: Operator, target: Target) -> tuple[Cost, ...]:
        return costs_of(GEMM, (self.images(op),), target)

    def ways(self, op: Operator, target: Target, read: dict[type, Any]) -> Ways | None:
        return Primitive.ways(self, op, target, read)

    def tiling(self, op: Operator, target: Target) -> Mapping[str, str]:
        return GEMM.tiling_words(self.images(op), target)


class FloatRows(Parted, _AsImages, Dense):
    """`nn.matmul` of floats by a constant matrix."""

    def __init__(self) -> None:
        super().__init__(_Rows())

    def spec(self, op: Operator) -> DenseSpec:
        return replace(super().spec(op), workspace_limit=workspace_limit(op))

    def images(self, op: Operator) -> ConvSpec:
        return _images(self.spec(op))

    def on(self, op: Operator, target: Target) -> DenseSpec:
        return self.spec(op)

    def extras(self, op: Operator, target: Target) -> int:
        return len(self.spec(op).extras)


class HalfRows(InHalf, FloatRows):
    """The same of binary16 with sums in it."""


class BytesRows(Parted, _AsImages, LinearDense):
    """`q.linear_matmul` by a constant matrix."""

    name = "dense_gemm"
    primitive = GEMM
    constants_of_parts = 2  # with what padding would be

    def applicable(self, op: Operator, target: Target) -> str | None:
        if refusal := super().applicable(op, target) or _refusal(*_sizes(op), 1):
            return refusal
        return None if GEMM.tile(self.images(op), target) else "no tile fits the GPU"

    def images(self, op: Operator) -> LinearSpec:
        batch, inputs, outputs = _sizes(op)
        return LinearSpec(
            batch, inputs, 1, 1, outputs, (1, 1), in_layout=f"NCHW{BLOCK}c", out_layout=f"NCHW{WORDS}c",
            ending=requantization(op, NO_RESIDUAL, block=0), workspace_limit=workspace_limit(op),
        )  # fmt: skip

    def on(self, op: Operator, target: Target) -> LinearSpec:
        spec = self.images(op)
        return replace(spec, ending=on_target(spec.ending, op, NO_RESIDUAL, thread_of(target)))

    def extras(self, op: Operator, target: Target) -> int:
        return 0

    def kernel(self, op: Operator, target: Target) -> Kernel:
        return GEMM.kernel(self.on(op, target), target)

    def arguments(self, op: Operator, target: Target) -> tuple[Argument, ...]:
        spec, weights, bias = self.on(op, target), *map(constant_of, op.operands[1:])
        assert weights is not None, "applicable() was not asked"
        assert bias is not None, "applicable() was not asked"
        filters, zero = weights.T[..., None, None], one_quant(op.operands[0].type)[1]
        constants = (
            *GEMM.pack(spec, target, filters, None),
            np.full(BLOCK, zero, np.uint8),
            starts(spec, filters, bias, zero - GEMM.offset(spec, target)),
            padded_multipliers(op),
            result_parameters(op, NO_RESIDUAL),
        )
        return (Operand(0), *map(Constant, constants))


def _sizes(op: Operator) -> tuple[int, int, int]:
    """Rows, inputs, outputs."""
    rows, inputs = op.operands[0].type.shape
    return rows, inputs, op.result.type.shape[1]


PRIMITIVES = (FloatRows(), HalfRows(), BytesRows())
