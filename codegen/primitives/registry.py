"""Every primitive, by the operators it computes."""

from __future__ import annotations

from functools import cache

from secateur.ir.errors import SecateurError
from secateur.ir.graph import Operator

from .conv import (
    float32 as convolution,
)
from .conv import (
    im2row_int8 as linear_im2row,
)
from .conv import (
    int8 as linear_conv,
)
from .conv import (
    kn2row_int8 as linear_kn2row,
)
from .conv import (
    naive,
)
from .conv.depthwise import int8 as linear_depthwise
from .conv.winograd import int8 as linear_winograd
from .dense import int8 as linear_dense
from .dense import matmul, recurrence
from .elementwise import (
    elementwise,
    logic,
    quantize,
    table,
)
from .elementwise import (
    int8 as linear_elementwise,
)
from .elementwise import (
    prelu_int8 as linear_prelu,
)
from .move import gather, join, movement, relayout, view
from .operator import Primitive
from .reduce import normalize, pool, reduce
from .reduce import pool_int8 as linear_pool
from .resize import grid_sample

_MODULES = (
    convolution,
    elementwise,
    gather,
    grid_sample,
    join,
    linear_conv,
    linear_depthwise,
    linear_dense,
    linear_elementwise,
    linear_im2row,
    linear_kn2row,
    linear_pool,
    linear_prelu,
    linear_winograd,
    logic,
    matmul,
    movement,
    naive,
    normalize,
    pool,
    quantize,
    recurrence,
    reduce,
    relayout,
    table,
    view,
)


@cache
def _table() -> dict[str, tuple[Primitive, ...]]:
    table: dict[str, tuple[Primitive, ...]] = {}
    for module in _MODULES:
        for primitive in module.PRIMITIVES:
            for operator in primitive.operators:
                table[operator] = (*table.get(operator, ()), primitive)
    return table


def candidates(op: Operator) -> tuple[Primitive, ...]:
    """The primitives that implement the operator's kind, applicable or not."""
    return _table().get(op.name.split(".", 1)[1], ())


def find(op: Operator) -> Primitive:
    """The primitive that the operator's attribute names; SecateurError where there is none of that name."""
    wanted = op["primitive"]
    for primitive in candidates(op):
        if primitive.name == wanted:
            return primitive
    known = ", ".join(p.name for p in candidates(op)) or "none"
    raise SecateurError(
        f"{op.name} (ONNX node {op.loc or 'unnamed'}): no primitive '{wanted}'; known for it: {known}"
    )
