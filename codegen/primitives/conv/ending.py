"""The ends of a convolution's sums: where they start, and how they are stored, in float32 or as bytes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from ...tir import T, load, splat, store
from ...vector import epilogue
from ..specs import ConvSpec, up
from .finish_int8 import LinearFinish, LinearSpec, linear_pointers

Expr = Any
Buffer = Any


@dataclass(frozen=True)
class Finish:
    """How a kernel ends: bias into the accumulators' start, extra operands and mask into the store."""

    spec: Any
    lanes: int
    extras: tuple[Buffer, ...]
    bias: Buffer | None

    def start(self, channel: Expr) -> Expr:
        """The initial value of an accumulator for channels `channel`..."""
        return splat(0.0, self.lanes) if self.bias is None else load(self.bias, channel, self.lanes)

    def finish(self, value: Expr, index: Expr, channel: Expr) -> Expr:
        """The epilogue on one vector of channels at output element `index`; zero past the last channel."""
        return self._masked(self.applied(value, index, channel), channel)

    def applied(self, value: Expr, index: Expr, channel: Expr) -> Expr:
        """The epilogue on one vector of channels at output element `index`."""

        def operand(i: int) -> Expr:
            kind = self.spec.extras[i]
            if kind == "scalar":
                return splat(self.extras[i][0], self.lanes)
            return load(self.extras[i], index if kind == "full" else channel, self.lanes)

        return epilogue.apply(self.spec.epilogue, value, operand, self.lanes)

    def _masked(self, value: Expr, channel: Expr) -> Expr:
        """Zero in the lanes past the last filter: an infinite input would leave NaN there."""
        if self.spec.filters % self.lanes == 0:
            return value
        lane = T.Ramp(channel, 1, self.lanes)
        return T.Select(lane < splat(self.spec.filters, self.lanes, "int32"), value, splat(0.0, self.lanes))


def split_buffers(
    spec: Any, buffers: tuple[Buffer, ...]
) -> tuple[Buffer, tuple[Buffer, ...], tuple[Buffer, ...]]:
    """(data, extras, constants) of a kernel's inputs."""
    count = len(spec.extras)
    return buffers[0], buffers[1 : 1 + count], buffers[1 + count :]


def pointers(spec: Any, constants: tuple[str, ...] = ("weights",)) -> list[str]:
    """Parameter names of a kernel before the workspace."""
    bias = ("bias",) if spec.bias else ()
    return ["data", *(f"extra{i}" for i in range(len(spec.extras))), *constants, *bias, "output"]


class FloatFinish:
    """How the nest below ends where it sums floats."""

    def __init__(self, spec: ConvSpec, lanes: int, buffers: tuple[Buffer, ...]) -> None:
        *inputs, self.output = buffers
        extras, rest = inputs[: len(spec.extras)], inputs[len(spec.extras) :]
        self.spec, self.lanes = spec, lanes
        self.finish = Finish(spec, lanes, tuple(extras), rest[0] if spec.bias else None)

    def start(self, channel: Expr, rows: tuple[Expr, Expr], taps: tuple[Any, ...]) -> Expr:
        """The same for every pixel."""
        return self.finish.start(channel)

    def store(self, value: Expr, image: Expr, pixel: Expr, channel: Expr) -> None:
        """The epilogue on sums of channels `channel`... at output pixel `pixel`."""
        blocks = up(self.spec.filters, self.lanes) // self.lanes
        index = ((image * blocks + channel // self.lanes) * self.spec.pixels + pixel) * self.lanes
        store(self.output, index, self.finish.finish(value, index, channel), self.lanes)


def kernel_pointers(spec: ConvSpec) -> list[str | tuple[str, str]]:
    """A kernel's parameters before the workspace: data, extras, weights, other constants, output."""
    return linear_pointers(spec) if isinstance(spec, LinearSpec) else [*pointers(spec)]


def opened(spec: ConvSpec, lanes: int, buffers: tuple[Buffer, ...]) -> tuple[Buffer, Buffer, Any]:
    """(data, weights, ending) of the buffers that `kernel_pointers` names."""
    extras = spec.ending.residual if isinstance(spec, LinearSpec) else len(spec.extras)
    data, weights = buffers[0], buffers[1 + extras]
    rest = (*buffers[1 : 1 + extras], *buffers[2 + extras :])
    ending = LinearFinish if isinstance(spec, LinearSpec) else FloatFinish
    return data, weights, ending(spec, lanes, rest)  # type: ignore[arg-type]
