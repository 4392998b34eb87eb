"""Operators on floats as TFLite has them: matrices of rows, means of planes, channels scaled by convolutions.

The answer does not move but for the last bits. The rules serve networks that are to be quantized and those
that arrive quantized alike: what lies between dequantize and quantize has one form in both.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import prod

import numpy as np

from secateur.ir.elementwise import Epilogue, Step, extra_operands
from secateur.ir.graph import Graph, Operator, Value, constant_of
from secateur.ir.rewrite import Any_, Array, Const, Match, Op, Rule, rewrite
from secateur.ir.types import DType

from ..fuse.affine import per_channel
from ..integer.parts import known

Shape = tuple[int, ...]
LARGEST_WEIGHTS = 1 << 22
"""No transposed convolution in groups is made of so many weights, most of them zeros."""


def shape_for_tflite(graph: Graph) -> None:
    """Applies the rules in place."""
    rewrite(graph, RULES)
    graph.remove_dead()


def _need_floats(m: Match) -> None:
    m.need(m.root.result.type.dtype == DType.F32, "it computes on no f32")


def reshaped(m: Match, value: Value, shape: Shape) -> Value:
    """The value under another shape; a constant as one."""
    array = constant_of(value)
    if array is not None and value.type.quant is None:
        return m.constant(array.reshape(shape), value.name)
    return value if value.type.shape == shape else m.new("nn.reshape", [value], shape=shape)


# Matrices -------------------------------------------------------------------------------------------


def _guard_rows(m: Match) -> None:
    _need_floats(m)
    x, w = m.root.operands[:2]
    m.need(x.type.rank > 2 and w.type.rank == 2, "it is no product of rows by one matrix")
    m.need(known(w) is not None, "its matrix is computed")
    shape = m.root.result.type.shape
    fits = all(_row_shape(v.type.shape, shape) is not None for v in m.root.operands[2:])
    m.need(fits, "an operand of its epilogue has neither one number a column nor one a result")


def _row_shape(given: Shape, result: Shape) -> Shape | None:
    """The shape that an epilogue's operand has beside a matrix of rows; None where it has none."""
    if given == result:
        return (prod(result[:-1]), result[-1])
    return (1, *given[-1:]) if given and prod(given[:-1]) == 1 else None


def _rows(m: Match) -> Value:
    """matmul(x: ... x n x k, w: k x m) {steps}   ->   reshape(matmul(reshape(x), w) {steps})

    where w is known, and the steps' operands are one number a column or one a result.
    """
    op, shape = m.root, m.root.result.type.shape
    x = reshaped(m, op.operands[0], (prod(shape[:-1]), op.operands[0].type.shape[-1]))
    extras = [reshaped(m, v, _row_shape(v.type.shape, shape) or (1, 1)) for v in op.operands[2:]]
    made = m.new("nn.matmul", [x, op.operands[1], *extras], epilogue=op["epilogue"])
    return m.new("nn.reshape", [made], shape=shape)


def _guard_columns(m: Match) -> None:
    _need_floats(m)
    op = m.root
    m.need(op.result.type.rank == 2, "it is no product of matrices")
    m.need(any(map(_is_row, op.operands[3:])), "no operand of its epilogue but the bias has one axis")


def _is_row(value: Value) -> bool:
    return value.type.rank == 1 and value.type.elements > 1 and constant_of(value) is not None


def _columns(m: Match) -> Value:
    """matmul(x, w, b, c: n) {add, steps}   ->   matmul(x, w, b, c: 1 x n) {add, steps}

    so that the steps have a form in a map.
    """
    op = m.root
    rest = [reshaped(m, v, (1, *v.type.shape)) if _is_row(v) else v for v in op.operands[3:]]
    return m.new("nn.matmul", [*op.operands[:3], *rest], epilogue=op["epilogue"])


# Means and sums -------------------------------------------------------------------------------------


def _axes(op: Operator) -> list[int]:
    rank = op.operands[0].type.rank
    return sorted(a % rank for a in op["axes"]) or list(range(rank))


def _guard_mean(m: Match) -> None:
    _need_floats(m)
    x = m.root.operands[0].type
    m.need(_axes(m.root) != list(range(2, x.rank)), "it is one of planes already")
    m.need(x.elements > 0, "it is one of nothing")


def _planes(m: Match) -> Value:
    """What the root averages or adds up, as planes: (n, 1, k) or (1, n, k) for n results of k elements.

    The file holds channels last: with the channels gone, results are what is outermost there, else innermost.
    """
    x, axes = m.root.operands[0], _axes(m.root)
    kept = [a for a in range(x.type.rank) if a not in axes]
    if x.type.rank == 4 and 1 not in axes:
        kept = [a for a in kept if a != 1] + [1]
    turned = m.new("nn.transpose", [x], perm=tuple(kept + axes))
    results, count = (prod(x.type.shape[a] for a in part) for part in (kept, axes))
    innermost = x.type.rank - 1 in axes if x.type.rank != 4 else 1 in axes
    return m.new("nn.reshape", [turned], shape=(results, 1, count) if innermost else (1, results, count))


