"""A quantized graph in TFLite's terms: its operators round as TFLite's do, and its functions are TFLite's.

    linear_conv(x, w, b)                      ->   linear_conv(x, w, b) {rounding = tflite}
    linear_average_pool(x) {s2} of a part     ->   requantize(linear_average_pool(x) {s1, tflite})
    table(x, values of a known function)      ->   table(x, TFLite's values) {function}

What has no such form stays as it is, and is refused by who writes the file. Doing it again changes nothing.
"""

from __future__ import annotations

from secateur.ir.graph import Graph, Operator, Value
from secateur.ir.opdef import TypeRuleError
from secateur.ir.ops.quantize import TFLITE, quant_attributes
from secateur.ir.registry import create
from secateur.ir.rewrite import rewrite
from secateur.ir.types import DType, Quant

from ..integer import tables
from ..integer.bytes import CANCEL
from ..integer.integer import make_integer
from .functions import of_table, tabled
from .kernels import RULES
from .shaping import shape_for_tflite
from .weights import linear_operators, round_weights


def in_tflite_terms(graph: Graph) -> None:
    """Rewrites the graph in place; see the file's docstring."""
    came = linear_operators(graph)
    shape_for_tflite(graph)
    round_weights(graph, came)
    make_integer(graph)
    rewrite(graph, RULES)
    rewrite(graph, CANCEL + tables.RULES)
    for op in list(graph.operators):
        made = _own_scale(op) or of_table(op)
        if made:
            _replace(graph, op, made)
    for op in graph.operators:
        if "rounding" not in op.attributes and rounds(op) is None:
            op.attributes["rounding"] = TFLITE
    graph.remove_dead()


def rounds(op: Operator) -> str | None:
    """Why an operator has no rounding as TFLite's, or None: it has, or has no rounding."""
    if not op.name.startswith("q.") or op.definition.attribute("rounding") is None:
        return "it does not round"
    try:
        op.definition.result_types([v.type for v in op.operands], {**op.attributes, "rounding": TFLITE})
    except TypeRuleError as error:
        return str(error)
    return None


def _replace(graph: Graph, op: Operator, made: list[Operator]) -> None:
    last = made[-1].result
    last.name = op.result.name
    graph.insert_before(op, made)
    graph.replace_value(op.result, last)
    graph.erase(op)


def requantize(x: Value, quant: Quant, loc: str = "") -> list[Operator]:
    """Operators that bring a u8 value to another quantization."""
    return tabled(x, "requantize", quant, loc)


def _own_scale(op: Operator) -> list[Operator] | None:
    """An average over a part of a plane that changes the scale: the average, then a requantization."""
    if op.name != "q.linear_average_pool" or op["dtype"] != DType.U8 or rounds(op) is None:
        return None
    quant, wanted = op.operands[0].type.quant, op.result.type.quant
    assert quant is not None, "the type rule wants a quantized operand"
    assert wanted is not None, "its result is u8"
    kept = {**op.attributes, **quant_attributes(quant)}
    made = create(op.name, op.operands, {k: v for k, v in kept.items() if k != "limits"}, op.loc)
    low, high = op["limits"]
    found = [made, *requantize(made.result, wanted, op.loc)]
    return found if (low, high) == (0, 255) or low == wanted.zero_points[0] else None
