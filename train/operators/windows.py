"""Convolutions and pools: everything that slides a window over spatial axes."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from ...ir.errors import ModelError
from ...ir.graph import Operator
from ...ir.reference.linear import pool_counts
from .step import Rule, Step, epilogue_of

_CONV = (functional.conv1d, functional.conv2d, functional.conv3d)
_TRANSPOSE = (functional.conv_transpose1d, functional.conv_transpose2d, functional.conv_transpose3d)
_MAX = (functional.max_pool1d, functional.max_pool2d, functional.max_pool3d)
_MEAN = (functional.avg_pool1d, functional.avg_pool2d, functional.avg_pool3d)


def _of_rank(op: Operator, functions: Sequence[Callable[..., Tensor]]) -> Callable[..., Tensor]:
    """The function for the operator's number of spatial axes; ModelError where PyTorch has none."""
    axes = op.operands[0].type.rank - 2
    if axes > len(functions):
        raise ModelError(f"{op.called} cannot be trained: it has {axes} spatial axes")
    return functions[axes - 1]


def _framing(op: Operator, kernel: Sequence[int], fill: float = 0.0) -> Callable[[Tensor], Tensor]:
    """Brings the input to exactly what the windows reach, `fill` outside; negative edges cut it off."""
    x, out = op.operands[0].type.shape[2:], op.result.type.shape[2:]
    begins = op["pads"][: len(x)]
    reach = [
        (o - 1) * s + (k - 1) * d + 1
        for o, s, k, d in zip(out, op["strides"], kernel, op["dilations"], strict=True)
    ]
    edges = [(b, r - b - n) for b, r, n in zip(begins, reach, x, strict=True)]
    flat = [edge for pair in reversed(edges) for edge in pair]
    return (lambda t: functional.pad(t, flat, value=fill)) if any(flat) else (lambda t: t)


def _conv_padding(op: Operator) -> Sequence[int] | None:
    """The padding where it is the same on both sides of every axis, which PyTorch takes as it is."""
    pads = op["pads"]
    half = len(pads) // 2
    return pads[:half] if pads[:half] == pads[half:] else None


def conv(op: Operator) -> Step:
    function, epilogue = _of_rank(op, _CONV), epilogue_of(op)
    padding = _conv_padding(op)
    frame = _framing(op, op.operands[1].type.shape[2:]) if padding is None else (lambda t: t)
    how: dict[str, Any] = {"stride": op["strides"], "dilation": op["dilations"], "groups": op["groups"]}

    def step(tensors: Sequence[Tensor], _training: bool) -> Tensor:
        x, w, *extras = tensors
        if op["reach"]:
            extras[-1] = _reaching(extras[-1], op["reach"], op.result.type.shape[1])
        return epilogue(function(frame(x), w, padding=padding or 0, **how), extras)

    return step


def _reaching(extra: Tensor, reach: Sequence[int], channels: int) -> Tensor:
    """An operand among zeros, cut to the channels that it reaches the result with."""
    at, source, count = reach
    edges = [0] * (2 * (extra.dim() - 2)) + [at, channels - at - count]
    return functional.pad(extra[:, source : source + count], edges)


def conv_transpose(op: Operator) -> Step:
    """The whole result, zeros appended as `output_padding` says, then the padding cut off."""
    function, epilogue = _of_rank(op, _TRANSPOSE), epilogue_of(op)
    how: dict[str, Any] = {"stride": op["strides"], "dilation": op["dilations"], "groups": op["groups"]}
    n = len(op["strides"])
    edges = [(-op["pads"][i], op["output_padding"][i] - op["pads"][n + i]) for i in range(n)]
    flat = [edge for pair in reversed(edges) for edge in pair]

    def step(tensors: Sequence[Tensor], _training: bool) -> Tensor:
        x, w, *extras = tensors
        return epilogue(functional.pad(function(x, w, **how), flat), extras)

    return step


def max_pool(op: Operator) -> Step:
    function, frame = _of_rank(op, _MAX), _framing(op, op["kernel"], -math.inf)
    kernel, strides, dilations = op["kernel"], op["strides"], op["dilations"]
    return lambda tensors, _training: function(frame(tensors[0]), kernel, strides, 0, dilations)


def average_pool(op: Operator) -> Step:
    """The mean of whole windows, zeros outside, brought to the number of elements that count."""
    if any(d != 1 for d in op["dilations"]):
        raise ModelError(f"{op.called} cannot be trained: its window is dilated")
    function, frame = _of_rank(op, _MEAN), _framing(op, op["kernel"])
    kernel, strides = op["kernel"], op["strides"]
    share = torch.from_numpy(math.prod(kernel) / pool_counts(op))
    whole = bool((share == 1).all())

    def step(tensors: Sequence[Tensor], _training: bool) -> Tensor:
        mean = function(frame(tensors[0]), kernel, strides)
        return mean if whole else mean * share.to(mean)

    return step


RULES: dict[str, Rule] = {
    "nn.conv": conv,
    "nn.conv_transpose": conv_transpose,
    "nn.max_pool": max_pool,
    "nn.average_pool": average_pool,
}
