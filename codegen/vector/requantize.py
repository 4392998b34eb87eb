"""From sums to stored results, to the bit as `secateur.ir.ops.linear` says.

A sum becomes t = f32(sum) * multiplier; a residual is rounded by itself, then
added; nothing is fused. t is limited before it is rounded, which is the same
and cannot overflow. Adding 1.5 * 2^23 rounds to the nearest integer, half to
even, on any core: the low bits of the float are the integer.

The numbers of a layer are constants beside its code, so that layers of equal
shape share one kernel.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from secateur.ir.graph import Operator
from secateur.ir.ops.linear import channel_multipliers, one_quant, residual_multiplier
from secateur.ir.support.reach import Reach, reach_of

from ..rounding import up
from ..targets.isa import Narrowing
from ..targets.target import Target
from ..tir import Registers, T, load, splat
from .shuffles import hold

Expr = Any
Buffer = Any
Floats = NDArray[np.float32]

BLOCK = 16  # channel lanes of 8-bit activations, on every target

_ROUNDER = 12582912.0  # 1.5 * 2^23: a float32 this large has no fraction
_ROUNDER_BITS = 0x4B400000
_LOW, _HIGH, _OFFSET, _RESIDUAL_ZERO, _RESIDUAL_STEP, _COUNT = range(6)


@dataclass(frozen=True)
class Requantization:
    """What determines the code: the stored type, whether a residual is added, what padding lanes would get.

    `result` is "uint8" or "float32"; `filters` is where lanes have to be zeroed from on, or 0 for nowhere.
    `converts` tells that the core converts vectors to integers half to even; `saturates`, which needs it,
    that bytes are limited to 255 as integers: their zero point is 0, and t is within int32.
    By `narrowing` bytes of several vectors are made together; `limited` tells that they have other limits
    than those of a byte, `moved` that their zero point is not 0, `as_stored` that the residual's is.
    """

    result: str = "uint8"
    residual: bool | Reach = False
    filters: int = 0
    converts: bool = False
    saturates: bool = False
    narrowing: Narrowing | None = None
    limited: bool = False
    moved: bool = False
    as_stored: bool = False

    def __post_init__(self) -> None:
        if self.result not in ("uint8", "float32"):
            raise ValueError(f"results are uint8 or float32, not {self.result}")
        if self.saturates and not self.converts:
            raise ValueError("only converted results saturate")

    @property
    def reach(self) -> Reach | None:
        """Of a residual that some channels meet."""
        return self.residual if isinstance(self.residual, Reach) else None


def requantization(op: Operator, residual: int, block: int = BLOCK) -> Requantization:
    """Of a `q.` operator whose operand number `residual`, where it has one, is added to its result.

    `block` is the channel block of the result's layout, 0 where it is row-major.
    """
    type, added = op.result.type, len(op.operands) > residual
    masked = block > 0 and type.shape[1] % block != 0 and not _keeps_zero(op, residual)
    kind = "float32" if type.quant is None else "uint8"
    reach = reach_of(op.get("reach", ()), op.operands[-1].type.shape)
    return Requantization(kind, reach or added, type.shape[1] if masked else 0)


def on_target(ending: Requantization, op: Operator, residual: int, target: Target) -> Requantization:
    """The ending of a convolution or matrix product with what the core and the layer's numbers allow."""
    ending = of_residual(ending, op, residual)
    if target.isa.narrowing:
        return narrowed(ending, op, target)
    if ending.result != "uint8" or not target.isa.converts:
        return ending
    added = residual_multiplier(op, residual) if ending.residual else np.float32(0)
    within = float(channel_multipliers(op).max()) < 0.5 and float(added) < 2**20
    plain = one_quant(op.result.type)[1] == 0 and op["limits"][1] == 255
    return replace(ending, converts=True, saturates=plain and within)


def of_residual(ending: Requantization, op: Operator, residual: int) -> Requantization:
    """The ending with what the residual's numbers allow."""
    zero = one_quant(op.operands[residual].type)[1] if ending.residual else 1
    return replace(ending, as_stored=zero == 0)


