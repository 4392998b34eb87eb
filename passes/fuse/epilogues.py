"""Element-wise operators that become steps of a producer's epilogue, or of an `nn.map`.

An epilogue's extra operand is of one of three kinds: the full shape of the
result, one value per channel as (1, C, 1, ...) (for `nn.matmul`: (N,)), or a
single value. Everything here is f32.
"""

from __future__ import annotations

from typing import Any

from secateur.ir.capacity import excess
from secateur.ir.elementwise import FUNCTIONS, Step
from secateur.ir.graph import Operator, Value, constant_of
from secateur.ir.rewrite import Any_, Match, Op, Rule
from secateur.ir.types import DType

from .affine import LINEAR, channel_axis, channel_shape

UNARY = tuple(f"nn.{f.name}" for f in FUNCTIONS.values() if f.arity == 1)
BINARY = tuple(f"nn.{f.name}" for f in FUNCTIONS.values() if f.arity == 2)
SWAPPED = {
    "add": "add", "mul": "mul", "min": "min", "max": "max", "sub": "rsub", "rsub": "sub",
    "div": "rdiv", "rdiv": "div", "pow": "rpow", "rpow": "pow",
}  # fmt: skip

Shape = tuple[int, ...]


def map_axis(shape: Shape) -> int:
    """The channel axis of an `nn.map`."""
    return 1 if len(shape) > 1 else 0


def wanted_shape(extra: Shape, result: Shape, op_name: str, axis: int) -> Shape | None:
    """The shape in which `extra` may be an extra operand of a result of shape `result`, else None."""
    if len(extra) > len(result):
        return None
    aligned = (1,) * (len(result) - len(extra)) + extra
    if op_name == "nn.matmul" and extra == (result[axis],):
        return extra
    if all(d == 1 for d in aligned) and aligned != result:
        return extra
    if aligned == result:
        return result
    if aligned == channel_shape(result, axis):
        return (result[axis],) if op_name == "nn.matmul" else aligned
    return None


def step_of(op: Operator, swapped: bool = False) -> Step:
    """The epilogue step that an element-wise operator is."""
    function = FUNCTIONS[op.name.removeprefix("nn.")]
    name = SWAPPED[function.name] if swapped else function.name
    return Step(name, tuple(op[p] for p in function.params))


def _axis(op: Operator) -> int:
    return channel_axis(op) if op.name in LINEAR else map_axis(op.result.type.shape)


def need_extra(m: Match, extra: Value, producer: Operator) -> Shape:
    """The shape in which `extra` joins the producer's epilogue; refuses where there is none."""
    result = producer.result.type.shape
    m.need(
        m.root.result.type.shape == result, f"the result {m.root.result.type.shape} is wider than {result}"
    )
    shape = wanted_shape(extra.type.shape, result, producer.name, _axis(producer))
    m.need(
        shape is not None,
        f"an operand of shape {extra.type.shape} is neither full, per channel nor scalar for {result}",
    )
    assert shape is not None
    return shape


def as_shape(m: Match, extra: Value, shape: Shape) -> Value:
    """`extra` under another shape of as many elements."""
    if extra.type.shape == shape:
        return extra
    array = constant_of(extra)
    return (
        m.new("nn.reshape", [extra], shape=shape)
        if array is None
        else m.constant(array.reshape(shape), extra.name)
    )


def extended(m: Match, op: Operator, steps: tuple[Step, ...], extras: list[Value]) -> Value:
    """The operator with `steps` and their operands after its epilogue."""
    attributes: dict[str, Any] = {**op.attributes, "epilogue": (*op["epilogue"], *steps)}
    return m.new(op.name, [*op.operands, *extras], **attributes)


def _need_float(m: Match) -> None:
    m.need(
        m.root.result.type.dtype == DType.F32, f"{m.root.result.type.dtype.value} is not fused, only f32 is"
    )


def _need_room(m: Match, steps: tuple[Step, ...], extras: int) -> None:
    """Refuses what would be too much for one kernel."""
    p = m.op("p")
    reason = excess(len(p.operands) + extras, (*p["epilogue"], *steps))
    m.need(reason is None, f"it would have {reason}", p)
    m.need(not p.get("reach"), "its last operand reaches some channels alone", p)


def _guard_unary(m: Match) -> None:
    _need_float(m)
    _need_room(m, (step_of(m.root),), 0)


def _unary(m: Match) -> Value:
    """f(p(x))   ->   p(x) {..., f}

    where p is a convolution, matrix product or map whose result has no other use, and f a unary function.
    Here and below, the result must not be too much for one kernel (`ir/capacity.py`).
    """
    return extended(m, m.op("p"), (step_of(m.root),), [])


def _swapped(m: Match) -> bool:
    return m.root.operands[0] is not m.op("p").result


