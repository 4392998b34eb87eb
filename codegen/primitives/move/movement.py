"""Operators that move elements: as boxes of strided copies, and gathers."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from secateur.ir.graph import Operator
from secateur.ir.types import ROW_MAJOR

from ...kernel import Kernel
from ...targets.target import Target
from ...vector.loops import broadcast_strides, row_major_strides
from ..elementwise.broadcast import broadcast_blocked
from ..elementwise.elementwise import argument_order
from ..generic import (
    BLOCKED,
    Generic,
    block_refusal,
    channel_block,
    physical,
    same_layouts,
    storage,
    target_block,
    type_after,
    with_half,
)
from ..operator import Combination, Primitive
from ..resize import resize
from .copies import FILL, Box, copy_kernel, copy_spec

MOST_BOXES = 96  # of a blocked concatenation; more are faster row-major
MOST_PIECES = 256  # of padding, each a loop nest


def _spread(op: Operator) -> list[Box]:
    """The operand broadcast to the result."""
    x, to = op.operands[0].type, type_after(op)
    if to.layout.block:
        strides = broadcast_blocked(x.shape, to.shape, to.layout.block)
    else:
        strides = broadcast_strides(x.shape, to.shape)
    return [Box(physical(to), strides, row_major_strides(physical(to)))]


def _transposed(op: Operator) -> list[Box]:
    x, to = op.operands[0].type, type_after(op)
    strides = row_major_strides(x.shape)
    return [Box(to.shape, tuple(strides[p] for p in op["perm"]), row_major_strides(to.shape))]


def _tiled(op: Operator) -> list[Box]:
    x, to = op.operands[0].type, type_after(op)
    source, target, repeats = row_major_strides(x.shape), row_major_strides(to.shape), op["repeats"]
    extents = [v for pair in zip(repeats, x.shape, strict=True) for v in pair]
    read = [v for s in source for v in (0, s)]
    written = [v for t, d in zip(target, x.shape, strict=True) for v in (t * d, t)]
    return [Box(tuple(extents), tuple(read), tuple(written))]


def _sliced(op: Operator) -> list[Box]:
    x, to, block = op.operands[0].type, type_after(op), type_after(op).layout.block
    starts, steps = list(op["starts"]), list(op["steps"])
    if block:
        starts, steps = [starts[0], starts[1] // block, *starts[2:], 0], [*steps, 1]
    strides = row_major_strides(physical(x))
    read = tuple(s * step for s, step in zip(strides, steps, strict=True))
    start = sum(s * begin for s, begin in zip(strides, starts, strict=True))
    return [Box(physical(to), read, row_major_strides(physical(to)), start)]


def _slice_refusal(op: Operator, block: int) -> str | None:
    start, size, step = (op[a][1] for a in ("starts", "sizes", "steps"))
    whole = size % block == 0 or start + size == op.operands[0].type.shape[1]
    return None if start % block == 0 and step == 1 and whole else "the slice cuts through blocks of channels"


def _depth_to_space(op: Operator) -> list[Box]:
    (n, c, h, w), b = type_after(op).shape, op["block"]
    h, w = h // b, w // b
    extents = (n, c, h, b, w, b)
    plane = h * w
    by_channel, by_row, by_column = (
        (plane, b * c * plane, c * plane) if op["mode"] == "DCR" else (b * b * plane, b * plane, plane)
    )
    source = (c * b * b * plane, by_channel, w, by_row, 1, by_column)
    return [Box(extents, source, row_major_strides(extents))]


def _space_to_depth(op: Operator) -> list[Box]:
    (n, c, h, w), b = op.operands[0].type.shape, op["block"]
    extents: tuple[int, ...] = (n, b, b, c, h // b, w // b)
    source: tuple[int, ...] = (c * h * w, w, 1, h * w, b * w, b)
    if op["mode"] == "CRD":
        extents, source = (_channels_outermost(v) for v in (extents, source))
    return [Box(extents, source, row_major_strides(extents))]


def _channels_outermost(values: tuple[int, ...]) -> tuple[int, ...]:
    """(n, b, b, c, h, w) as (n, c, b, b, h, w)."""
    n, row, column, c, h, w = values
    return n, c, row, column, h, w


@dataclass(frozen=True)
class Segment:
    """`length` result positions along one axis from `at` on, read from `start` in steps; step 0 repeats."""

    at: int
    length: int
    start: int
    step: int
    outside: bool = False


def axis_segments(extent: int, begin: int, end: int, mode: str) -> list[Segment]:
    """How padding by `begin` and `end` reads an axis of `extent` elements; negative ones cut first."""
    first, kept = max(0, -begin), extent - max(0, -begin) - max(0, -end)
    begin, end = max(begin, 0), max(end, 0)
    if mode == "constant":
        parts = [Segment(0, begin, 0, 0, True), Segment(begin + kept, end, 0, 0, True)]
    elif mode == "edge":
        parts = [Segment(0, begin, first, 0), Segment(begin + kept, end, first + kept - 1, 0)]
    elif mode == "reflect":
        parts = [Segment(0, begin, first + begin, -1), Segment(begin + kept, end, first + kept - 2, -1)]
    else:
        parts = _wrapped(first, kept, begin, end)
    return [s for s in (Segment(begin, kept, first, 1), *parts) if s.length > 0]


def _wrapped(first: int, kept: int, begin: int, end: int) -> list[Segment]:
    """Whole and partial copies on both sides of `kept` elements."""
    before = [
        Segment(max(0, at), min(kept, at + kept), first + max(0, -at), 1)
        for at in range(begin - kept, -kept, -kept)
    ]
    stop = begin + kept + end
    after = [Segment(at, min(kept, stop - at), first, 1) for at in range(begin + kept, stop, kept)]
    return before + after


def _padded(op: Operator) -> list[Box]:
    x, to, pads, rank = op.operands[0].type, type_after(op), op["pads"], op.operands[0].type.rank
    shape = physical(x)
    ends = [(pads[i], pads[rank + i]) for i in range(rank)] + [(0, 0)] * (len(shape) - rank)
    segments = [axis_segments(d, *ends[i], op["mode"]) for i, d in enumerate(shape)]
    source, target = row_major_strides(shape), row_major_strides(physical(to))
    return [_pad_box(chosen, source, target) for chosen in _merged_fill(segments)]


def _merged_fill(segments: list[list[Segment]]) -> list[tuple[Segment, ...]]:
    """Every combination of segments; beyond an axis's outside segment, the remaining axes are one piece."""
    if not segments:
        return [()]
    whole = [[Segment(0, sum(s.length for s in axis), 0, 0, True)] for axis in segments[1:]]
    found: list[tuple[Segment, ...]] = []
    for segment in segments[0]:
        rest = [tuple(axis[0] for axis in whole)] if segment.outside else _merged_fill(segments[1:])
        found += [(segment, *others) for others in rest]
    return found