def _returned(m: Match, made: Value) -> Value:
    """The reduced planes in the root's shape."""
    op = m.root
    x, axes = op.operands[0].type, _axes(op)
    kept = [a for a in range(x.rank) if a not in axes]
    if x.rank != 4 or 1 in axes or max(kept) == 1:
        return m.new("nn.reshape", [made], shape=op.result.type.shape)
    last = [a for a in kept if a != 1] + [1]
    split = m.new("nn.reshape", [made], shape=tuple(x.shape[a] for a in last))
    turned = m.new("nn.transpose", [split], perm=tuple(last.index(a) for a in kept))
    return m.new("nn.reshape", [turned], shape=op.result.type.shape)


def _mean(m: Match) -> Value:
    """reduce_mean(x) {axes}   ->   the mean of planes of x, transposed and reshaped

    where the axes are not those of planes.
    """
    return _returned(m, m.new("nn.reduce_mean", [_planes(m)], axes=(2,), keepdims=True))


def _sum(m: Match) -> Value:
    """reduce_sum(x) {axes}   ->   conv(planes of x, ones), a group for each of several results"""
    planes = _planes(m)
    groups, count = planes.type.shape[1:]
    ones = m.constant(np.ones((groups, 1, count), np.float32), f"{m.root.loc}.ones")
    window = {"strides": (1,), "dilations": (1,), "pads": (0, 0), "groups": groups}
    return _returned(m, m.new("nn.conv", [planes, ones], **window))


# Channels scaled and shifted ------------------------------------------------------------------------


@dataclass(frozen=True)
class _Scaled:
    """What the first `steps` steps of a map do to channels: scale and shift, one float64 for each."""

    scale: Array
    shift: Array
    steps: int
    plain: bool
    """Whether all of them take one number for all channels."""


def _scaled(op: Operator) -> _Scaled:
    """The longest start of a map that scales and shifts channels by constants."""
    shape = op.result.type.shape
    extras = iter(op.operands[1:])
    found = _Scaled(np.ones(shape[1]), np.zeros(shape[1]), 0, True)
    for step in op["epilogue"]:
        if step.op not in AFFINE:
            break
        array = known(next(extras))
        c = None if array is None else per_channel(array, shape, 1)
        if c is None:
            break
        assert array is not None
        scale, shift = AFFINE[step.op](found.scale, found.shift, np.asarray(c, np.float64))
        found = _Scaled(scale, shift, found.steps + 1, found.plain and array.size == 1)
    return found


AFFINE = {
    "add": lambda s, t, c: (s, t + c),
    "sub": lambda s, t, c: (s, t - c),
    "rsub": lambda s, t, c: (-s, c - t),
    "mul": lambda s, t, c: (s * c, t * c),
    "div": lambda s, t, c: (s / c, t / c),
}


def _guard_scaled(m: Match) -> None:
    _need_floats(m)
    m.need(m.root.result.type.rank > 1, "it has no channels")
    with np.errstate(divide="ignore", invalid="ignore"):
        found = _scaled(m.root)
    whole = found.steps == len(m.root["epilogue"])
    image = m.root.result.type.rank in (2, 4)
    m.need(found.steps > 0 and ((whole and image) or not found.plain), "it scales no channels by constants")
    m.need(bool(np.isfinite([found.scale, found.shift]).all()), "its scale or shift is not finite")


def _scaling(m: Match) -> Value:
    """map(x, s, t, ...) {mul, add, steps}   ->   conv(x, s) {groups, add t, steps}

    where s and t are known, one for each channel; x becomes an image where it is none.
    """
    op = m.root
    found, shape = _scaled(op), op.result.type.shape
    image = shape if len(shape) > 2 else (*shape, 1, 1)
    weights = found.scale.astype(np.float32).reshape(-1, 1, *[1] * (len(image) - 2))
    n = len(image) - 2
    window = {"strides": (1,) * n, "dilations": (1,) * n, "pads": (0,) * 2 * n, "groups": shape[1]}
    shift = m.constant(found.shift.astype(np.float32).reshape(1, -1, *[1] * n), f"{op.loc}.shift")
    operands = [reshaped(m, op.operands[0], image), m.constant(weights, f"{op.loc}.scale"), shift]
    made = m.new("nn.conv", operands, **window, epilogue=(Step("add"),))
    return _rest(m, op, reshaped(m, made, shape), found.steps)


def _rest(m: Match, op: Operator, made: Value, taken: int) -> Value:
    """The steps behind those that are taken, as a map."""
    steps: Epilogue = op["epilogue"][taken:]
    extras = op.operands[1 + extra_operands(op["epilogue"][:taken]) :]
    return m.new("nn.map", [made, *extras], epilogue=steps) if steps else made


STEPS = {"add": "add", "mul": "mul", "sub": "rsub", "div": "rdiv", "max": "max", "min": "min"}
"""Functions of two values, and what they are with the operands in the other order."""


