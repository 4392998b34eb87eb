"""Convolutions as operators: from `nn.conv` to the specifications that the convolution kernels take.

The kernels (`conv_*.py`) know frozen specifications only; the adapters here
read them off an operator and say where each kernel argument comes from. A first
epilogue step that adds a constant per filter is the bias, packed with the weights.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Generic, TypeVar

import numpy as np

from secateur.ir.elementwise import Epilogue
from secateur.ir.graph import Operator, Value
from secateur.ir.types import ROW_MAJOR, DType, Layout, TensorType

from ...kernel import Kernel
from ...targets.target import Target
from ..dense.float32 import DENSE
from ..operator import (
    Adjustable,
    Argument,
    Array,
    Combination,
    Constant,
    Cost,
    Operand,
    Primitive,
    constant_of,
    to_layout,
    workspace_limit,
)
from ..specs import ConvSpec, DenseSpec, TransposedSpec, pair
from .depthwise.lanes import DEPTHWISE
from .direct import DIRECT
from .grouped import GROUPED, Grouped
from .im2row import IM2ROW
from .kn2row import KN2ROW
from .plan import costs_of
from .pointwise import POINTWISE
from .transposed import TRANSPOSED
from .winograd.float32 import WINOGRAD, WinogradConv

Spec = TypeVar("Spec", bound=ConvSpec | TransposedSpec | DenseSpec)


@dataclass(frozen=True, eq=False)
class _Tail:
    """The epilogue of an operator split into its bias and the rest."""

    bias: Array | None
    epilogue: Epilogue
    extras: tuple[int, ...]  # operand indices
    kinds: tuple[str, ...]


def extra_kind(extra: TensorType, result: TensorType) -> str | None:
    """How an epilogue operand meets the result: "full", "channel", "scalar", or None."""
    if extra.shape == result.shape:
        return "full"
    if extra.elements == 1:
        return "scalar"
    axis = 1 if result.rank > 2 else result.rank - 1
    aligned = (1,) * (result.rank - extra.rank) + extra.shape
    wanted = tuple(d if i == axis else 1 for i, d in enumerate(result.shape))
    return "channel" if aligned == wanted else None


def _tail(op: Operator) -> _Tail | None:
    """None where an operand of the epilogue has a shape no kernel takes."""
    epilogue, extras = op["epilogue"], list(range(2, len(op.operands)))
    kinds = [extra_kind(op.operands[i].type, op.result.type) for i in extras]
    bias = constant_of(op.operands[2]) if extras and epilogue[0].op == "add" else None
    if bias is not None and kinds[0] in ("channel", "scalar"):
        filters = op.result.type.shape[1 if op.result.type.rank > 2 else -1]
        full = np.ascontiguousarray(np.broadcast_to(bias.reshape(-1), (filters,)))
        epilogue, extras, kinds = epilogue[1:], extras[1:], kinds[1:]
    else:
        full = None
    known = [k for k in kinds if k is not None]
    return _Tail(full, epilogue, tuple(extras), tuple(known)) if len(known) == len(kinds) else None


def _refusal(op: Operator, ranks: tuple[int, ...]) -> str | None:
    x, w = (v.type for v in op.operands[:2])
    if x.rank not in ranks or x.dtype != DType.F32:
        wanted = " or ".join(map(str, ranks))
        return f"needs a float32 input of rank {wanted}, has {x.dtype.value} of rank {x.rank}"
    if constant_of(op.operands[1]) is None:
        return "needs constant weights"
    if _tail(op) is None:
        return "an operand of the epilogue is neither full, per channel nor scalar"
    return "empty tensors" if not op.result.type.elements or not x.elements or not w.elements else None


class _Adapter(Primitive, Generic[Spec]):
    """A specification-based primitive as an operator-based one."""

    ranks: tuple[int, ...] = (3, 4)

    def __init__(self, primitive: Any) -> None:
        self.primitive = primitive
        self.name = primitive.name
        self.spreads = isinstance(primitive, Grouped | WinogradConv)

    def spec(self, op: Operator, tail: _Tail) -> Spec:
        raise NotImplementedError

    def _spec(self, op: Operator) -> Spec:
        tail = _tail(op)
        if tail is None:
            raise ValueError(f"{op!r}: the epilogue's operands do not fit")
        return self.spec(op, tail)

    def _offered(self, op: Operator, target: Target) -> list[tuple[str, str]]:
        """The primitive's layout combinations that it does not refuse."""
        spec = self._spec(op)
        pairs = self.primitive.layouts(spec, target)
        return [p for p in pairs if self.primitive.applicable(self._laid_out(spec, p), target) is None]

    @staticmethod
    def _laid_out(spec: Spec, pair: tuple[str, str]) -> Spec:
        return spec if isinstance(spec, DenseSpec) else replace(spec, in_layout=pair[0], out_layout=pair[1])

    def applicable(self, op: Operator, target: Target) -> str | None:
        refusal = _refusal(op, self.ranks)
        if refusal or self._offered(op, target):
            return refusal
        spec = self._spec(op)
        pairs = self.primitive.layouts(spec, target) or (("NCHW", "NCHW"),)
        return str(self.primitive.applicable(self._laid_out(spec, pairs[0]), target) or "offers no layout")

    def layouts(self, op: Operator, target: Target) -> tuple[Combination, ...]:
        return tuple(self._combination(op, pair) for pair in self._offered(op, target))

    def _combination(self, op: Operator, pair: tuple[str, str]) -> Combination:
        source, result = Layout(pair[0]), Layout(pair[1])
        return (source, ROW_MAJOR, *(self._extra_layout(op, v, result) for v in op.operands[2:])), result

    @staticmethod
    def _extra_layout(op: Operator, extra: Value, result: Layout) -> Layout:
        kind = extra_kind(extra.type, op.result.type)
        blocked = kind == "full" or (kind == "channel" and extra.type.rank > 2)
        return result if blocked and constant_of(extra) is None else ROW_MAJOR

    def workspace(self, op: Operator, target: Target) -> int:
        return max(int(self.primitive.workspace(s, target)) for s in self._specs(op, target))

    def estimate(self, op: Operator, target: Target) -> float:
        return min(float(self.primitive.estimate(s, target)) for s in self._specs(op, target))

    def _specs(self, op: Operator, target: Target) -> list[Spec]:
        return [self._laid_out(self._spec(op), pair) for pair in self._offered(op, target)]

    def _chosen(self, op: Operator) -> Spec:
        return self._laid_out(self._spec(op), (op.operands[0].type.layout.name, op.result.type.layout.name))

    def kernel(self, op: Operator, target: Target) -> Kernel:
        kernel: Kernel = self.primitive.kernel(self._chosen(op), target)
        return kernel

    def arguments(self, op: Operator, target: Target) -> tuple[Argument, ...]:
        tail = _tail(op)
        assert tail is not None, "applicable() was not asked"
        weights = self._weights(op)
        packed = self.primitive.pack(self._chosen(op), target, weights, tail.bias)
        extras = [self._extra(op, i, kind) for i, kind in zip(tail.extras, tail.kinds, strict=True)]
        return (Operand(0), *extras, *map(Constant, packed))

    @staticmethod
    def _weights(op: Operator) -> Array:
        """Constant weights, with two spatial axes where they have one."""
        weights = constant_of(op.operands[1])
        assert weights is not None, "applicable() was not asked"
        return weights[:, :, None] if weights.ndim == 3 else weights

    @staticmethod
    def _extra(op: Operator, index: int, kind: str) -> Argument:
        array, layout = constant_of(op.operands[index]), op.result.type.layout
        if array is None:
            return Operand(index)
        if kind == "channel" and layout.block:
            places = (1, op.result.type.shape[1], *(1 for _ in op.result.type.shape[2:]))
            return Constant(to_layout(array.reshape(places), layout).reshape(-1))
        return Constant(to_layout(array, layout) if kind == "full" else np.ascontiguousarray(array))


