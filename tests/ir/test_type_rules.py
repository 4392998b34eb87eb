"""What operators give for operands and attributes, and what they refuse."""

from __future__ import annotations

import re

import pytest

from secateur.ir.graph import Graph
from secateur.ir.opdef import KINDS, REQUIRED, TypeRuleError
from secateur.ir.ops.rows import register
from secateur.ir.parser import ParseError, parse_graph
from secateur.ir.reference import RULES
from secateur.ir.registry import create, lookup, registry
from secateur.ir.types import DType, Layout, Quant, TensorType

WINDOW = "strides = [1, 1], pads = [0, 0, 0, 0], dilations = [1, 1]"
RESIZE = "shape = [1, 3, 8, 8], scales = [1.0, 1.0, 2.0, 2.0]"


def graph(operator: str, *operands: str) -> Graph:
    """A graph of one operator on inputs of these types; its result type is written after `:`."""
    inputs = ", ".join(f"%x{i}: tensor<{t}>" for i, t in enumerate(operands))
    name, _, rest = operator.partition(" ")
    used = ", ".join(f"%x{i}" for i in range(len(operands)))
    return parse_graph(f'graph @main({inputs}) {{ %y = {name}({used}) {rest} return %y as "y" }}')


LSTM = "activations = [sigmoid, tanh, tanh]"

GIVEN = [
    (f"nn.conv {{{WINDOW}}} : tensor<1x4x6x6xf32>", "1x3x8x8xf32", "4x3x3x3xf32"),
    (f"nn.conv {{{WINDOW}, groups = 3}} : tensor<1x6x6x6xf32>", "1x3x8x8xf32", "6x1x3x3xf32"),
    ("nn.conv {strides = [2], pads = [1, 0], dilations = [3]} : tensor<2x5x2xf32>", "2x4x9xf32", "5x4x3xf32"),
    (
        f"nn.conv_transpose {{{WINDOW}, output_padding = [1, 0]}} : tensor<1x4x11x10xf32>",
        "1x3x8x8xf32",
        "3x4x3x3xf32",
    ),
    (f"nn.max_pool {{kernel = [3, 3], {WINDOW}}} : tensor<1x3x6x6xi8>", "1x3x8x8xi8"),
    (
        "nn.max_pool {kernel = [2], strides = [2], pads = [0, 0], dilations = [1], ceil_mode = true}"
        " : tensor<1x3x3xf32>",
        "1x3x5xf32",
    ),
    (
        "nn.max_pool {kernel = [1], strides = [2], pads = [0, 1], dilations = [1], ceil_mode = true}"
        " : tensor<1x1x2xf32>",
        "1x1x4xf32",
    ),
    ("nn.matmul : tensor<f32>", "3xf32", "3xf32"),
    ("nn.matmul : tensor<5xf32>", "3xf32", "3x5xf32"),
    ("nn.matmul : tensor<4x2xf32>", "4x2x3xf32", "3xf32"),
    ("nn.matmul : tensor<4x2x5xf32>", "4x2x3xf32", "3x5xf32"),
    ("nn.matmul : tensor<7x4x2x5xf32>", "4x2x3xf32", "7x1x3x5xf32"),
    ("nn.add : tensor<4x2x3xf32>", "2x1xf32", "4x1x3xf32"),
    ("nn.carry {ranges = [4, 5, 0, 2]} : tensor<2x3x7xi8>", "2x5x7xi8"),
    ("nn.carry {ranges = []} : tensor<2x0xf32>", "2x5xf32"),
    ("nn.channel_sum {channels = 5, ranges = [3, 4, 0, 1, 1, 4]} : tensor<2x5xf32>", "2x2xf32", "2x3xf32"),
    ("nn.where : tensor<2x3xi8>", "3xbool", "2x1xi8", "i8"),
    ("nn.reduce_mean {axes = [-1, 0], keepdims = false} : tensor<3xf32>", "2x3x4xf32"),
    ("nn.reduce_max {axes = [1]} : tensor<2x1x4xbool>", "2x3x4xbool"),
    (f"nn.lstm {{{LSTM}}} : tensor<5x1x3x4xf32>", "5x3x16xf32", "1x4x16xf32", "1x3x4xf32", "1x3x4xf32"),
    (
        f"nn.lstm {{{LSTM}, last_cell = true}} : tensor<6x1x3x4xf32>",
        "5x3x16xf32",
        "1x4x16xf32",
        "1x3x4xf32",
        "1x3x4xf32",
        "1x12xf32",
    ),
    (
        'nn.rnn {direction = "bidirectional", activations = [tanh]} : tensor<5x2x3x4xf32>',
        "5x3x8xf32",
        "2x4x4xf32",
        "2x3x4xf32",
    ),
    ('nn.grid_sample {mode = "cubic"} : tensor<2x3x5x6xf32>', "2x3x7x8xf32", "2x5x6x2xf32"),
    ("nn.argmax {axis = -1} : tensor<2x1xi64>", "2x3xf32"),
    ("nn.top_k {k = 2} : tensor<4x2xi64>", "4x3xf32"),
    ("nn.cumsum {axis = -1} : tensor<4x3xi64>", "4x3xi64"),
    (f"nn.max_pool_index {{kernel = [3, 3], {WINDOW}}} : tensor<1x3x6x6xi64>", "1x3x8x8xi8"),
    ("nn.scatter : tensor<2x7x3xf32>", "2x7x3xf32", "2x9xi64", "2x9x3xf32"),
    ("nn.slice {starts = [3], sizes = [2], steps = [-2]} : tensor<2xf32>", "4xf32"),
    ("nn.gather {axis = 1} : tensor<2x5x1x4xf32>", "2x3x4xf32", "5x1xi64"),
    ("nn.pad {pads = [0, -1, 2, 0]} : tensor<4x2xf32>", "2x3xf32"),
    ("nn.depth_to_space {block = 2} : tensor<1x2x6x8xf32>", "1x8x3x4xf32"),
    ("nn.space_to_depth {block = 2} : tensor<1x8x3x4xf32>", "1x2x6x8xf32"),
    (f"nn.resize {{{RESIZE}}} : tensor<1x3x8x8xf32>", "1x3x4x4xf32"),
]


