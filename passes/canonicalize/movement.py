"""Identities of operators that move data without computing."""

from __future__ import annotations

from secateur.ir.capacity import MOST_OPERANDS
from secateur.ir.graph import Value
from secateur.ir.rewrite import Any_, Const, Match, Op, Rule, always

_X = Any_("x")


def _guard_same_type(m: Match) -> None:
    before, after = m.value("x").type, m.root.result.type
    m.need(before == after, f"it turns {before} into {after}")


def _nothing(m: Match) -> Value:
    """reshape, expand, tile or relayout of x to x's own type   ->   x"""
    return m.value("x")


def _reshape_reshape(m: Match) -> Value:
    """reshape(reshape(x))   ->   reshape(x)"""
    return m.new("nn.reshape", [m.value("x")], shape=m.root["shape"])


def _transpose_transpose(m: Match) -> Value:
    """transpose(transpose(x) {p}) {q}   ->   transpose(x) {p[q[i]]}"""
    inner = m.op("inner")["perm"]
    return m.new("nn.transpose", [m.value("x")], perm=tuple(inner[i] for i in m.root["perm"]))


def _guard_ones(m: Match) -> None:
    shape = m.value("x").type.shape
    moved = [p for p in m.root["perm"] if shape[p] != 1]
    m.need(moved == sorted(moved), "it reorders axes of more than one element")


def _transpose_reshape(m: Match) -> Value:
    """transpose(x)   ->   reshape(x)

    where the axes of more than one element keep their order, so that the elements stay where they are.
    """
    return m.new("nn.reshape", [m.value("x")], shape=m.root.result.type.shape)


def _guard_whole_slice(m: Match) -> None:
    whole = m.root["sizes"] == m.value("x").type.shape
    m.need(
        whole and all(s > 0 or n <= 1 for s, n in zip(m.root["steps"], m.root["sizes"], strict=True)),
        "it cuts or reverses",
    )


def _whole_slice(m: Match) -> Value:
    """slice(x) of the whole of x, forwards   ->   x"""
    return m.value("x")


def _slice_slice(m: Match) -> Value:
    """slice(slice(x) {a, n, s}) {b, m, t}   ->   slice(x) {a + b s, m, s t}"""
    inner = m.op("inner")
    starts = tuple(
        a + b * s for a, b, s in zip(inner["starts"], m.root["starts"], inner["steps"], strict=True)
    )
    steps = tuple(s * t for s, t in zip(inner["steps"], m.root["steps"], strict=True))
    return m.new("nn.slice", [m.value("x")], starts=starts, sizes=m.root["sizes"], steps=steps)


def _guard_no_pad(m: Match) -> None:
    m.need(not any(m.root["pads"]), "it pads")


def _no_pad(m: Match) -> Value:
    """pad(x) {0, ...}   ->   x"""
    return m.value("x")


def _guard_pads(m: Match) -> None:
    inner = m.op("inner")
    plain = all(op["mode"] == "constant" for op in (inner, m.root))
    m.need(plain and inner["value"] == m.root["value"], "the two do not pad with one constant")
    m.need(min(inner["pads"]) >= 0 and min(m.root["pads"]) >= 0, "one of them cuts")


def _pad_pad(m: Match) -> Value:
    """pad(pad(x) {p, v}) {q, v}   ->   pad(x) {p + q, v}

    where both pad with the same constant and neither cuts.
    """
    pads = tuple(p + q for p, q in zip(m.op("inner")["pads"], m.root["pads"], strict=True))
    return m.new("nn.pad", [m.value("x")], pads=pads, value=m.root["value"])


def _guard_single(m: Match) -> None:
    m.need(len(m.root.operands) == 1, f"it joins {len(m.root.operands)} tensors")


def _single(m: Match) -> Value:
    """concat(x)   ->   x"""
    return m.root.operands[0]


def _axis(op_axis: int, rank: int) -> int:
    return op_axis % rank


def _guard_nested(m: Match) -> None:
    m.need(
        any(_nested(m, v) for v in m.root.operands),
        "no operand is a concat along the same axis used here alone",
    )
    count = len(_flat_operands(m))
    m.need(count <= MOST_OPERANDS, f"it would have {count} operands, a kernel has at most {MOST_OPERANDS}")


