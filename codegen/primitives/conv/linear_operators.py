"""8-bit convolutions as operators: `q.linear_conv`."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from secateur.ir.graph import Operator
from secateur.ir.ops.linear import one_quant
from secateur.ir.support.room import Room, room_of
from secateur.ir.types import ROW_MAJOR, Layout

from ...kernel import Kernel
from ...targets.target import Target
from ...vector.across import across
from ...vector.dot import dot_of, is_full
from ...vector.requantize import BLOCK, on_target, padded_multipliers, requantization, result_parameters
from ..operator import Argument, Array, Combination, Constant, Operand, constant_of, workspace_limit
from ..remembered import remembered
from .adapter import AdjustableAdapter, window
from .int8_spec import LinearSpec, starts
from .tiled import Tiled

_room = remembered(room_of)
_is_full = remembered(is_full)
_RESIDUAL = 3  # its place among the operands


def linear_spec(op: Operator) -> LinearSpec:
    """Of a 1-D or 2-D `q.linear_conv`, with the layouts of its types."""
    zero, block = one_quant(op.operands[0].type)[1], op.result.type.layout.block
    weights = constant_of(op.operands[1])
    return LinearSpec(
        **window(op),
        room=Room() if weights is None or op["groups"] > 1 else _room(weights),
        border=zero != 0 and any(op["pads"]),
        full=weights is None or _is_full(weights),
        ending=requantization(op, _RESIDUAL, block),
        workspace_limit=workspace_limit(op),
    )


def refusal(op: Operator, ranks: tuple[int, ...] = (4,)) -> str | None:
    """Why no kernel of inputs of these ranks with constant weights takes the operator, or None."""
    rank = op.operands[0].type.rank
    if rank not in ranks:
        return f"an input of rank {rank}"
    if any(constant_of(v) is None for v in op.operands[1:_RESIDUAL]):
        return "needs constant weights and bias"
    return "empty tensors" if not all(v.type.elements for v in (*op.operands, *op.results)) else None


class LinearConvolution(AdjustableAdapter[LinearSpec]):
    """`q.linear_conv` by a primitive of specifications."""

    operators = ("linear_conv",)

    def refusal(self, op: Operator) -> str | None:
        return refusal(op, (3, 4))

    def spec(self, op: Operator) -> LinearSpec:
        found = linear_spec(op)
        return found if isinstance(self.primitive, Tiled) else replace(found, room=Room())

    def offset(self, spec: LinearSpec, target: Target) -> int:
        """What kernels take from their data's bytes."""
        return dot_of(target, full=spec.full).offset

    def on(self, op: Operator, target: Target) -> LinearSpec:
        """The specification with what the kernel of a target depends on."""
        spec = self.spec(op)
        spec = replace(spec, full=spec.full and target.isa.dot.full is not None)
        offset = self.offset(spec, target)
        moved = one_quant(op.operands[0].type)[1] != offset and any(op["pads"])
        return replace(spec, border=moved) if offset else spec

    def combination(self, op: Operator, source: Layout, result: Layout) -> Combination:
        extras = (Layout(f"NCHW{BLOCK}c"),) * (len(op.operands) - _RESIDUAL)
        return (source, ROW_MAJOR, ROW_MAJOR, *extras), result

    def arguments(self, op: Operator, target: Target) -> tuple[Argument, ...]:
        spec, weights, bias = self.on(op, target), *map(constant_of, op.operands[1:_RESIDUAL])
        if weights is None or bias is None:
            raise ValueError(f"{op!r}: weights and bias are not constant")
        weights = weights.reshape(*weights.shape[:2], *spec.kernel)
        zero = one_quant(op.operands[0].type)[1]
        constants = (
            *self.primitive.pack(spec, target, weights, None),
            *self.padding(zero),
            self.starts(spec, weights, bias, zero - self.offset(spec, target)),
            padded_multipliers(op),
            result_parameters(op, _RESIDUAL),
        )
        residual = [Operand(_RESIDUAL)] if spec.ending.residual else []
        return (Operand(0), *residual, *map(Constant, constants))

    def padding(self, zero_point: int) -> tuple[Array, ...]:
        """A constant behind the weights, of what padding is."""
        return ()

    def starts(self, spec: LinearSpec, weights: Array, bias: Array, zero_point: int) -> Array:
        """Where sums start; the zero point is that of the bytes as they are multiplied."""
        return starts(spec, weights, bias, zero_point)

    def kernel(self, op: Operator, target: Target) -> Kernel:
        spec = self.on(op, target)
        ending = on_target(spec.ending, op, _RESIDUAL, target)
        room = _usable(spec.room, target)
        kernel: Kernel = self.primitive.kernel(replace(spec, ending=ending, room=room), target)
        return kernel


def _usable(room: Room, target: Target) -> Room:
    """What kernels of the target take of it."""
    return Room(room.unsigned if target.isa.narrow else 0, room.signed if across(target, 1) else 0)


class PaddingConvolution(LinearConvolution):
    """By a primitive that copies padding: a block of it is a constant, and all sums start alike."""

    def spec(self, op: Operator) -> LinearSpec:
        found = linear_spec(op)
        return replace(found, room=found.room._replace(unsigned=0))

    def padding(self, zero_point: int) -> tuple[Array, ...]:
        return (np.full(BLOCK, zero_point, np.uint8),)

    def starts(self, spec: LinearSpec, weights: Array, bias: Array, zero_point: int) -> Array:
        return super().starts(spec.unbordered(), weights, bias, zero_point)


class PlainConvolution(LinearConvolution):
    """By a primitive that multiplies bytes as they are, without the dot product."""

    def offset(self, spec: LinearSpec, target: Target) -> int:
        return 0
