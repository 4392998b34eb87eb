"""Epilogues cut where a quantization may stand: every part is one operator in integers, or stays float.

    conv(x, w, b) {add, silu}   ->   map(conv(x, w, b) {add}) {silu}
    map(x, y, z) {add, relu, mul}   ->   map(map(x, y) {add, relu}, z) {mul}
    map(x, 0.5, y) {silu, mul, add}   ->   map(map(x, 0.5) {silu, mul}, y) {add}

The answer does not move. What stays float afterwards is fused again by `fuse`'s rules.
"""

from __future__ import annotations

from collections.abc import Sequence

from secateur.ir.elementwise import Epilogue, Step, extra_operands
from secateur.ir.graph import Graph, Operator, Value, constant_of
from secateur.ir.registry import create
from secateur.ir.types import DType

from ..fuse.affine import LINEAR, bias_of

LIMITS = ("relu", "clip")
CUT = (*LINEAR, "nn.map")


def residual_of(op: Operator) -> Value | None:
    """What the step after the bias of a convolution adds: a value of the result's shape, no constant."""
    at = int(bias_of(op) is not None)
    if op.name != "nn.conv" or op["epilogue"][at : at + 1] != (Step("add"),):
        return None
    value = op.operands[2 + at]
    whole = value.type.shape == op.result.type.shape and value.type.dtype == DType.F32
    return value if whole and constant_of(value) is None else None


def linear_steps(op: Operator, residuals: bool = True) -> int:
    """How many steps of a linear operator's epilogue become part of it in integers."""
    steps: Epilogue = op["epilogue"]
    taken = (bias_of(op) is not None) + (residuals and residual_of(op) is not None)
    return taken + (len(steps) > taken and steps[taken].op in LIMITS)


def is_number(value: Value) -> bool:
    """Whether a value is one number that is known: a function of it and a value is one of the value alone."""
    array = constant_of(value)
    return array is not None and array.size == 1


def _parts(steps: Epilogue, extras: Sequence[Value]) -> list[Epilogue]:
    """The steps of a map cut before each of two values, and behind one with the limits that follow it.

    `extras` are the steps' further operands; a number that is known makes no step one of two values.
    """
    given, parts, pairs = iter(extras), list[list[Step]](), list[bool]()
    for step in steps:
        pair = step.function.arity == 2 and not is_number(next(given))
        if not parts or pair or (pairs[-1] and step.op not in LIMITS):
            parts.append([])
            pairs.append(pair)
        parts[-1].append(step)
    return [tuple(part) for part in parts]


def _has_binary(steps: Sequence[Step]) -> bool:
    return any(step.function.arity == 2 for step in steps)


def _rebuilt(graph: Graph, op: Operator, parts: Sequence[Epilogue], fixed: int) -> None:
    """Replaces `op` by one of its kind with the first part and maps with the others."""
    extras = iter(op.operands[fixed:])
    value, made = op.operands[0], list[Operator]()
    for index, steps in enumerate(parts):
        more = [next(extras) for _ in range(extra_operands(steps))]
        name, operands = (op.name, op.operands[:fixed]) if index == 0 else ("nn.map", [value])
        attributes = {**op.attributes, "epilogue": steps} if index == 0 else {"epilogue": steps}
        made.append(create(name, [*operands, *more], attributes, op.loc))
        value = made[-1].result
    for index, part in enumerate(made[:-1]):
        part.result.name = f"{op.result.name}.{index}" if op.result.name else ""
    graph.insert_before(op, made)
    graph.replace_value(op.result, value)
    graph.erase(op)


def split_epilogues(graph: Graph, residuals: bool = True) -> None:
    """Cuts every epilogue in place; see the file's docstring.

    Without `residuals`, before those too, and those of transposed convolutions, as TFLite wants it.
    """
    cut = CUT if residuals else (*CUT, "nn.conv_transpose")
    for op in list(graph.operators):
        if op.name not in cut or op.result.type.dtype != DType.F32:
            continue
        steps: Epilogue = op["epilogue"]
        if op.name == "nn.map":
            parts, fixed = _parts(steps, op.operands[1:]), 1
        else:
            taken = linear_steps(op, residuals)
            rest = op.operands[2 + extra_operands(steps[:taken]) :]
            parts, fixed = [steps[:taken], *_parts(steps[taken:], rest)], 2
        if len(parts) > 1:
            _rebuilt(graph, op, _fitting(op, parts, residuals), fixed)


def _fitting(op: Operator, parts: list[Epilogue], residuals: bool) -> list[Epilogue]:
    """The parts; all in one where a matrix product's operand per channel has no form in a map.

    Without `residuals` one of the result's rank has, so that a matrix may be added to a product.
    """
    if op.name != "nn.matmul" or not any(_has_binary(part) for part in parts[1:]):
        return parts
    rest = op.operands[2 + extra_operands(parts[0]) :]
    fits = not residuals and all(v.type.rank == op.result.type.rank or is_number(v) for v in rest)
    return parts if fits else [op["epilogue"]]