def _nested(m: Match, value: Value) -> bool:
    op, rank = value.producer, value.type.rank
    same = (
        op is not None and op.name == "nn.concat" and _axis(op["axis"], rank) == _axis(m.root["axis"], rank)
    )
    return same and m.graph.use_count(value) == 1


def _flat(m: Match) -> Value:
    """concat(..., concat(a, b), ...)   ->   concat(..., a, b, ...)

    where both run along the same axis, the inner one has no other use, and one kernel can hold all operands.
    """
    return m.new("nn.concat", _flat_operands(m), axis=m.root["axis"])


def _flat_operands(m: Match) -> list[Value]:
    operands: list[Value] = []
    for v in m.root.operands:
        inner = v.producer
        operands += inner.operands if inner is not None and _nested(m, v) else [v]
    return operands


def _guard_one_pool(m: Match) -> None:
    plain = all(k == 1 for k in m.root["kernel"]) and all(s == 1 for s in m.root["strides"])
    m.need(plain and not any(m.root["pads"]), "its window is more than a single element at each place")


def _one_pool(m: Match) -> Value:
    """max_pool(x) or average_pool(x) {kernel 1, stride 1, no padding}   ->   x"""
    return m.value("x")


def _guard_one_reduce(m: Match) -> None:
    shape = m.value("x").type.shape
    m.need(all(shape[a] == 1 for a in m.root["axes"]), "it reduces over more than one element")


def _one_reduce(m: Match) -> Value:
    """reduce_mean, _sum, _max or _min over axes of one element   ->   reshape(x)"""
    return m.new("nn.reshape", [m.value("x")], shape=m.root.result.type.shape)


def _guard_known(m: Match) -> None:
    condition = m.array("c")
    m.need(condition.size > 0 and bool((condition == condition.reshape(-1)[0]).all()), "the condition varies")
    m.need(_branch(m).type == m.root.result.type, "the branch taken is broadcast")


def _branch(m: Match) -> Value:
    return m.value("x") if m.array("c").reshape(-1)[0] else m.value("y")


def _where_known(m: Match) -> Value:
    """where(c, x, y)   ->   x or y

    where c is constant and the same everywhere, and the branch taken has the shape of the result.
    """
    return _branch(m)


_POOLS = ("nn.max_pool", "nn.average_pool")
_REDUCTIONS = tuple(f"nn.reduce_{kind}" for kind in ("mean", "sum", "prod", "max", "min"))

RULES: tuple[Rule, ...] = (
    Rule("pool-of-one", Op(_POOLS, (_X,)), _guard_one_pool, _one_pool),
    Rule("reduce-of-one", Op(_REDUCTIONS, (_X,)), _guard_one_reduce, _one_reduce),
    Rule("where-known", Op("nn.where", (Const("c"), _X, Any_("y"))), _guard_known, _where_known),
    Rule(
        "move-nothing",
        Op(("nn.reshape", "nn.expand", "nn.tile", "nn.relayout"), (_X,)),
        _guard_same_type,
        _nothing,
    ),
    Rule("reshape-of-reshape", Op("nn.reshape", (Op("nn.reshape", (_X,)),)), always, _reshape_reshape),
    Rule(
        "transpose-of-transpose",
        Op("nn.transpose", (Op("nn.transpose", (_X,), "inner"),)),
        always,
        _transpose_transpose,
    ),
    Rule("transpose-to-reshape", Op("nn.transpose", (_X,)), _guard_ones, _transpose_reshape),
    Rule("slice-nothing", Op("nn.slice", (_X,)), _guard_whole_slice, _whole_slice),
    Rule("slice-of-slice", Op("nn.slice", (Op("nn.slice", (_X,), "inner"),)), always, _slice_slice),
    Rule("pad-nothing", Op("nn.pad", (_X,)), _guard_no_pad, _no_pad),
    Rule("pad-of-pad", Op("nn.pad", (Op("nn.pad", (_X,), "inner"),)), _guard_pads, _pad_pad),
    Rule("concat-of-one", Op("nn.concat"), _guard_single, _single),
    Rule("concat-of-concat", Op("nn.concat"), _guard_nested, _flat),
)
