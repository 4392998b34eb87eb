"""Operators that move data without computing."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from ...ir.graph import Operator
from .step import Rule, Step


def _of_attribute(name: str, function: Callable[[Tensor, tuple[int, ...]], Tensor]) -> Rule:
    """The rule of an operator with one operand and one attribute."""

    def rule(op: Operator) -> Step:
        value = op[name]
        return lambda tensors, _training: function(tensors[0], value)

    return rule


def concat(op: Operator) -> Step:
    axis = op["axis"]
    return lambda tensors, _training: torch.cat(list(tensors), axis)


def slice_(op: Operator) -> Step:
    """Along each axis that is not taken whole, a range where the step is positive, else a list of indices."""
    rows = zip(op["starts"], op["sizes"], op["steps"], op.operands[0].type.shape, strict=True)
    ranges = [
        (axis, start, size, step)
        for axis, (start, size, step, extent) in enumerate(rows)
        if (start, size, step) != (0, extent, 1)
    ]

    def step(tensors: Sequence[Tensor], _training: bool) -> Tensor:
        (x,) = tensors
        for axis, start, size, by in ranges:
            x = x.index_select(axis, start + by * torch.arange(size, device=x.device))
        return x

    return step


def gather(op: Operator) -> Step:
    """Negative indices count from the end."""
    axis, extent = op["axis"], op.operands[0].type.shape[op["axis"]]

    def step(tensors: Sequence[Tensor], _training: bool) -> Tensor:
        x, indices = tensors
        taken = x.index_select(axis, indices.reshape(-1).long() % extent)
        return taken.reshape(op.result.type.shape)

    return step


def pad(op: Operator) -> Step:
    """Constant padding, or indices that repeat the input as NumPy's mode of that name does."""
    rank, pads = op.operands[0].type.rank, op["pads"]
    edges = list(zip(pads[:rank], pads[rank:], strict=True))
    if op["mode"] == "constant":
        flat, value = [edge for pair in reversed(edges) for edge in pair], op["value"]
        return lambda tensors, _training: functional.pad(tensors[0], flat, value=value)
    indices = {
        axis: torch.from_numpy(_repeated(extent, before, after, op["mode"]))
        for axis, (extent, (before, after)) in enumerate(zip(op.operands[0].type.shape, edges, strict=True))
        if (before, after) != (0, 0)
    }

    def step(tensors: Sequence[Tensor], _training: bool) -> Tensor:
        (x,) = tensors
        for axis, index in indices.items():
            x = x.index_select(axis, index.to(x.device))
        return x

    return step


def _repeated(extent: int, before: int, after: int, mode: str) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
    """Which index of an axis of `extent` each of the padded one takes."""
    kept = np.arange(extent)[max(0, -before) : extent + min(0, after)]
    found: np.ndarray[tuple[int], np.dtype[np.int64]]
    found = np.pad(kept, (max(0, before), max(0, after)), mode=mode)  # type: ignore[call-overload]
    return found


def depth_to_space(op: Operator) -> Step:
    b, dcr = op["block"], op["mode"] == "DCR"

    def step(tensors: Sequence[Tensor], _training: bool) -> Tensor:
        (x,) = tensors
        n, c, h, w = x.shape
        if dcr:
            blocks = x.reshape(n, b, b, c // (b * b), h, w).permute(0, 3, 4, 1, 5, 2)
        else:
            blocks = x.reshape(n, c // (b * b), b, b, h, w).permute(0, 1, 4, 2, 5, 3)
        return blocks.reshape(n, c // (b * b), h * b, w * b)

    return step


def space_to_depth(op: Operator) -> Step:
    b, order = op["block"], (0, 3, 5, 1, 2, 4) if op["mode"] == "DCR" else (0, 1, 3, 5, 2, 4)

    def step(tensors: Sequence[Tensor], _training: bool) -> Tensor:
        (x,) = tensors
        n, c, h, w = x.shape
        blocks = x.reshape(n, c, h // b, b, w // b, b).permute(order)
        return blocks.reshape(n, c * b * b, h // b, w // b)

    return step


RULES: dict[str, Rule] = {
    "nn.reshape": _of_attribute("shape", torch.reshape),
    "nn.transpose": _of_attribute("perm", torch.permute),
    "nn.expand": _of_attribute("shape", torch.broadcast_to),
    "nn.tile": _of_attribute("repeats", torch.tile),
    "nn.concat": concat,
    "nn.slice": slice_,
    "nn.gather": gather,
    "nn.pad": pad,
    "nn.depth_to_space": depth_to_space,
    "nn.space_to_depth": space_to_depth,
}