def narrowed(ending: Requantization, op: Operator, target: Target) -> Requantization:
    """The ending with the core's way to make bytes of several vectors."""
    if ending.result != "uint8" or target.isa.narrowing is None:
        return ending
    moved = one_quant(op.result.type)[1] != 0
    return replace(ending, narrowing=target.isa.narrowing, limited=op["limits"] != (0, 255), moved=moved)


def _keeps_zero(op: Operator, residual: int) -> bool:
    """Whether lanes with sum 0 and residual byte 0 come out as zero."""
    if op.result.type.quant is not None:
        return one_quant(op.result.type)[1] == 0 and op["limits"][0] == 0
    return len(op.operands) <= residual or one_quant(op.operands[residual].type)[1] == 0


def _none() -> Floats:
    return np.zeros(_COUNT, np.float32)


def stored_parameters(zero: int, low: int = 0, high: int = 255) -> Floats:
    """`result_parameters` of bytes from `low` to `high` with that zero point, without a residual."""
    values = _none()
    values[[_LOW, _HIGH, _OFFSET]] = low - zero, high - zero, _ROUNDER - zero
    return values


def result_parameters(op: Operator, residual: int) -> Floats:
    """Limits less zero point, the integers' offset, and the residual's zero point and step: 5 floats."""
    stored = op.result.type.quant is not None
    values = stored_parameters(one_quant(op.result.type)[1], *op["limits"]) if stored else _none()
    if len(op.operands) > residual:
        values[_RESIDUAL_ZERO] = one_quant(op.operands[residual].type)[1]
        values[_RESIDUAL_STEP] = residual_multiplier(op, residual)
    return values


def padded_multipliers(op: Operator) -> Floats:
    """The multiplier of every channel of a convolution or matrix product, zero past the last."""
    factors = channel_multipliers(op)
    padded = np.zeros(up(factors.size, BLOCK), np.float32)
    padded[: factors.size] = factors
    return padded


