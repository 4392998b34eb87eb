"""Where elements are (the largest along an axis or under a window), and elements put where they belong."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from ..axes import Axes, Axis, Ports, Relation, Tie
from ..opdef import Attribute, OpDef, Signature
from ..types import DType, TensorType
from .axes import axes_beside, equal_axes
from .compute import POOL, POOL_AXES, pool_shape
from .rows import register
from .rules import normalize_axis, numeric, require


def _top_k(sig: Signature) -> Sequence[TensorType]:
    x, k = sig.types[0], sig["k"]
    axis = normalize_axis(sig["axis"], x.rank)
    require(0 <= k <= x.shape[axis], f"no {k} largest elements of {x.shape[axis]}")
    numeric(x)
    return [TensorType((*x.shape[:axis], k, *x.shape[axis + 1 :]), DType.I64)]


register(
    OpDef(
        "nn.top_k",
        "Indices of the k largest (or smallest) elements along the axis, best first; of equals the first.",
        ("x",),
        _top_k,
        (Attribute("k", "int"), Attribute("axis", "int", -1), Attribute("largest", "bool", True)),
        axes=Axes(axes_beside, "ranks what lies along axis {axis}"),
    )
)


def _max_pool_index(sig: Signature) -> Sequence[TensorType]:
    numeric(sig.types[0])
    return [TensorType(pool_shape(sig), DType.I64)]


register(
    OpDef(
        "nn.max_pool_index",
        "Where in its plane, row by row, the window's first largest element is; -1 of a window of padding.",
        ("input",),
        _max_pool_index,
        POOL,
        axes=POOL_AXES,
    )
)

REDUCTIONS = ("none", "add", "mul", "min", "max")


def _scatter(sig: Signature) -> Sequence[TensorType]:
    x, indices, updates = sig.types
    require(x.rank >= 2 and indices.rank == 2, f"no rows of places in {x} for indices {indices}")
    require(indices.dtype in (DType.I32, DType.I64), f"indices are {indices.dtype.value}, not i32 or i64")
    require(indices.shape[0] == x.shape[0], f"indices {indices} are not for each of {x.shape[0]} rows")
    wanted = TensorType((*indices.shape, *x.shape[2:]), x.dtype)
    require(updates == wanted, f"updates are {updates}, for these indices {wanted} is needed")
    require(sig["reduction"] in REDUCTIONS, f"unknown reduction '{sig['reduction']}'")
    require(sig["reduction"] == "none" or x.dtype != DType.BOOL, "reductions are of numbers, not of bool")
    return [x]


def _scatter_axes(ports: Ports) -> Iterator[Relation]:
    """Places are numbered, so their axis stays, and that of what is put there."""
    rank = ports.types[0].rank
    for axis in (0, *range(2, rank)):
        yield from equal_axes(0, (axis,))
        yield from equal_axes(2, (axis,))
    yield Tie(Axis(0, 0), Axis(1, 0))


register(
    OpDef(
        "nn.scatter",
        "x with updates put, in order, at the places of axis 1 that indices name for each of axis 0.",
        ("x", "indices", "updates"),
        _scatter,
        (Attribute("reduction", "str", "none", "none, add, mul, min or max"),),
        axes=Axes(_scatter_axes, "puts elements at numbered places along axis {axis}"),
    )
)
