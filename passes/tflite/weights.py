"""Weights as TFLite holds them, in i8 without zero points; those that came otherwise are rounded anew."""

from __future__ import annotations

import warnings
from collections.abc import Collection
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from secateur.ir.errors import ModelNote
from secateur.ir.graph import Graph, Operator, Value, constant_of
from secateur.ir.rewrite import Match, Op, Rule, rewrite
from secateur.ir.types import DType, Quant

from ..fuse.affine import LINEAR
from ..integer.parts import dequantized

Floats = NDArray[np.float64]
LARGEST = 127
SHOWN = 3


def symmetric(real: Floats, axis: int | None) -> tuple[NDArray[np.int8], Quant]:
    """i8 between -127 and 127 without zero points, with one scale or one along `axis`."""
    others = None if axis is None else tuple(i for i in range(real.ndim) if i != axis)
    largest = np.abs(real).max(axis=others, initial=0.0, keepdims=axis is not None)
    scales = np.where(largest > 0, largest / LARGEST, 1.0).astype(np.float32).astype(np.float64)
    stored = np.clip(np.rint(real / scales), -LARGEST, LARGEST).astype(np.int8)
    numbers = tuple(map(float, scales.reshape(-1)))
    return stored, Quant(numbers, (0,) * len(numbers), axis)


def linear_operators(graph: Graph) -> set[str]:
    """Where the graph's convolutions and matrix products come from."""
    return {op.loc for op in graph.operators if op.name in LINEAR}


def round_weights(graph: Graph, came: Collection[str]) -> None:
    """Applies the rule in place; a ModelNote names those of the layers `came` that it changed."""
    before = {op for op in graph.operators if op.name in LINEAR}
    rewrite(graph, RULES)
    names = [op.loc for op in graph.operators if op.name in LINEAR and op not in before and op.loc in came]
    if names:
        rest = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
        note = (
            f"weights of {', '.join(names[:SHOWN])}{rest} are not stored in 8 bits without zero points, "
            "which is all that TFLite has; they are rounded anew"
        )
        warnings.warn(note, ModelNote, stacklevel=2)


def _guard(m: Match) -> None:
    op = m.root
    m.need(dequantized(op.operands[0]) is not None, "its data are not dequantized from u8 with one scale")
    m.need(op.operands[1].type.dtype == DType.F32, "its weights are no f32")
    weights = constant_of(op.operands[1])
    m.need(weights is not None and weights.size > 0, "its weights are computed, or stored in 8 bits")
    assert weights is not None
    m.need(bool(np.isfinite(weights).all()), "its weights are not finite")
    fits = op.operands[0].type.rank <= 4 if op.name == "nn.conv" else weights.ndim == 2
    m.need(fits, "its weights are no matrix, nor those of a window over two axes")


def _rounded(m: Match) -> Value:
    """p(dequantize(x), w, ...)   ->   p(dequantize(x), dequantize(w in i8), ...)

    where p is a convolution, or a product by a matrix, and w is known in float: what came with zero points.
    A convolution's filters have a scale each, a matrix has one.
    """
    op: Operator = m.root
    weights = constant_of(op.operands[1])
    assert weights is not None, "the guard wants known weights"
    stored, quant = symmetric(weights.astype(np.float64), 0 if op.name == "nn.conv" else None)
    made = m.constant(stored, op.operands[1].name)
    made.type = replace(made.type, quant=quant)
    operands = [op.operands[0], m.new("q.dequantize", [made]), *op.operands[2:]]
    return m.new(op.name, operands, **op.attributes)


RULES: tuple[Rule, ...] = (Rule("tflite-weights", Op(LINEAR), _guard, _rounded),)