class Requantize:
    """Emits the end of a kernel on vectors of `lanes` channels.

    `parameters` is the buffer of `result_parameters`; `multipliers` (float32,
    whole vectors) and `residual` (uint8) may be None where they are not used.
    """

    def __init__(
        self,
        spec: Requantization,
        lanes: int,
        parameters: Buffer,
        multipliers: Buffer | None = None,
        residual: Buffer | None = None,
    ) -> None:
        self.spec, self.lanes, self.parameters = spec, lanes, parameters
        self.multipliers, self.residual = multipliers, residual

    def of_lanes(self, lanes: int) -> Self:
        """The same on other vectors."""
        return type(self)(self.spec, lanes, self.parameters, self.multipliers, self.residual)

    @property
    def dtype(self) -> str:
        """The stored type."""
        return self.spec.result

    def of_sum(self, total: Expr, index: Expr, channel: Expr) -> Expr:
        """The stored vector of int32 sums of channels `channel`..., whose residual lies at `index`."""
        t = total.astype(self._type("float32")) * load(self.multipliers, channel, self.lanes)
        return self.of_steps(t, index, channel)

    def of_steps(self, t: Expr, index: Expr, channel: Expr) -> Expr:
        """The stored vector of `t`, float32 in steps of the result before any residual."""
        if self.spec.residual:
            t = self._hold(t) + self._hold(self._residual(index, channel))
        if self.spec.result == "float32":
            return self._masked(self._hold(t), channel)
        return self._masked(self._stored(t), channel)

    def of_wide_sum(self, total: Expr, index: Expr, channel: Expr) -> Expr:
        """`of_sum`, which goes through vectors of four where these are narrowed together."""
        if self.spec.narrowing is None or not self.spec.narrowing.nearest or self.lanes not in (4, 8, 16):
            return self.of_sum(total, index, channel)
        held = hold(total, self.lanes, "int32")
        parts = [T.Shuffle([held], list(range(k, k + 4))) for k in range(0, self.lanes, 4)]
        return self.of_lanes(4).of_sums(parts, index, channel)

    def of_wide_floats(self, total: Expr, index: Expr, channel: Expr) -> Expr:
        """`of_wide_sum` of sums that have been rounded to float32."""
        return self.of_wide_steps(total * load(self.multipliers, channel, self.lanes), index, channel)

    def of_wide_steps(self, t: Expr, index: Expr, channel: Expr) -> Expr:
        """`of_steps`, narrowed as `of_wide_sum` is."""
        narrowing = self.spec.narrowing
        if narrowing is None or not narrowing.nearest or self.lanes not in (4, 8, 16):
            return self.of_steps(t, index, channel)
        if self.spec.residual:
            t = self._hold(t) + self._hold(self._residual(index, channel))
        held = self._hold(t)
        parts = [T.Shuffle([held], list(range(k, k + 4))) for k in range(0, self.lanes, 4)]
        return self._masked(self._narrowed(parts if self.lanes > 4 else [held], narrowing), channel)

    def of_sums(self, totals: Sequence[Expr], index: Expr, channel: Expr) -> Expr:
        """The stored vector of several vectors of sums, the first of channels `channel`..."""
        lanes, narrowing = self.lanes * len(totals), self.spec.narrowing
        if narrowing is None or not narrowing.nearest:
            joined = totals[0] if len(totals) == 1 else T.Shuffle([*totals], list(range(lanes)))
            return self.of_lanes(lanes).of_sum(hold(joined, lanes, "int32"), index, channel)
        steps = [
            self._steps(t, index + k * self.lanes, channel + k * self.lanes) for k, t in enumerate(totals)
        ]
        return self.of_lanes(lanes)._masked(self._narrowed(steps, narrowing), channel)

    def _steps(self, total: Expr, index: Expr, channel: Expr) -> Expr:
        """float32 in steps of the result, the residual added."""
        t = self._hold(total.astype(self._type("float32")) * load(self.multipliers, channel, self.lanes))
        return self._hold(t + self._hold(self._residual(index, channel))) if self.spec.residual else t

    def _narrowed(self, steps: Sequence[Expr], by: Narrowing) -> Expr:
        """Bytes of the steps, limited as integers: limits are whole, so rounding may come before them."""
        wide = [_called("int32x4", by.nearest, t) for t in steps]
        halves = [_called("int16x4", by.halves, v) for v in wide]
        if len(halves) == 1:
            halves.append(_nothing("int16", 4))
        pairs = [T.Shuffle([*halves[k : k + 2]], list(range(8))) for k in range(0, len(halves), 2)]
        zero = (T.int32(_ROUNDER_BITS) - T.reinterpret("int32", self.parameters[_OFFSET])).astype("int16")
        if self.spec.moved:
            pairs = [_called("int16x8", "llvm.sadd.sat.v8i16", v, T.Broadcast(zero, 8)) for v in pairs]
        parts = [_called("uint8x8", by.bytes, v) for v in pairs]
        lanes = 4 * len(steps)
        joined = parts[0] if len(parts) == 1 else T.Shuffle(parts, list(range(lanes)))
        limited = self._limited(joined, zero, max(8, lanes))
        return _first_half(limited) if lanes == 4 else limited

    def _limited(self, value: Expr, zero: Expr, lanes: int) -> Expr:
        if not self.spec.limited:
            return value
        held = hold(value, lanes, "uint8")
        low, high = (
            T.Broadcast((self.parameters[k].astype("int32") + zero.astype("int32")).astype("uint8"), lanes)
            for k in (_LOW, _HIGH)
        )
        return T.min(hold(T.max(held, low), lanes, "uint8"), high)

    def _residual(self, index: Expr, channel: Expr) -> Expr:
        assert self.residual is not None, "the specification has a residual"
        stored = load(self.residual, index, self.lanes)
        if (reach := self.spec.reach) is not None:  # elsewhere nothing is read
            inside = (channel >= reach.at) & (channel < reach.end)
            stored = T.if_then_else(inside, stored, splat(0, self.lanes, "uint8"))
        whole = stored.astype(self._type("int32"))
        steps = self._hold(whole.astype(self._type("float32")))
        centred = steps if self.spec.as_stored else self._hold(steps - self._parameter(_RESIDUAL_ZERO))
        value = centred * self._parameter(_RESIDUAL_STEP)
        return value if reach is None else self._where_met(value, reach, channel)

    def _where_met(self, value: Expr, reach: Reach, channel: Expr) -> Expr:
        """Zero in the lanes of channels that do not meet the residual."""
        lane = T.Ramp(channel, 1, self.lanes) if self.lanes > 1 else channel
        first, end = (splat(n, self.lanes, "int32") for n in (reach.at, reach.end))
        return T.Select((lane >= first) & (lane < end), self._hold(value), self._constant(0.0))

    def _stored(self, t: Expr) -> Expr:
        t = T.max(self._parameter(_LOW), self._hold(t))
        if self.spec.saturates:
            unsigned = T.reinterpret(self._type("uint32"), self._converted(self._hold(t)))
            return T.min(unsigned, splat(255, self.lanes, "uint32")).astype(self._type("uint8"))
        t = self._hold(T.min(self._parameter(_HIGH), self._hold(t)))
        if self.spec.converts:
            middle = splat(_ROUNDER_BITS, self.lanes, "int32")
            steps = self._converted(t) + (middle - self._bits(self._parameter(_OFFSET)))
        elif self.spec.narrowing:
            shifted, offset = self._hold(t + self._constant(_ROUNDER)), self._parameter(_OFFSET)
            low = [self._bits(v).astype(self._type("uint8")) for v in (shifted, offset)]
            return low[0] - low[1]
        else:
            shifted = self._hold(t + self._constant(_ROUNDER))
            steps = self._bits(shifted) - self._bits(self._parameter(_OFFSET))
        return steps.astype(self._type("uint8"))

    def _converted(self, t: Expr) -> Expr:
        """The nearest int32, half to even."""
        dtypes = f"v{self.lanes}i32.v{self.lanes}f32" if self.lanes > 1 else "i32.f32"
        return T.call_llvm_pure_intrin(self._type("int32"), f"llvm.lrint.{dtypes}", t)

    def _masked(self, value: Expr, channel: Expr) -> Expr:
        if not self.spec.filters:
            return value
        lane = T.Ramp(channel, 1, self.lanes) if self.lanes > 1 else channel
        inside = lane < splat(self.spec.filters, self.lanes, "int32")
        return T.Select(inside, value, splat(0, self.lanes, self.dtype))

    def _parameter(self, index: int) -> Expr:
        return splat(self.parameters[index], self.lanes)

    def _constant(self, value: float) -> Expr:
        return splat(value, self.lanes)

    def _hold(self, value: Expr) -> Expr:
        """In a register of its own: TIR neither simplifies nor fuses across it."""
        return hold(value, self.lanes)

    def _bits(self, value: Expr) -> Expr:
        return T.reinterpret(self._type("int32"), value)

    def _type(self, dtype: str) -> str:
        return dtype if self.lanes == 1 else f"{dtype}x{self.lanes}"


def _nothing(dtype: str, lanes: int) -> Expr:
    """A register that nobody has written: LLVM does not fill it."""
    return Registers(1, lanes, dtype)[0]


def _first_half(value: Expr) -> Expr:
    """Of 8 bytes, as one word: LLVM takes a vector of 4 bytes apart."""
    words = T.reinterpret("int32x2", value)
    return T.reinterpret("uint8x4", T.Shuffle([words], [0]))


def _called(dtype: str, intrinsic: str, *operands: Expr) -> Expr:
    return T.call_llvm_pure_intrin(dtype, intrinsic, *operands)
