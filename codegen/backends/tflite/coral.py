"""What the Edge TPU's compiler maps to the chip, by the table in its documentation, before it is asked.

The table is that of compiler 16.0 and runtime 14 ("TensorFlow models on the Edge TPU").
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import prod

from secateur.ir.types import extents

from .contents import Listed

Reason = str | None
BYTES = ("int8", "uint8")
SOFTMAX_ELEMENTS = 16_000
CHANNEL_STEP = 4
"""A mean over channels wants a multiple of so many."""


def refusal(op: Listed) -> Reason:
    """Why the compiler does not map an operator, by itself; None where it does."""
    if op.kind not in RULES:
        return f"{op.kind} is not in the table of operators"
    return next((reason for rule in (_types, _ranks, *RULES[op.kind]) if (reason := rule(op))), None)


def _data(op: Listed) -> list[tuple[int, ...]]:
    return [t.shape for t in (*op.inputs, *op.outputs) if not t.constant]


LSTM = "UNIDIRECTIONAL_SEQUENCE_LSTM"


def _types(op: Listed) -> Reason:
    """What it takes and gives are bytes; the state that an LSTM keeps to itself is not."""
    given = op.inputs[:1] if op.kind == LSTM else op.inputs
    wrong = {t.dtype for t in (*given, *op.outputs) if not t.constant and t.dtype not in BYTES}
    return f"it computes on {', '.join(sorted(wrong))}, not on bytes" if wrong else None


def _ranks(op: Listed) -> Reason:
    large = [s for s in _data(op) if any(d > 1 for d in s[:-3])]
    return f"a tensor of {extents(large[0])}: only the 3 innermost axes may exceed 1" if large else None


# Rules of single operators --------------------------------------------------------------------------


def _no_activation(op: Listed) -> Reason:
    fused = op.options.get("fusedActivationFunction", 0)
    return "an activation is fused into it" if fused else None


def _even_dilation(op: Listed) -> Reason:
    h, w = op.options.get("dilationHFactor", 1), op.options.get("dilationWFactor", 1)
    return f"its dilations {h} and {w} differ" if h != w else None


def _constants(op: Listed) -> Reason:
    return None if all(t.constant for t in op.inputs[1:]) else "its weights or bias are computed"


def _filters(op: Listed) -> Reason:
    """A transposed convolution's shape, weights and bias are constants, what it computes on is the third."""
    rest = [t for i, t in enumerate(op.inputs) if i != 2]
    return None if all(t.constant for t in rest) else "its shape, weights or bias are computed"


def _no_groups(op: Listed) -> Reason:
    groups = op.inputs[0].shape[-1] // max(1, op.inputs[1].shape[-1])
    return f"it has {groups} groups" if groups > 1 else None


def _one_row(op: Listed) -> Reason:
    shape = op.outputs[0].shape
    return None if all(d == 1 for d in shape[:-1]) else "its result has more than one axis"


def _zeros_joined(op: Listed) -> Reason:
    return "it joins a constant" if any(t.constant for t in op.inputs) else None


def _softmax(op: Listed) -> Reason:
    shape = op.inputs[0].shape
    if any(d > 1 for d in shape[:-1]):
        return "its input has more than one axis"
    return f"{prod(shape)} elements, at most {SOFTMAX_ELEMENTS}" if prod(shape) > SOFTMAX_ELEMENTS else None


def _channels(op: Listed) -> Reason:
    """A mean over channels, seen by what is left of them, of a multiple of 4."""
    before, after = op.inputs[0].shape, op.outputs[0].shape
    over = before[-1] > 1 and prod(after) * before[-1] <= prod(before) and after[-1:] != before[-1:]
    wrong = over and before[-1] % CHANNEL_STEP
    return f"it averages over {before[-1]} channels, no multiple of {CHANNEL_STEP}" if wrong else None


def _strides(op: Listed) -> Reason:
    masks = op.options.get("ellipsisMask", 0) or op.options.get("newAxisMask", 0)
    before, after = op.inputs[0].shape, op.outputs[0].shape
    return "it uses masks of new axes" if masks else _skips(before, after)


def _skips(before: Sequence[int], after: Sequence[int]) -> Reason:
    """Whether it takes every second element: told where an axis is halved, since steps are constants."""
    halved = any(1 < a <= (b + 1) // 2 for b, a in zip(before, after, strict=False))
    return "its steps are not known to be 1" if halved else None


def _resized(op: Listed) -> Reason:
    """The compiler may leave some; public models show which: by broken factors, and of one pixel."""
    before, after = op.inputs[0].shape, op.outputs[0].shape
    whole = all(b and a % b == 0 for b, a in zip(before, after, strict=True))
    whole = whole and (before[1:3] != (1, 1) or after == before)
    sizes = f"from {extents(before[1:3])} to {extents(after[1:3])}"
    return None if whole else f"{sizes}: the compiler may leave this on the CPU for precision"


Rule = Callable[[Listed], Reason]
_WEIGHED = (_constants, _even_dilation)
RULES: dict[str, Sequence[Rule]] = {
    **dict.fromkeys(("ADD", "SUB", "MUL", "MAXIMUM", "MINIMUM", "SQUARED_DIFFERENCE"), ()),
    **dict.fromkeys(("AVERAGE_POOL_2D", "MAX_POOL_2D"), (_no_activation,)),
    "CONCATENATION": (_no_activation, _zeros_joined),
    "CONV_2D": (*_WEIGHED, _no_groups),
    "DEPTHWISE_CONV_2D": _WEIGHED,
    "FULLY_CONNECTED": (_constants, _one_row),
    **dict.fromkeys(("EXPAND_DIMS", "SQUEEZE", "RESHAPE", "TRANSPOSE"), ()),
    **dict.fromkeys(("L2_NORMALIZATION", "LOGISTIC", "TANH", "RELU", "RELU6", "RELU_N1_TO_1"), ()),
    "MEAN": (_channels,),
    **dict.fromkeys(("PACK", "PAD", "SPLIT", "REDUCE_MAX", "REDUCE_MIN", "SUM", "PRELU", "QUANTIZE"), ()),
    **dict.fromkeys(("RESIZE_BILINEAR", "RESIZE_NEAREST_NEIGHBOR"), (_resized,)),
    **dict.fromkeys(("RSQRT", "SLICE", "SPACE_TO_DEPTH", LSTM), ()),
    "TRANSPOSE_CONV": (_filters,),
    "SOFTMAX": (_softmax,),
    "STRIDED_SLICE": (_strides,),
    "TILE": (),
}
"""The operators of the table, with what it asks of each; TILE is mapped in public models though not in it."""