def _guard_binary(m: Match) -> None:
    _need_float(m)
    m.need(not _swapped(m) or m.root.name[3:] in SWAPPED, "its operands do not swap")
    need_extra(m, m.value("y"), m.op("p"))
    _need_room(m, (step_of(m.root),), 1)


def _guard_residual(m: Match) -> None:
    """As `_guard_binary`; of two linear producers the later one takes the step, so that no operator moves."""
    _guard_binary(m)
    rival = m.value("y").producer
    if rival is None or not _could_take(m, rival):
        return
    m.need(
        m.precedes(rival, m.op("p")),
        "the other operand's operator comes later and takes the step",
        m.op("p"),
    )


def _could_take(m: Match, rival: Operator) -> bool:
    """Whether the producer of the other operand is a linear operator that could take the step as well."""
    if rival.name not in LINEAR or m.graph.use_count(rival.result) != 1:
        return False
    fits = m.root.operands[0] is rival.result or m.root.name[3:] in SWAPPED
    return fits and rival.result.type.shape == m.root.result.type.shape


def _binary(m: Match) -> Value:
    """g(p(x), y) or g(y, p(x))   ->   p(x, y) {..., g}

    where p is a convolution, matrix product or map whose result has no other use and the shape of g's result,
    and y is of that shape, one value per channel, or a single value. (y cannot depend on p's result, which
    only g reads, so the graph stays acyclic.) Where both operands are linear operators, the later one is p.
    """
    p, y = m.op("p"), m.value("y")
    return extended(m, p, (step_of(m.root, _swapped(m)),), [as_shape(m, y, need_extra(m, y, p))])


def _guard_map(m: Match) -> None:
    _need_float(m)
    for extra in m.root.operands[1:]:
        need_extra(m, extra, m.op("p"))
    _need_room(m, m.root["epilogue"], len(m.root.operands) - 1)


def _map(m: Match) -> Value:
    """map(p(x), ys) {f, ...}   ->   p(x, ys) {..., f, ...}

    where p is a convolution, matrix product or map whose result has no other use, and every y is of a kind
    that p's epilogue takes.
    """
    p = m.op("p")
    extras = [as_shape(m, y, need_extra(m, y, p)) for y in m.root.operands[1:]]
    return extended(m, p, m.root["epilogue"], extras)


def _lone_unary(m: Match) -> Value:
    """f(x)   ->   map(x) {f}

    where f is a unary function and x is f32.
    """
    return m.new("nn.map", [m.root.operands[0]], epilogue=(step_of(m.root),))


def _main_operand(m: Match) -> int:
    """Which operand of a binary operator is the map's data: the first that has the shape of the result."""
    shapes = [v.type.shape for v in m.root.operands]
    wanted = m.root.result.type.shape
    constant = [constant_of(v) is not None for v in m.root.operands]
    order = sorted((0, 1), key=lambda i: (constant[i], i))
    fits = [i for i in order if shapes[i] == wanted and (i == 0 or m.root.name[3:] in SWAPPED)]
    m.need(bool(fits), f"no operand has the shape of the result {wanted}")
    return fits[0]


def _lone_shape(m: Match) -> tuple[int, Shape]:
    main = _main_operand(m)
    result = m.root.result.type.shape
    extra = m.root.operands[1 - main].type.shape
    shape = wanted_shape(extra, result, "nn.map", map_axis(result))
    m.need(
        shape is not None, f"an operand of shape {extra} is neither full, per channel nor scalar for {result}"
    )
    assert shape is not None
    return main, shape


def _guard_lone_binary(m: Match) -> None:
    _need_float(m)
    _lone_shape(m)


def _lone_binary(m: Match) -> Value:
    """g(x, y) or g(y, x)   ->   map(x, y) {g}

    where x is f32 and has the shape of the result, and y is of that shape, one value per channel, or a single
    value.
    """
    main, shape = _lone_shape(m)
    x, y = m.root.operands[main], m.root.operands[1 - main]
    return m.new("nn.map", [x, as_shape(m, y, shape)], epilogue=(step_of(m.root, main == 1),))


_LINEAR = Op(LINEAR, (), "p", once=True)
_MAP = Op("nn.map", (), "p", once=True)
_Y = Any_("y")

RULES: tuple[Rule, ...] = (
    Rule("fuse-activation", Op(UNARY, (Op((*LINEAR, "nn.map"), (), "p", once=True),)), _guard_unary, _unary),
    Rule("fuse-residual", Op(BINARY, (_LINEAR, _Y), commutes=True), _guard_residual, _binary),
    Rule("fuse-map-binary", Op(BINARY, (_MAP, _Y), commutes=True), _guard_binary, _binary),
    Rule("fuse-map", Op("nn.map", (Op((*LINEAR, "nn.map"), (), "p", once=True),)), _guard_map, _map),
    Rule("map-unary", Op(UNARY), _need_float, _lone_unary),
    Rule("map-binary", Op(BINARY), _guard_lone_binary, _lone_binary),
)