@pytest.mark.parametrize("case", GIVEN, ids=[c[0].partition(" ")[0] + str(i) for i, c in enumerate(GIVEN)])
def test_result_types(case: tuple[str, ...]) -> None:
    graph(*case)


REFUSED = [
    (
        "nn.conv {strides = [1], pads = [0, 0], dilations = [1]}",
        "do not fit a 2-dimensional window",
        "1x3x8x8xf32",
        "4x3x3x3xf32",
    ),
    (f"nn.conv {{{WINDOW}}}", "need the same rank, 3 or more", "1x3x8x8xf32", "4x3xf32"),
    (f"nn.conv {{{WINDOW}}}", "input is f32, weights are f16", "1x3x8x8xf32", "4x3x3x3xf16"),
    (f"nn.conv {{{WINDOW}}}", "defined on numbers, the operand is bool", "1x3x8x8xbool", "4x3x3x3xbool"),
    (f"nn.conv {{{WINDOW}, groups = 2}}", "do not fit 2 groups", "1x3x8x8xf32", "4x3x3x3xf32"),
    (f"nn.conv {{{WINDOW}}}", "the epilogue takes 0 operands, got 1", "1x3x8x8xf32", "4x3x3x3xf32", "4xf32"),
    (
        f"nn.conv {{{WINDOW}, epilogue = [add]}}",
        "does not broadcast to",
        "1x3x8x8xf32",
        "4x3x3x3xf32",
        "2x4x1x1xf32",
    ),
    (
        f"nn.conv {{{WINDOW}, epilogue = [add]}}",
        "epilogue operand is f16",
        "1x3x8x8xf32",
        "4x3x3x3xf32",
        "4x1x1xf16",
    ),
    (f"nn.conv {{{WINDOW}, epilogue = [tanh]}}", "tanh is not defined on i8", "1x3x8x8xi8", "4x3x3x3xi8"),
    ("nn.conv", "nn.conv needs attribute 'strides'", "1x3x8x8xf32", "4x3x3x3xf32"),
    (
        f"nn.conv_transpose {{{WINDOW}, output_padding = [0]}}",
        "do not fit 2 spatial",
        "1x3x8x8xf32",
        "3x4x3x3xf32",
    ),
    (
        f"nn.conv_transpose {{{WINDOW}, output_padding = [-1, 0]}}",
        "are negative",
        "1x3x8x8xf32",
        "3x4x3x3xf32",
    ),
    (f"nn.max_pool {{kernel = [9, 1], {WINDOW}}}", "does not fit an extent of 8", "1x3x8x8xf32"),
    (f"nn.max_pool {{kernel = [0, 1], {WINDOW}}}", "must be positive", "1x3x8x8xf32"),
    (
        "nn.max_pool {kernel = [], strides = [], pads = [], dilations = []}",
        "pooling needs spatial axes",
        "3x8xf32",
    ),
    (
        "nn.max_pool {kernel = [1], strides = [1], pads = [9000000000, 0], dilations = [1]}",
        "not an integer",
        "1x1x4xf32",
    ),
    ("nn.matmul", "scalars cannot be multiplied", "f32", "3xf32"),
    ("nn.matmul", "inner extents of tensor<2x3xf32> and tensor<2xf32> differ", "2x3xf32", "2xf32"),
    ("nn.matmul", "do not broadcast", "2x4x3xf32", "3x3x5xf32"),
    ("nn.add", "operands have different element types: f32, i32", "2xf32", "2xi32"),
    ("nn.add", "add is not defined on bool", "2xbool", "2xbool"),
    ("nn.sigmoid", "sigmoid is not defined on i32", "2xi32"),
    ("nn.and", "operands must be bool", "2xi32", "2xi32"),
    ("nn.where", "the condition is i8, not bool", "2xi8", "2xf32", "2xf32"),
    ("nn.where", "branches are f32 and i8", "2xbool", "2xf32", "2xi8"),
    ("nn.reshape {shape = [7]}", "tensor<2x3xf32> cannot become [7]", "2x3xf32"),
    ("nn.reshape {shape = [-2, -3]}", "cannot become", "2x3xf32"),
    ("nn.transpose {perm = [0, 0]}", "is no permutation of 2 axes", "2x3xf32"),
    ("nn.expand {shape = [3]}", "tensor<2x3xf32> does not broadcast to [3]", "2x3xf32"),
    ("nn.tile {repeats = [2]}", "repeats [2] do not fit tensor<2x3xf32>", "2x3xf32"),
    ("nn.concat {axis = 0}", "nothing to concatenate"),
    (
        f"nn.conv_transpose {{{WINDOW}, output_padding = [0, 0]}}",
        "extents [0, 8] and kernel [3, 3] must be positive",
        "1x3x0x8xf32",
        "3x4x3x3xf32",
    ),
    ("nn.concat {axis = 0}", "differ outside axis 0", "2x3xf32", "2x4xf32"),
    ("nn.concat {axis = 0}", "axis 0 is outside a tensor of rank 0", "f32", "f32"),
    ("nn.concat {axis = 1}", "differ outside axis 1", "2x3xf32", "2xf32"),
    ("nn.carry {ranges = [0, 1]}", "has no channels", "4xf32"),
    ("nn.carry {ranges = [0]}", "a range needs a begin and an end", "1x4x2x2xf32"),
    ("nn.carry {ranges = [0, 2, 3, 5]}", "range [3, 5] is none of 4 channels", "1x4x2x2xf32"),
    ("nn.carry {ranges = [2, 2]}", "range [2, 2] is none of 4 channels", "1x4x2x2xf32"),
    ("nn.channel_sum {channels = 4, ranges = []}", "nothing to add"),
    ("nn.channel_sum {channels = 4, ranges = [0, 4]}", "has no channels", "4xf32"),
    ("nn.channel_sum {channels = 4, ranges = [0, 5]}", "range [0, 5] is none of 4 channels", "1x5xf32"),
    ("nn.channel_sum {channels = 4, ranges = [0, 3]}", "ranges of 3 channels for operands of 4", "1x4xf32"),
    (
        "nn.channel_sum {channels = 4, ranges = [0, 2, 3, 4, 0, 2, 1, 2]}",
        "operand 1 is added twice to one channel",
        "1x3xf32",
        "1x3xf32",
    ),
    (
        "nn.channel_sum {channels = 4, ranges = [0, 4, 0, 2]}",
        "differ outside channels",
        "1x4x3xf32",
        "1x2x4xf32",
    ),
    ("nn.channel_sum {channels = 1, ranges = [0, 1, 0, 1]}", "different element types", "1x1xf32", "1x1xi8"),
    ("nn.channel_sum {channels = 1, ranges = [0, 1]}", "the operand is bool", "1x1xbool"),
    ("nn.slice {starts = [0], sizes = [5], steps = [1]}", "leaves an extent of 4", "4xf32"),
    ("nn.slice {starts = [0], sizes = [2], steps = [-1]}", "leaves an extent of 4", "4xf32"),
    ("nn.slice {starts = [0, 0], sizes = [1], steps = [1]}", "must have 1 entries", "4xf32"),
    ("nn.gather", "indices are f32", "2x3xf32", "2xf32"),
    ("nn.gather", "a scalar has no axis", "f32", "2xi64"),
    ("nn.pad {pads = [1]}", "need two entries for each of 1 axes", "4xf32"),
    ('nn.pad {pads = [0, 1], mode = "mirror"}', "unknown padding mode 'mirror'", "4xf32"),
    ('nn.pad {pads = [0, 4], mode = "reflect"}', "cannot reflect 4 elements", "4xf32"),
    ('nn.pad {pads = [-2, 2], mode = "reflect"}', "cannot reflect 2 elements", "4xf32"),
    ("nn.pad {pads = [-3, -2]}", "cut more than there is", "4xf32"),
    ('nn.pad {pads = [1, 0], mode = "edge"}', "cannot extend an empty axis", "0xf32"),
    ("nn.resize {shape = [8], scales = [0.0]}", "must be positive", "4xf32"),
    ('nn.resize {shape = [8], scales = [2.0], mode = "area"}', "unknown resize mode", "4xf32"),
    ("nn.resize {shape = [8], scales = [nan]}", "must be positive", "4xf32"),
    ("nn.resize {shape = [8], scales = [2.0]}", "nothing to interpolate between", "0xf32"),
    ("nn.resize {shape = [1], scales = [0.0001], antialias = true}", "antialias over more than", "4xf32"),
    ("nn.depth_to_space {block = 3}", "cannot be spread over blocks of 3", "1x8x3x4xf32"),
    ('nn.depth_to_space {block = 2, mode = "XYZ"}', "unknown mode", "1x8x3x4xf32"),
    ("nn.batch_norm", "does not fit 3 channels", "1x3x2xf32", "2xf32", "3xf32", "3xf32", "3xf32"),
    ("nn.batch_norm", "has no channel axis", "3xf32", "3xf32", "3xf32", "3xf32", "3xf32"),
    (
        "nn.layer_norm",
        "type tensor<3xf32> does not fit axes 1 and up",
        "2x4xf32",
        "3xf32",
        "4xf32",
    ),
    ("nn.lrn {size = 0}", "a neighbourhood of 0 channels", "1x3x4x4xf32"),
    ("nn.softmax", "defined on floats, the operand is i32", "2x3xi32"),
    ("nn.softmax {axis = 2}", "axis 2 is outside a tensor of rank 2", "2x3xf32"),
    ("nn.reduce_sum {axes = [0, -2]}", "name one axis twice", "2x3xf32"),
    ("nn.reduce_sum {axes = [0]}", "defined on numbers", "2x3xbool"),
    ("nn.reduce_l2 {axes = [0]}", "defined on floats", "2x3xi32"),
    ("nn.grid_sample", "differ in rank", "2x3x7x8xf32", "2x5x2xf32"),
    ("nn.grid_sample", "does not fit an input of type", "2x3x7x8xf32", "2x5x6x3xf32"),
    ("nn.grid_sample", "nothing to sample", "2x3x0x8xf32", "2x5x6x2xf32"),
    ('nn.grid_sample {padding = "wrap"}', "unknown padding 'wrap'", "2x3x7x8xf32", "2x5x6x2xf32"),
    ("nn.grid_sample", "defined on floats", "2x3x7x8xi8", "2x5x6x2xf32"),
    (f"nn.lstm {{{LSTM}}}", "are not of 4 gates", "5x3x12xf32", "1x4x12xf32", "1x3x4xf32", "1x3x4xf32"),
    (f"nn.lstm {{{LSTM}}}", "do not fit weights", "5x3x12xf32", "1x4x16xf32", "1x3x4xf32", "1x3x4xf32"),
    (
        f"nn.lstm {{{LSTM}}}",
        "hidden is tensor<1x2x4xf32>, not of shape 1x3x4",
        "5x3x16xf32",
        "1x4x16xf32",
        "1x2x4xf32",
        "1x3x4xf32",
    ),
    (
        f"nn.lstm {{{LSTM}}}",
        "peepholes (of i, o, f) is tensor<1x4xf32>, not of shape 1x12",
        "5x3x16xf32",
        "1x4x16xf32",
        "1x3x4xf32",
        "1x3x4xf32",
        "1x4xf32",
    ),
    (f"nn.lstm {{{LSTM}}}", "at least 4 operands", "5x3x16xf32", "1x4x16xf32", "1x3x4xf32"),
    (
        f'nn.lstm {{{LSTM}, direction = "up"}}',
        "unknown direction",
        "5x3x16xf32",
        "1x4x16xf32",
        "1x3x4xf32",
        "1x3x4xf32",
    ),
    (
        "nn.rnn {activations = [tanh, tanh]}",
        "takes 1 activations, got 2",
        "5x3x4xf32",
        "1x4x4xf32",
        "1x3x4xf32",
    ),
    ("nn.rnn {activations = [add]}", "takes two operands", "5x3x4xf32", "1x4x4xf32", "1x3x4xf32"),
    ("nn.rnn {activations = [tanh], clip = -1.0}", "clip is -1", "5x3x4xf32", "1x4x4xf32", "1x3x4xf32"),
    ("nn.rnn {activations = [tanh]}", "defined on floats", "5x3x4xi32", "1x4x4xi32", "1x3x4xi32"),
    ("nn.argmax {axis = 0}", "no largest element of an empty axis", "0x3xf32"),
    ("nn.top_k {k = 4}", "no 4 largest elements of 3", "4x3xf32"),
    ("nn.top_k {k = 1}", "defined on numbers", "4x3xbool"),
    ("nn.cumsum {axis = 2}", "axis 2 is outside a tensor of rank 2", "4x3xf32"),
    ("nn.scatter", "no rows of places", "7xf32", "9xi64", "9xf32"),
    ("nn.scatter", "indices are f32, not i32 or i64", "2x7xf32", "2x9xf32", "2x9xf32"),
    ("nn.scatter", "are not for each of 2 rows", "2x7xf32", "1x9xi64", "1x9xf32"),
    ("nn.scatter", "tensor<2x9xf32> is needed", "2x7xf32", "2x9xi64", "2x9xi8"),
    ('nn.scatter {reduction = "sum"}', "unknown reduction 'sum'", "2x7xf32", "2x9xi64", "2x9xf32"),
    ('nn.scatter {reduction = "max"}', "of numbers, not of bool", "2x7xbool", "2x9xi64", "2x9xbool"),
    (
        "q.quantize {scales = [0.5], zero_points = [0], dtype = f32}",
        "f32 cannot carry a quantization",
        "2xf32",
    ),
    ("q.quantize {scales = [0.5], zero_points = [0], dtype = i8}", "only floats are quantized", "2xi32"),
    (
        "q.quantize {scales = [0.5, 1.0], zero_points = [0], dtype = i8}",
        "as many zero points as scales",
        "2xf32",
    ),
    (
        "q.quantize {scales = [0.5, 1.0], zero_points = [0, 0], dtype = i8}",
        "several scales need an axis",
        "2xf32",
    ),
    ("q.dequantize", "the input is i8 without a quantization", "2xi8"),
]