def _window(op: Operator) -> dict[str, Any]:
    """The fields that both kinds of convolution share; a row is an image of height 1."""
    n, c, *size = op.operands[0].type.shape
    pads, half = op["pads"], len(size)
    height, width = pair(size, 1)
    return {
        "batch": n, "channels": c, "height": height, "width": width, "filters": op.result.type.shape[1],
        "kernel": pair(op.operands[1].type.shape[2:], 1), "strides": pair(op["strides"], 1),
        "pads": (*pair(pads[:half], 0), *pair(pads[half:], 0)), "dilations": pair(op["dilations"], 1),
        "groups": op["groups"],
    }  # fmt: skip


def _ending(tail: _Tail) -> dict[str, Any]:
    return {"bias": tail.bias is not None, "epilogue": tail.epilogue, "extras": tail.kinds}


class Convolution(Adjustable, _Adapter[ConvSpec]):
    """`nn.conv` on images or rows with constant weights."""

    operators = ("conv",)

    def spec(self, op: Operator, tail: _Tail) -> ConvSpec:
        return ConvSpec(**_window(op), **_ending(tail), workspace_limit=workspace_limit(op))

    def costs(self, op: Operator, target: Target) -> tuple[Cost, ...]:
        return costs_of(self.primitive, self._specs(op, target), target)

    def noise(self, op: Operator, target: Target) -> float:
        noisy = hasattr(self.primitive, "noise")
        return float(self.primitive.noise(self._spec(op), target)) if noisy else 0.0


class TransposedConvolution(_Adapter[TransposedSpec]):
    """`nn.conv_transpose` on images or rows with constant weights."""

    operators = ("conv_transpose",)

    def spec(self, op: Operator, tail: _Tail) -> TransposedSpec:
        return TransposedSpec(**_window(op), output_padding=pair(op["output_padding"], 0), **_ending(tail))


class Dense(_Adapter[DenseSpec]):
    """`nn.matmul` of a matrix by a constant one."""

    operators = ("matmul",)
    ranks = (2,)

    def spec(self, op: Operator, tail: _Tail) -> DenseSpec:
        batch, inputs = op.operands[0].type.shape
        return DenseSpec(batch, inputs, op.result.type.shape[-1], **_ending(tail))

    def _offered(self, op: Operator, target: Target) -> list[tuple[str, str]]:
        if op.operands[1].type.rank != 2 or self.primitive.applicable(self._spec(op), target):
            return []
        return [("NCHW", "NCHW")]

    def applicable(self, op: Operator, target: Target) -> str | None:
        refusal = _refusal(op, self.ranks)
        if refusal or op.operands[1].type.rank != 2:
            return refusal or "needs a matrix of weights"
        return None if self._offered(op, target) else str(self.primitive.applicable(self._spec(op), target))


CONVOLUTIONS = (DIRECT, POINTWISE, DEPTHWISE, GROUPED, IM2ROW, KN2ROW, *WINOGRAD)
PRIMITIVES: tuple[Primitive, ...] = (
    *map(Convolution, CONVOLUTIONS),
    TransposedConvolution(TRANSPOSED),
    Dense(DENSE),
)
