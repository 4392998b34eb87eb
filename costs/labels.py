"""Kernels as people call them: `conv 64x56x56 3x3 winograd4, NCHW16c -> NCHW16c`."""

from __future__ import annotations

from collections.abc import Sequence

from secateur.codegen.primitives.operator import dynamic_operands
from secateur.ir.graph import Operator
from secateur.ir.types import TensorType, extents


def label_of(chosen: Operator) -> str:
    """A line about a `prim.` operator: kind, shapes, window, primitive, layouts where they matter.

    It says less than the kernel's symbol: epilogues, pads and the like are left out.
    """
    dynamic = [chosen.operands[i].type for i in dynamic_operands(chosen)]
    types = (*dynamic, *(r.type for r in chosen.results))
    words = [chosen.name.removeprefix("prim."), _shapes(dynamic, chosen.results[0].type), *_window(chosen)]
    if chosen.name != "prim.relayout":
        words.append(chosen["primitive"])
    layouts = f", {_layouts(dynamic)} -> {types[-1].layout.name}"
    return " ".join(words) + (layouts if any(t.layout.name != "NCHW" for t in types) else "")


def _shapes(operands: Sequence[TensorType], result: TensorType) -> str:
    """The first operand's shape, and the result's where it is another."""
    given, made = _shape(operands[0] if operands else result), _shape(result)
    return given if given == made else f"{given} to {made}"


def _shape(type: TensorType) -> str:
    """Without the batch where that is 1."""
    shape = type.shape[1:] if type.rank > 1 and type.shape[0] == 1 else type.shape
    return extents(shape)


def _window(op: Operator) -> list[str]:
    """`3x3/2` for a window of three by three at steps of two."""
    sizes: tuple[int, ...] = ()
    if op.definition.attribute("kernel"):
        sizes = op["kernel"]
    elif "conv" in op.name and len(op.operands) > 1 and op.operands[1].type.rank == 4:
        sizes = op.operands[1].type.shape[2:]
    strides = op["strides"] if sizes and op.definition.attribute("strides") else ()
    steps = f"/{'x'.join(map(str, dict.fromkeys(strides)))}" if any(s != 1 for s in strides) else ""
    return ["x".join(map(str, sizes)) + steps] if sizes else []


def _layouts(types: Sequence[TensorType]) -> str:
    """Of the operands: one name where all have the same."""
    return " ".join(dict.fromkeys(t.layout.name for t in types))
