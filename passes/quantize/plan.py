"""Which operators compute in 8 bits, and which values they want quantized.

| kind | operator | result |
| --- | --- | --- |
| linear | convolution, matrix by constant matrix; bias, residual, limits | u8 where a planned one reads it |
| average | average pool, mean over the spatial axes | the same, else f32 |
| binary | sum or product of two values | u8 |
| prelu | a slope below zero for each channel | u8 |
| table | functions of one value, and of numbers | u8 |
| move | max pool, concat, reshape, nearest resize, ... | u8, one quantization for operands and result |

More of them do where the whole network does: see `whole.py`.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass

from secateur.ir.graph import Graph, Operator, Value, constant_of
from secateur.ir.types import DType

from ..fuse.affine import LINEAR
from ..integer.elementwise import averages_a_window, slopes_of
from .split import is_number, residual_of
from .whole import float_operands, whole_kind

MOVES = ("nn.max_pool", "nn.concat", "nn.reshape", "nn.transpose", "nn.slice", "nn.depth_to_space",
         "nn.space_to_depth", "nn.expand", "nn.tile", "nn.resize")  # fmt: skip


WHOLE = ("kernel", "tied", "move", "index")
"""Kinds whose operands are all data, but for constants."""


@dataclass(frozen=True, eq=False)
class Plan:
    """The operators that compute in 8 bits with their kinds, and the values to quantize, in graph order.

    A `whole` plan keeps outputs in 8 bits too, and the quantization of what pools over a part of a plane.
    """

    kinds: dict[Operator, str]
    values: tuple[Value, ...]
    whole: bool = False


def _linear(op: Operator) -> bool:
    if op.name not in LINEAR or constant_of(op.operands[1]) is None:
        return False
    ranks = op.operands[0].type.rank, op.operands[1].type.rank
    return ranks == (2, 2) if op.name == "nn.matmul" else op.name == "nn.conv"


def _average(op: Operator) -> bool:
    return op.name in ("nn.average_pool", "nn.reduce_mean") and averages_a_window(op)


def _binary(op: Operator) -> bool:
    if op.name != "nn.map" or op["epilogue"][0].op not in ("add", "mul") or len(op.operands) != 2:
        return False
    return all(constant_of(v) is None for v in op.operands)


def _table(op: Operator) -> bool:
    return op.name == "nn.map" and all(is_number(v) for v in op.operands[1:])


def _prelu(op: Operator) -> bool:
    if op.name != "nn.map" or op["epilogue"][0].op != "prelu" or len(op.operands) != 2:
        return False
    return op.operands[0].type.rank > 1 and slopes_of(op) is not None


def _move(op: Operator) -> bool:
    moves = op.name in MOVES and op.definition.is_move(op.attributes)
    return moves and all(constant_of(v) is None for v in op.operands)


_KINDS: dict[str, Callable[[Operator], bool]] = {
    "linear": _linear,
    "average": _average,
    "binary": _binary,
    "table": _table,
    "prelu": _prelu,
    "move": _move,
}


def kind_of(op: Operator) -> str | None:
    """The kind of an f32 operator that can compute in 8 bits, else None."""
    if op.name == "nn.constant" or any(v.type.dtype != DType.F32 for v in (*op.operands, *op.results)):
        return None
    return next((kind for kind, fits in _KINDS.items() if fits(op)), None)


def _whole_kind(op: Operator) -> str | None:
    """The kind of an operator where the whole network computes in 8 bits, outputs too."""
    return kind_of(op) or whole_kind(op)


def data_operands(op: Operator, kind: str) -> list[Value]:
    """The operands that a planned operator reads as u8."""
    if kind in ("table", "prelu"):
        return op.operands[:1]
    if kind in WHOLE:
        return float_operands(op)
    if kind != "linear":
        return op.operands
    residual = residual_of(op)
    return [op.operands[0], *([residual] if residual is not None else [])]


def _wanted(kinds: dict[Operator, str]) -> set[Value]:
    return {v for op, kind in kinds.items() for v in data_operands(op, kind)}


def _pays(op: Operator, kind: str, kinds: Collection[Operator], wanted: Collection[Value]) -> bool:
    """Whether 8 bits save a conversion: its result is wanted so, or an average's operand is so already."""
    if kind == "linear" or op.result in wanted:
        return True
    return kind == "average" and op.operands[0].producer in kinds


def make_plan(graph: Graph, float_operators: Collection[Operator] = (), whole: bool = False) -> Plan:
    """The largest plan without `float_operators` that quantizes nothing but what planned operators read.

    A `whole` one takes all operators that can compute in 8 bits, and quantizes outputs too.
    """
    found = _whole_kind if whole else kind_of
    kinds = {
        op: kind for op in graph.operators if op not in float_operators and (kind := found(op)) is not None
    }
    before = len(kinds) if whole else -1
    while before != len(kinds):
        before, wanted = len(kinds), _wanted(kinds)
        kinds = {op: kind for op, kind in kinds.items() if _pays(op, kind, kinds, wanted)}
    wanted = _wanted(kinds)
    if whole:
        wanted |= {op.result for op, kind in kinds.items() if kind != "index"}
    return Plan(kinds, tuple(v for v in graph.values() if v in wanted), whole)


def of_plane(op: Operator) -> bool:
    """Whether an average is one of a whole plane, which TFLite's MEAN gives a quantization of its own."""
    if op.name != "nn.average_pool":
        return True
    return tuple(op["kernel"]) == op.operands[0].type.shape[2:] and not any(op["pads"])


# One quantization for several values ---------------------------------------------------------------


def shared_groups(plan: Plan) -> list[list[Value]]:
    """The quantized values, those in one list where moves make them share their quantization."""
    group = {v: [v] for v in plan.values}
    for op, kind in plan.kinds.items():
        if kind in ("move", "tied") or (plan.whole and kind == "average" and not of_plane(op)):
            _join(group, [*data_operands(op, kind), op.result])
    return list({id(members): members for members in group.values()}.values())


def _join(group: dict[Value, list[Value]], values: Iterable[Value]) -> None:
    first, *others = values
    for other in others:
        if group[other] is not group[first]:
            group[first].extend(group[other])
            for member in group[other]:
                group[member] = group[first]
