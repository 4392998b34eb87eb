"""Dense layers by blocks of threads: bytes to the bit, floats and binary16."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from secateur.ir.errors import SecateurError
from secateur.ir.graph import Operator
from secateur.ir.ops.linear import one_quant

from ....kernel import Kernel
from ....primitives.conv.operators import Dense
from ....primitives.dense.int8 import NO_RESIDUAL, LinearDense, LinearDenseSpec, linear_dense_spec
from ....primitives.operator import (
    Adjustable,
    Argument,
    Constant,
    Cost,
    Operand,
    Primitive,
    Result,
    Scratch,
    Stage,
    Ways,
    constant_of,
    workspace_limit,
)
from ....primitives.specs import DenseSpec, Floats
from ....rounding import up
from ....targets.target import Target
from ....vector.requantize import BLOCK, on_target, padded_multipliers, result_parameters
from ..thread import thread_of
from .half import InHalf
from .kernel import DenseKey, kernels
from .schedule import DenseTile, Product, fastest

Array = NDArray[Any]


class _ByBlocks(Adjustable):
    """Sums of several blocks of threads where there is room for them."""

    @abstractmethod
    def product(self, op: Operator) -> Product:
        """What is multiplied, within the operator's limit on workspace."""

    @abstractmethod
    def layer(self, op: Operator, target: Target) -> DenseSpec | LinearDenseSpec:
        """What else the kernels depend on."""

    @abstractmethod
    def extras(self, op: Operator, target: Target) -> int:
        """Operands of the epilogue among the arguments."""

    def tile(self, op: Operator, target: Target) -> DenseTile:
        return fastest(self.product(op), target)

    def costs(self, op: Operator, target: Target) -> tuple[Cost, ...]:
        product = self.product(op)
        limits = (product.spare_bytes, 0)
        return tuple(dict.fromkeys(_cost(replace(product, spare_bytes=limit), target) for limit in limits))

    def ways(self, op: Operator, target: Target, read: dict[type, Any]) -> Ways | None:
        return Primitive.ways(self, op, target, read)

    def tiling(self, op: Operator, target: Target) -> Mapping[str, str]:
        tile = self.tile(op, target)
        return {**tile.words, "waves": f"{tile.tasks(self.product(op))} blocks"}

    def kernel(self, op: Operator, target: Target) -> Kernel:
        first, *more = self.kernels(op, target)
        if more:
            raise SecateurError(f"{op.called}: '{self.name}' has several kernels")
        return first

    def kernels(self, op: Operator, target: Target) -> tuple[Kernel, ...]:
        tile, product = self.tile(op, target), replace(self.product(op), spare_bytes=None)
        key = DenseKey(self.layer(op, target), product, tile, target.cuda.architecture.dot)
        return kernels(self.name, key)

    def stages(self, op: Operator, target: Target) -> tuple[Stage, ...]:
        first, *more = self.kernels(op, target)
        arguments = self.arguments(op, target)
        if not more:
            return (Stage(first, (*arguments, Result())),)
        place = 1 + self.extras(op, target)
        partial = Stage(first, (arguments[0], arguments[place], Scratch(0)))
        ending = (*arguments[1:place], Scratch(0), *arguments[place + 1 :], Result())
        return partial, Stage(more[0], ending, macs=False)


def _cost(product: Product, target: Target) -> Cost:
    tile = fastest(product, target)
    return Cost(tile.seconds(product, target), product.partial_bytes(tile.splits))


def packed(weights: Array, tile: DenseTile, product: Product) -> Array:
    """(inputs, outputs) to [block's outputs][step][output of a thread][group of threads][lane][element]."""
    steps, across = tile.steps(product), tile.across(product)
    count = steps * tile.lanes * product.elements
    padded = np.zeros((count, across * tile.filled), weights.dtype)
    padded[: product.inputs, : product.outputs] = weights
    cut = padded.reshape(steps, tile.lanes, product.elements, across, tile.outputs, tile.groups)
    return np.ascontiguousarray(cut.transpose(3, 0, 4, 5, 1, 2))


@dataclass(frozen=True)
class _Floats:
    """What the adapter of dense layers of floats asks for."""

    name: str = "dense_blocks"

    def layouts(self, spec: DenseSpec, target: Target) -> tuple[tuple[str, str], ...]:
        return (("NCHW", "NCHW"),)

    def applicable(self, spec: DenseSpec, target: Target) -> str | None:
        return None if min(spec.batch, spec.inputs, spec.outputs) > 0 else "an empty operand"

    def pack(
        self, spec: DenseSpec, target: Target, weights: Floats, bias: Floats | None
    ) -> tuple[Array, ...]:
        product = _product(spec)
        ordered = packed(weights, fastest(product, target), product)
        return (ordered,) if bias is None else (ordered, np.ascontiguousarray(bias))


def _product(spec: DenseSpec) -> Product:
    return Product(spec.batch, spec.inputs, spec.outputs, spec.element_bytes, spec.workspace_limit)


class FloatDense(_ByBlocks, Dense):
    """`nn.matmul` of floats by a constant matrix."""

    def __init__(self) -> None:
        super().__init__(_Floats())

    def spec(self, op: Operator) -> DenseSpec:
        return replace(super().spec(op), workspace_limit=workspace_limit(op))

    def product(self, op: Operator) -> Product:
        return _product(self.spec(op))

    def layer(self, op: Operator, target: Target) -> DenseSpec:
        return replace(self.spec(op), workspace_limit=None)

    def extras(self, op: Operator, target: Target) -> int:
        return len(self.spec(op).extras)


class HalfDense(InHalf, FloatDense):
    """The same of binary16 with sums in it."""


class BytesDense(_ByBlocks, LinearDense):
    """`q.linear_matmul` by a constant matrix."""

    name = "dense_blocks"

    def product(self, op: Operator) -> Product:
        batch, inputs = op.operands[0].type.shape
        return Product(batch, inputs, op.result.type.shape[1], 1, workspace_limit(op))

    def layer(self, op: Operator, target: Target) -> LinearDenseSpec:
        spec = linear_dense_spec(op)
        return replace(spec, full=False, ending=on_target(spec.ending, op, NO_RESIDUAL, thread_of(target)))

    def extras(self, op: Operator, target: Target) -> int:
        return 0

    def arguments(self, op: Operator, target: Target) -> tuple[Argument, ...]:
        weights, bias = map(constant_of, op.operands[1:])
        if weights is None or bias is None:
            raise ValueError(f"{op!r}: weights and bias are not constant")
        start = np.zeros(up(len(bias), BLOCK), np.int64)
        start[: len(bias)] = bias - one_quant(op.operands[0].type)[1] * weights.astype(np.int64).sum(0)
        ordered = packed(weights, self.tile(op, target), self.product(op))
        parameters = (padded_multipliers(op), result_parameters(op, NO_RESIDUAL))
        return (Operand(0), *map(Constant, (ordered, start.astype(np.int32), *parameters)))


PRIMITIVES = (FloatDense(), HalfDense(), BytesDense())
