"""Element-wise functions between 8-bit quantizations, as tables of their 256 values."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from secateur.ir.graph import Graph, Operator, Value, constant_of
from secateur.ir.interpreter import run
from secateur.ir.ops.quantize import quant_attributes
from secateur.ir.registry import create
from secateur.ir.rewrite import Any_, Match, Op, Rule
from secateur.ir.types import TensorType

from ..quantize.split import is_number

_FROM = Op("q.dequantize", (Any_("x"),), "from")
_PATTERN = Op("q.quantize", (Op("nn.map", (_FROM,), "map", once=True),))


def _single_byte(type: TensorType) -> bool:
    return type.dtype.bytes == 1 and type.quant is not None and type.quant.axis is None


def _guard(m: Match) -> None:
    m.need(_single_byte(m.value("x").type), "the operand is not 8-bit with one scale", m.op("from"))
    m.need(_single_byte(m.root.result.type), "the result is not 8-bit with one scale")
    if "map" in m.bound:
        function = m.op("map")
        m.need(all(map(is_number, function.operands[1:])), "the function takes other operands too", function)


def _values(m: Match) -> NDArray[Any]:
    """What the matched operators make of every byte, in the order of the bytes read as unsigned."""
    function = [m.op("map")] if "map" in m.bound else []
    x = m.value("x").type
    graph = Graph("table")
    value = graph.add_input(TensorType((256,), x.dtype, quant=x.quant), "x")
    for op in (m.op("from"), *function, m.root):
        numbers = [graph.append(_number(v)).result for v in op.operands[1:]]
        value = graph.append(create(op.name, [value, *numbers], op.attributes)).result
    graph.set_outputs([value], ["y"])
    return run(graph, {"x": np.arange(256, dtype=np.uint8).view(x.dtype.numpy)})["y"]


def _number(value: Value) -> Operator:
    """The one element of a constant, which broadcasts to any shape."""
    array = constant_of(value)
    assert array is not None, "the guard wants numbers"
    return create("nn.constant", [], {"value": array.reshape(1)})


def _table(m: Match) -> Value:
    """quantize(f(dequantize(x))), quantize(dequantize(x))   ->   table(x, values)

    where x and the result have 8 bits and one scale each, f takes no other
    operand but numbers that are known, and its result has no other use. Exact:
    the values are computed by the interpreter.
    """
    quant = m.root.result.type.quant
    assert quant is not None, "a quantize's result carries its scale"
    return m.new("q.table", [m.value("x"), m.constant(_values(m), "table")], **quant_attributes(quant))


RULES: tuple[Rule, ...] = (
    Rule("table", _PATTERN, _guard, _table),
    Rule("requantize", Op("q.quantize", (_FROM,)), _guard, _table),
)