# What only Python writes: a tuple of numbers, a class with its fields, an enum's member.
_PYTHON = re.compile(r"\(\d+,|\d+\.?\d*, ?\)|\b[A-Z]\w*\(|DType|<object")


@pytest.mark.parametrize("case", REFUSED, ids=[f"{c[0].partition(' ')[0]}: {c[1]}" for c in REFUSED])
def test_refused(case: tuple[str, ...]) -> None:
    operator, message, *operands = case
    with pytest.raises(ParseError) as caught:
        graph(f"{operator} : tensor<f32>", *operands)
    assert message in str(caught.value)
    assert not _PYTHON.search(str(caught.value).splitlines()[0])


def test_every_operator_has_a_reference_meaning_and_a_prim_twin() -> None:
    names = registry().keys()
    assert {name.split(".")[1] for name in names} == RULES.keys()
    assert {name.replace("nn.", "prim.") for name in names if name.startswith("nn.")} - names == {
        "prim.constant"
    }


def test_declarations_are_complete() -> None:
    for row in registry().values():
        assert row.doc
        for attribute in row.attributes:
            assert attribute.kind in KINDS
            assert attribute.default is REQUIRED or KINDS[attribute.kind](attribute.default)


def test_an_operator_is_declared_once() -> None:
    with pytest.raises(ValueError, match=r"operator nn\.relu is declared twice"):
        register(lookup("nn.relu"))