def _guard_map(m: Match) -> None:
    _need_floats(m)
    shapes = [v.type.shape for v in m.root.operands]
    m.need(m.root.result.type.shape in shapes, "both its operands broadcast")


def _map(m: Match) -> Value:
    """add(a, b)   ->   map(a, b) {add}, or map(b, a) {add}

    where one of them has the result's shape; likewise other functions of two values.
    """
    a, b = m.root.operands
    name, swaps = m.root.name[3:], a.type.shape != m.root.result.type.shape
    first, second = (b, a) if swaps or (known(a) is not None and b.type.shape == a.type.shape) else (a, b)
    step = STEPS[name] if first is b else name
    return m.new("nn.map", [first, second], epilogue=(Step(step),))


def _guard_quotient(m: Match) -> None:
    _need_floats(m)
    steps = m.root["epilogue"]
    divides = bool(steps) and steps[0].op in ("div", "rdiv")
    m.need(divides and _divisor(m.root) is not None, "it divides by nothing that is computed")


def _divisor(op: Operator) -> Value | None:
    """What a map divides by first, where that is computed."""
    found = op.operands[1] if op["epilogue"][0].op == "div" else op.operands[0]
    return None if known(op.operands[1]) is not None else found


def _quotient(m: Match) -> Value:
    """map(a, b, ...) {div, steps}   ->   map(a, map(b, 1) {rdiv}, ...) {mul, steps}

    where b is computed: TFLite divides no bytes, but looks the inverse of one up; likewise rdiv.
    """
    op, divisor = m.root, _divisor(m.root)
    assert divisor is not None, "the guard wants one"
    one = m.constant(np.ones((1,) * divisor.type.rank, np.float32), "one")
    inverse = m.new("nn.map", [divisor, one], epilogue=(Step("rdiv"),))
    operands = [inverse if v is divisor else v for v in op.operands[:2]] + op.operands[2:]
    return m.new("nn.map", operands, epilogue=(Step("mul"), *op["epilogue"][1:]))


# Slopes and transposed convolutions -----------------------------------------------------------------


def _guard_leaky(m: Match) -> None:
    _need_floats(m)
    steps: Epilogue = m.root["epilogue"]
    m.need(bool(steps) and steps[0].op == "leaky_relu", "its first step has no slope")
    m.need(m.root.result.type.rank > 1, "it has no channels")


def _leaky(m: Match) -> Value:
    """map(x) {leaky_relu alpha, steps}   ->   map(x, alpha for each channel) {prelu, steps}"""
    op, shape = m.root, m.root.result.type.shape
    alpha = np.full((1, shape[1], *[1] * (len(shape) - 2)), op["epilogue"][0].params[0], np.float32)
    operands = [op.operands[0], m.constant(alpha, f"{op.loc}.alpha"), *op.operands[1:]]
    return m.new("nn.map", operands, epilogue=(Step("prelu"), *op["epilogue"][1:]))


def _guard_groups(m: Match) -> None:
    _need_floats(m)
    weights = m.array("w")
    groups = m.root["groups"]
    m.need(groups > 1, "it has one group")
    m.need(weights.size * groups <= LARGEST_WEIGHTS, f"its {groups} groups make too many weights of one")


def _one_group(m: Match) -> Value:
    """conv_transpose(x, w) {groups}   ->   conv_transpose(x, w with zeros between groups)"""
    op, weights = m.root, m.array("w")
    (inputs, filters), groups = weights.shape[:2], op["groups"]
    whole = np.zeros((inputs, filters * groups, *weights.shape[2:]), weights.dtype)
    for group in range(groups):
        rows = slice(group * inputs // groups, (group + 1) * inputs // groups)
        whole[rows, group * filters : (group + 1) * filters] = weights[rows]
    operands = [op.operands[0], m.constant(whole, op.operands[1].name), *op.operands[2:]]
    return m.new("nn.conv_transpose", operands, **{**op.attributes, "groups": 1})


RULES: tuple[Rule, ...] = (
    Rule("tflite-map", Op(tuple(f"nn.{name}" for name in STEPS)), _guard_map, _map),
    Rule("tflite-rows", Op("nn.matmul"), _guard_rows, _rows),
    Rule("tflite-columns", Op("nn.matmul"), _guard_columns, _columns),
    Rule("tflite-mean", Op("nn.reduce_mean"), _guard_mean, _mean),
    Rule("tflite-sum", Op("nn.reduce_sum"), _need_floats, _sum),
    Rule("tflite-scaling", Op("nn.map"), _guard_scaled, _scaling),
    Rule("tflite-quotient", Op("nn.map"), _guard_quotient, _quotient),
    Rule("tflite-leaky", Op("nn.map"), _guard_leaky, _leaky),
    Rule("tflite-groups", Op("nn.conv_transpose", (Any_("x"), Const("w"))), _guard_groups, _one_group),
)