def _pad_box(chosen: Sequence[Segment], source: Sequence[int], target: Sequence[int]) -> Box:
    outside = any(s.outside for s in chosen)
    return Box(
        tuple(s.length for s in chosen),
        tuple(0 if outside else s.step * stride for s, stride in zip(chosen, source, strict=True)),
        tuple(target),
        0 if outside else sum(s.start * stride for s, stride in zip(chosen, source, strict=True)),
        sum(s.at * stride for s, stride in zip(chosen, target, strict=True)),
        FILL if outside else 0,
    )


def pad_pieces(op: Operator) -> int:
    """How many boxes padding takes: wrapping repeats an axis as often as it must."""
    shape, rank, pads = op.operands[0].type.shape, op.operands[0].type.rank, op["pads"]
    pieces = 1
    for i, extent in enumerate(shape):
        ends = (pads[i], pads[rank + i])
        kept = max(1, extent + min(0, ends[0]) + min(0, ends[1]))
        pieces *= 1 + sum(-(-e // kept) if op["mode"] == "wrap" else 1 for e in ends if e > 0)
    return pieces


def _pad_refusal(op: Operator, block: int) -> str | None:
    rank, pads = op.operands[0].type.rank, op["pads"]
    if pads[1] or pads[rank + 1]:
        return "padding of channels"
    exact = op["value"] == 0.0 or op["mode"] != "constant" or op.operands[0].type.shape[1] % block == 0
    return None if exact else "padding lanes would not stay zero"


def _concatenated(op: Operator) -> list[Box]:
    to = type_after(op)
    axis, places = op["axis"] % to.rank, argument_order(op)
    if to.layout.block:
        return _joined_channels(op)
    target, boxes, at = row_major_strides(to.shape), [], 0
    for i, value in enumerate(op.operands):
        shape = value.type.shape
        boxes.append(Box(shape, row_major_strides(shape), target, 0, at * target[axis], places.index(i)))
        at += shape[axis]
    return boxes


def channel_runs(begin: int, channels: int, block: int) -> list[tuple[int, int, int]]:
    """(channel, count, blocks) of runs of an operand that starts at channel `begin` of the result.

    A run crosses no block of the operand nor of the result; successive whole blocks are one run of `blocks`.
    """
    if begin % block == 0:
        whole = channels // block
        rest = [(whole * block, channels % block, 1)] if channels % block else []
        return [(0, block, whole), *rest] if whole else rest
    cuts = {c for c in range(channels) if c % block == 0 or (begin + c) % block == 0} | {channels}
    return [(a, b - a, 1) for a, b in itertools.pairwise(sorted(cuts))]


def _joined_channels(op: Operator) -> list[Box]:
    """Blocked tensors joined along channels, which need not be whole blocks."""
    to, places, begin = type_after(op), argument_order(op), 0
    block, pixels = to.layout.block, math.prod(to.shape[2:])
    images, blocks = to.shape[0], physical(to)[1]
    boxes = []
    for i, value in enumerate(op.operands):
        channels = value.type.shape[1]
        stride = -(-channels // block) * block * pixels
        for first, count, repeats in channel_runs(begin, channels, block):
            extents = (images, repeats, pixels, count)
            strides = [(s, block * pixels, block, 1) for s in (stride, blocks * block * pixels)]
            start, at = (_lane_offset(c, block, pixels) for c in (first, begin + first))
            boxes.append(Box(extents, strides[0], strides[1], start, at, places.index(i)))
        begin += channels
    if begin % block:
        rest = (images, pixels, block - begin % block)
        written = (blocks * block * pixels, block, 1)
        boxes.append(Box(rest, (0, 0, 0), written, 0, _lane_offset(begin, block, pixels), FILL))
    return boxes


def _lane_offset(channel: int, block: int, pixels: int) -> int:
    return channel // block * block * pixels + channel % block


def _concat_refusal(op: Operator, block: int) -> str | None:
    if op["axis"] % type_after(op).rank != 1:
        return "joined along another axis than channels"
    begin, runs = 0, 0
    for value in op.operands:
        runs += len(channel_runs(begin, value.type.shape[1], block))
        begin += value.type.shape[1]
    return None if runs <= MOST_BOXES else "too many ragged parts"


def _expand_refusal(op: Operator, _block: int) -> str | None:
    x, to = op.operands[0].type, type_after(op)
    same = x.rank == to.rank and x.shape[1] == to.shape[1]
    return None if same else "channels are broadcast"


Refusal = Callable[[Operator, int], str | None]


class Copy(Generic):
    """One operator as boxes; blocked where `refusal` is given and finds nothing against it."""

    def __init__(
        self, operator: str, boxes: Callable[[Operator], list[Box]], refusal: Refusal | None = None
    ) -> None:
        self.name, self.operators = "copy", (operator,)
        self.boxes, self.refusal = boxes, refusal

    def applicable(self, op: Operator, target: Target) -> str | None:
        pieces = pad_pieces(op) if self.operators == ("pad",) else 1
        if pieces <= MOST_PIECES:
            return None
        return f"padding in {pieces} pieces, at most {MOST_PIECES} are compiled"

    def layouts(self, op: Operator, target: Target) -> tuple[Combination, ...]:
        plain = same_layouts(op, ROW_MAJOR)
        constant = any(v.producer is not None and v.producer.name == "nn.constant" for v in op.operands)
        dtype = type_after(op).dtype
        if self.refusal is None or constant or block_refusal(op, with_half(BLOCKED, target)):
            return (plain,)
        if self.refusal(op, channel_block(target, dtype)):
            return (plain,)
        return same_layouts(op, target_block(target, dtype)), plain

    def kernel(self, op: Operator, target: Target) -> Kernel:
        fill = float(op["value"]) if self.operators == ("pad",) else 0.0
        spec = copy_spec(self.boxes(op), storage(type_after(op).dtype), len(op.operands), fill)
        return copy_kernel(op.name.split(".", 1)[1], spec, target.lanes)


CONCAT = Copy("concat", _concatenated, _concat_refusal)

PRIMITIVES: tuple[Primitive, ...] = (
    Copy("expand", _spread, _expand_refusal),
    Copy("transpose", _transposed),
    Copy("tile", _tiled),
    Copy("slice", _sliced, _slice_refusal),
    Copy("pad", _padded, _pad_refusal),
    CONCAT,
    Copy("depth_to_space", _depth_to_space),
    Copy("space_to_depth", _space_to_depth),
    *resize.PRIMITIVES,
)