def test_an_unknown_operator() -> None:
    with pytest.raises(TypeRuleError, match=r"unknown operator 'nn\.oracle'"):
        create("nn.oracle", [])


TYPES = [
    (lambda: TensorType((1, -1)), "dimension that is not an integer"),
    (lambda: TensorType((1 << 20, 1 << 20)), "the limit is"),
    (lambda: TensorType((1 << 15, 1, 1 << 15), layout=Layout("NCHW16c")), "the limit is"),
    (lambda: TensorType((2, 2), layout=Layout("NHWC")), "needs at least 3 dimensions"),
    (lambda: TensorType((2,), DType.F32, quant=Quant((0.5,), (0,))), "cannot carry a quantization"),
    (lambda: TensorType((2,), DType.U8, quant=Quant((0.5,), (-1,))), "a zero point does not fit u8"),
    (
        lambda: TensorType((2,), DType.I8, quant=Quant((0.5,), (0,), 1)),
        "do not fit shape",
    ),
    (lambda: Layout("NCHW0c"), "unknown layout"),
    (lambda: Quant((), ()), "at least one"),
    (lambda: Quant((1e-60,), (0,)), "positive in float32"),
    (lambda: Quant((1e60,), (0,)), "finite and positive"),
]


@pytest.mark.parametrize(("make", "message"), TYPES, ids=[m for _, m in TYPES])
def test_types_verify_themselves(make: object, message: str) -> None:
    assert callable(make)
    with pytest.raises(ValueError, match=message):
        make()


def test_a_blocked_layout_pads_channels() -> None:
    type = TensorType((1, 20, 4, 4), layout=Layout("NCHW16c"))
    assert type.layout.physical_shape(type.shape) == (1, 2, 4, 4, 16)
    assert (type.elements, type.bytes) == (320, 2048)
