"""Helpers that result-type rules share: checks that end in one sentence, and shape arithmetic."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial

from ..elementwise import extra_operands
from ..literals import written
from ..opdef import Signature, TypeRuleError
from ..support.reach import ranged
from ..types import DType, TensorType, extents

Shape = tuple[int, ...]

MAX_TAPS = 1 << 20
"""No window is larger; it bounds the work that a few bytes of attributes can ask for."""


def require(condition: bool, message: str | Callable[[], str]) -> None:
    """Raises TypeRuleError(message) where the condition fails; a function's message is made only then."""
    if not condition:
        raise TypeRuleError(message if isinstance(message, str) else message())


def broadcast(*shapes: Shape) -> Shape:
    """NumPy's broadcasting of several shapes."""
    rank = max(map(len, shapes), default=0)
    result: list[int] = []
    for dims in zip(*[(1,) * (rank - len(s)) + s for s in shapes], strict=True):
        wide = {d for d in dims if d != 1}
        require(len(wide) <= 1, lambda: f"shapes {', '.join(map(extents, shapes))} do not broadcast")
        result.append(wide.pop() if wide else 1)
    return tuple(result)


def same_dtype(sig: Signature) -> DType:
    """The element type that all operands share."""
    found = {t.dtype for t in sig.types}
    require(
        len(found) == 1,
        lambda: f"operands have different element types: {', '.join(t.dtype.value for t in sig.types)}",
    )
    return found.pop()


def floating(type: TensorType) -> DType:
    """The element type, which must be a float."""
    require(type.dtype.is_float, f"defined on floats, the operand is {type.dtype.value}")
    return type.dtype


def numeric(type: TensorType) -> DType:
    """The element type, which must be a number."""
    require(type.dtype != DType.BOOL, "defined on numbers, the operand is bool")
    return type.dtype


def normalize_axis(axis: int, rank: int) -> int:
    """A negative axis counted from the front."""
    require(-rank <= axis < rank, f"axis {axis} is outside a tensor of rank {rank}")
    return axis % rank


def reaching(sig: Signature, shape: Shape) -> Shape:
    """The shape that the last operand has in effect, where `reach` says which channels it meets.

    It has as many as the result only where it meets all of them, and then there is no `reach`: so a
    result may lie on it wherever the two have one type.
    """
    given, last = sig["reach"], sig.types[-1].shape
    if not given:
        return last
    require(
        len(given) == 3,
        lambda: f"reach is [first channel, first of the operand, count], not {written(given)}",
    )
    fits = len(last) == len(shape) > 1 and ranged(given, last[1]).fits(shape[1]) and last[1] != shape[1]
    require(
        fits and (last[0], *last[2:]) == (shape[0], *shape[2:]),
        lambda: f"an operand {extents(last)} does not reach {written(given)} of {extents(shape)}",
    )
    return shape


def with_epilogue(
    sig: Signature, shape: Shape, dtype: DType, fixed: int, last: Shape | None = None
) -> list[TensorType]:
    """The result of an operator whose operands after `fixed` feed its epilogue and broadcast to `shape`.

    `last` is the shape that the last of them has in effect, where that is not its own.
    """
    extras = list(sig.types[fixed:])
    if last is not None and extras and last != extras[-1].shape:
        extras[-1] = replace(extras[-1], shape=last)
    wanted = extra_operands(sig["epilogue"])
    require(len(extras) == wanted, lambda: f"the epilogue takes {wanted} operands, got {len(extras)}")
    for step in sig["epilogue"]:
        if not step.function.accepts(dtype):
            raise TypeRuleError(f"step {step.op} is not defined on {dtype.value}")
    for extra in extras:
        if extra.dtype != dtype:
            had = extra.dtype.value
            raise TypeRuleError(f"epilogue operand is {had}, the operator gives {dtype.value}")
        fits = extra.shape == shape or broadcast(shape, extra.shape) == shape
        require(fits, partial(_no_broadcast, extra, shape))
    return [TensorType(shape, dtype)]


def _no_broadcast(extra: TensorType, shape: Shape) -> str:
    return f"epilogue operand {extra} does not broadcast to {extents(shape)}"


def window_extent(
    size: int, kernel: int, stride: int, pad: int, dilation: int, ceil: bool = False, begin: int = 0
) -> int:
    """Output extent of a sliding window over `size` elements with `pad` in total, `begin` of it in front.

    With `ceil`, a last window that starts inside the input or the begin padding is kept (ONNX MaxPool-19).
    """
    span = size + pad - (dilation * (kernel - 1) + 1)
    require(
        span >= 0,
        lambda: (
            f"a window of {kernel} (dilation {dilation}) does not fit an extent of {size} with padding {pad}"
        ),
    )
    if not ceil:
        return span // stride + 1
    extent = -(-span // stride) + 1
    return extent - 1 if (extent - 1) * stride >= size + begin else extent


def limit_window(kernel: Sequence[int], padded: Sequence[int]) -> None:
    """Refuses windows of too many taps, and padding to more than a tensor may hold."""
    require(
        math.prod(kernel) <= MAX_TAPS, lambda: f"a window of {written(kernel)} has more than {MAX_TAPS} taps"
    )
    TensorType(tuple(padded))  # refuses itself where it is too large


def window_extents(sig: Signature, size: Sequence[int], kernel: Sequence[int], ceil: bool = False) -> Shape:
    """`window_extent` over every spatial axis, from the attributes strides, pads and dilations."""
    n = len(kernel)
    strides, pads, dilations = sig["strides"], sig["pads"], sig["dilations"]
    require(len(size) == n, lambda: f"a {n}-dimensional window over {len(size)} spatial axes")
    require(
        len(strides) == n and len(dilations) == n and len(pads) == 2 * n,
        lambda: (
            f"strides {written(strides)}, dilations {written(dilations)} and pads {written(pads)} "
            f"do not fit a {n}-dimensional window"
        ),
    )
    require(
        min(strides) > 0 and min(dilations) > 0 and min(kernel) > 0,
        "kernel, strides and dilations must be positive",
    )
    require(min(pads) >= 0, lambda: f"pads {written(pads)} are negative")
    limit_window(kernel, [size[i] + pads[i] + pads[n + i] for i in range(n)])
    return tuple(
        window_extent(size[i], kernel[i], strides[i], pads[i] + pads[n + i], dilations[i], ceil, pads[i])
        for i in range(n)
    )
