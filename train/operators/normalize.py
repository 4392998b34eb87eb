"""Normalizations and softmax."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional

from ...ir.graph import Operator
from .step import Rule, Step

MOMENTUM = 0.1
"""How much of a running statistic each training batch replaces."""


def batch_norm(op: Operator) -> Step:
    """In training by the statistics of the batch, and the running ones follow; else by the running ones."""
    epsilon = op["epsilon"]

    def step(tensors: Sequence[Tensor], training: bool) -> Tensor:
        x, scale, bias, mean, variance = tensors
        return functional.batch_norm(x, mean, variance, scale, bias, training, MOMENTUM, epsilon)

    return step


def _standardized(x: Tensor, axes: tuple[int, ...], epsilon: float) -> Tensor:
    variance, mean = torch.var_mean(x, axes, correction=0, keepdim=True)
    return (x - mean) / torch.sqrt(variance + epsilon)


def instance_norm(op: Operator) -> Step:
    rank, epsilon = op.operands[0].type.rank, op["epsilon"]
    along = (1, -1, *[1] * (rank - 2))

    def step(tensors: Sequence[Tensor], _training: bool) -> Tensor:
        x, scale, bias = tensors
        brought = _standardized(x, tuple(range(2, rank)), epsilon)
        return brought * scale.reshape(along) + bias.reshape(along)

    return step


def layer_norm(op: Operator) -> Step:
    rank, epsilon = op.operands[0].type.rank, op["epsilon"]
    axes = tuple(range(op["axis"] % rank, rank))

    def step(tensors: Sequence[Tensor], _training: bool) -> Tensor:
        x, scale, bias = tensors
        return _standardized(x, axes, epsilon) * scale + bias

    return step


def lrn(op: Operator) -> Step:
    """Channel c sums squares of channels c - floor((size-1)/2) to c + ceil((size-1)/2)."""
    rank, channels, size = op.operands[0].type.rank, op.operands[0].type.shape[1], op["size"]
    before, after = min((size - 1) // 2, channels), min(size // 2, channels)
    edges = [0, 0] * (rank - 2) + [before, after]
    alpha, beta, bias = op["alpha"] / size, op["beta"], op["bias"]

    def step(tensors: Sequence[Tensor], _training: bool) -> Tensor:
        (x,) = tensors
        squares = functional.pad(x * x, edges)
        windows = [squares[:, i : i + channels] for i in range(before + after + 1)]
        return x / (bias + alpha * torch.stack(windows).sum(0)) ** beta

    return step


def softmax(op: Operator) -> Step:
    axis = op["axis"]
    return lambda tensors, _training: functional.softmax(tensors[0], axis)


def log_softmax(op: Operator) -> Step:
    axis = op["axis"]
    return lambda tensors, _training: functional.log_softmax(tensors[0], axis)


RULES: dict[str, Rule] = {
    "nn.batch_norm": batch_norm,
    "nn.instance_norm": instance_norm,
    "nn.layer_norm": layer_norm,
    "nn.lrn": lrn,
    "nn.softmax": softmax,
    "nn.log_softmax": log_softmax,
}
