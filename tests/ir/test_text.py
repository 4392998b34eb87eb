"""The text form: parse(print(g)) == g for every graph, and texts that are refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import hypothesis.extra.numpy as hnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from secateur.ir.elementwise import FUNCTIONS, Step
from secateur.ir.errors import ModelError
from secateur.ir.files import read_graph, write_graph
from secateur.ir.graph import Graph, Operator, Value
from secateur.ir.parser import ParseError, parse_graph
from secateur.ir.printer import print_graph
from secateur.ir.registry import create
from secateur.ir.types import DType, Layout, Quant, TensorType
from secateur.ir.verifier import verify

from .compare import difference

NAMES = st.one_of(
    st.text(max_size=6), st.sampled_from(["", "a", "a__1", "0", "1", "conv/1", '"', "\\", "%", "\n", "é✂"])
)
FLOATS = st.floats(allow_nan=True, allow_infinity=True)
LAYOUTS = st.sampled_from([Layout("NCHW"), Layout("NHWC"), Layout("NCHW8c")])
SHAPES = st.lists(st.integers(0, 3), max_size=4).map(tuple)
COMMON = st.fixed_dictionaries(
    {},
    optional={
        "primitive": st.text(max_size=8),
        "workspace": st.integers(0, 1 << 40),
        "offset": st.just((0, 64)),
    },
)


@st.composite
def quants(draw: st.DrawFn, shape: tuple[int, ...]) -> Quant | None:
    """No quantization, one scale, or a scale for each index of an axis."""
    scales = st.floats(1e-30, 1e30)
    axes = [None, *[i for i, d in enumerate(shape) if d]]
    axis = draw(st.sampled_from(axes))
    count = 1 if axis is None else shape[axis]
    zeros = st.lists(st.integers(0, 127), min_size=count, max_size=count).map(tuple)
    found = Quant(draw(st.lists(scales, min_size=count, max_size=count).map(tuple)), draw(zeros), axis)
    return draw(st.sampled_from([found, None]))


@st.composite
def types(draw: st.DrawFn) -> TensorType:
    shape, dtype = draw(SHAPES), draw(st.sampled_from(list(DType)))
    layout = draw(LAYOUTS) if len(shape) >= 3 else Layout("NCHW")
    quant = draw(quants(shape)) if dtype in (DType.I8, DType.U8, DType.I16, DType.I32) else None
    return TensorType(shape, dtype, layout, quant)


def arrays() -> st.SearchStrategy[np.ndarray[Any, Any]]:
    """Constants of every type, some too large to stand in the text."""
    dtypes = st.sampled_from([d.numpy for d in DType])
    return dtypes.flatmap(lambda d: hnp.arrays(d, st.lists(st.integers(0, 5), max_size=3).map(tuple)))


@st.composite
def steps(draw: st.DrawFn) -> Step:
    row = FUNCTIONS[draw(st.sampled_from(sorted(FUNCTIONS)))]
    return Step(row.name, tuple(draw(FLOATS) for _ in row.params))


def constant(draw: st.DrawFn, _: list[Value]) -> Operator:
    return create("nn.constant", [], {"value": draw(arrays())}, draw(NAMES))


def mapped(draw: st.DrawFn, values: list[Value]) -> Operator:
    """A chain of steps on a float value, each extra operand the value itself."""
    floats = [v for v in values if v.type.dtype.is_float]
    if not floats:
        return constant(draw, values)
    x = draw(st.sampled_from(floats))
    chain = tuple(draw(st.lists(steps(), max_size=3)))
    extras = [x for step in chain if step.function.arity == 2]
    op = create("nn.map", [x, *extras], {"epilogue": chain, **draw(COMMON)}, draw(NAMES))
    op.result.type = op.result.type.with_layout(x.type.layout)
    return op


def padded(draw: st.DrawFn, values: list[Value]) -> Operator:
    x = draw(st.sampled_from(values))
    pads = draw(st.lists(st.integers(0, 2), min_size=2 * x.type.rank, max_size=2 * x.type.rank).map(tuple))
    return create("nn.pad", [x], {"pads": pads, "value": draw(FLOATS)}, draw(NAMES))


def cast(draw: st.DrawFn, values: list[Value]) -> Operator:
    return create("nn.cast", [draw(st.sampled_from(values))], {"dtype": draw(st.sampled_from(list(DType)))})


@st.composite
def graphs(draw: st.DrawFn) -> Graph:
    """Graphs with odd names, shared values, every kind of attribute and of type."""
    graph = Graph(draw(st.text(min_size=1, max_size=6)))
    for name in draw(st.lists(NAMES.filter(bool), min_size=1, max_size=3, unique=True)):
        graph.add_input(draw(types()), name)
    values = list(graph.inputs)
    for make in draw(st.lists(st.sampled_from([constant, mapped, padded, cast]), max_size=6)):
        op = graph.append(make(draw, values))
        name = draw(NAMES)
        op.result.name = "" if any(v.name == name for v in values) else name
        values.append(op.result)
    outputs = draw(st.lists(st.sampled_from(values), min_size=1, max_size=3))
    graph.set_outputs(
        outputs,
        draw(st.lists(st.text(max_size=4), unique=True, min_size=len(outputs), max_size=len(outputs))),
    )
    return graph


@given(graphs(), st.sampled_from([0, 4, 1000]))
def test_parse_print_is_the_identity(graph: Graph, inline: int) -> None:
    verify(graph)
    text, resources = print_graph(graph, inline)
    back = parse_graph(text, resources)
    assert difference(graph, back) == ""
    assert print_graph(back, inline)[0] == text


@given(graphs())
def test_values_of_one_name_stay_apart(graph: Graph) -> None:
    for value in graph.values():
        value.name = value.name[:1] if value.producer else value.name
    back = parse_graph(*print_graph(graph))
    assert [op.name for op in back.operators] == [op.name for op in graph.operators]
    assert [v.name for v in back.inputs] == [v.name for v in graph.inputs]


def test_files_keep_large_constants_beside_the_text(tmp_path: Path) -> None:
    graph = Graph("main")
    op = graph.append(create("nn.constant", [], {"value": np.arange(100, dtype=np.float32)}))
    op.result.name = "__metadata__"
    graph.set_outputs([op.result], ["y"])
    write_graph(graph, tmp_path / "model.sir")
    assert (tmp_path / "model.sir.safetensors").exists()
    assert difference(read_graph(tmp_path / "model.sir"), graph) == ""


GOOD = """graph @main(%x: tensor<1x3x4x4xf32>) {
  %0 = nn.relu(%x) : tensor<1x3x4x4xf32> loc("relu")
  return %0 as "y"
}
"""

REFUSED = [
    ("graph @main", "graph main", "line 1, column 7: expected a graph, found main"),
    ("nn.relu", "nn.rely", "line 2, column 8: unknown operator 'nn.rely'"),
    ("nn.relu(%x)", "nn.relu(%z)", "line 2, column 16: %z is not defined above"),
    ("nn.relu(%x)", "nn.relu(%x, %x)", "nn.relu takes 1 operands, got 2"),
    ("nn.relu(%x)", "nn.relu(%x) {alpha = 1.0}", "nn.relu has no attribute 'alpha'"),
    ("nn.relu(%x)", "nn.leaky_relu(%x) {alpha = [1]}", "expected a number"),
    ("nn.relu(%x)", "nn.map(%x) {epilogue = [relux]}", "unknown epilogue step 'relux'"),
    ("nn.relu(%x)", "nn.map(%x) {epilogue = [clip(1)]}", "step 'clip' takes 2 parameters"),
    ("nn.relu(%x)", "nn.map(%x) {epilogue = [add]}", "the epilogue takes 1 operands, got 0"),
    ("tensor<1x3x4x4xf32> loc", "tensor<1x3x4x5xf32> loc", "the text says otherwise"),
    ("tensor<1x3x4x4xf32>)", "tensor<1x3x4x4xf33>)", "expected a shape and element type"),
    ("tensor<1x3x4x4xf32>)", "tensor<1x3x4x4xf32, NCWH>)", "unknown layout 'NCWH'"),
    ("tensor<1x3x4x4xf32>)", "tensor<3x4xf32, NHWC>)", "needs at least 3 dimensions"),
    ("tensor<1x3x4x4xf32>)", "tensor<1x3x4x4xf32, quant<0.5:0>>)", "f32 cannot carry a quantization"),
    ("tensor<1x3x4x4xf32>)", "tensor<1x3x4x4xi8, quant<0.5:128>>)", "a zero point does not fit i8"),
    (
        "tensor<1x3x4x4xf32>)",
        "tensor<1x3x4x4xi8, quant<axis=1, [0.5:0]>>)",
        "1 scales along axis 1 do not fit",
    ),
    ("tensor<1x3x4x4xf32>)", "tensor<1x3x4x4xi8, quant<0.0:0>>)", "scales must be finite and positive"),
    ("tensor<1x3x4x4xf32>)", "tensor<99999999x99999999xf32>)", "the limit is"),
    ("tensor<1x3x4x4xf32>)", f"tensor<{'1x' * 17}f32>)", "17 dimensions, the limit is 16"),
    ("%0 =", "%x =", "%x is defined twice"),
    ("%0 =", "%0, %1 =", "nn.relu has 1 results, not 2"),
    ('"relu"', '"\\q"', "bad string"),
    ("%0 =", '%"\\q" =', "bad string"),
    ("return %0", "return %1", "%1 is not defined above"),
    ('as "y"', "", "expected as"),
    ("}\n", "} }\n", "expected a end, found }"),
    ("}\n", "", "found end of text"),
    ("loc", "!", "unexpected character '!'"),
]


@pytest.mark.parametrize(
    ("old", "new", "message"), REFUSED, ids=[new.strip() or "nothing" for _, new, _ in REFUSED]
)
def test_refused_text(old: str, new: str, message: str) -> None:
    parse_graph(GOOD)
    with pytest.raises(ParseError) as caught:
        parse_graph(GOOD.replace(old, new))
    assert message in str(caught.value)


CONSTANTS = [
    ("dense<2xi8: [1, 300]>", "elements do not fit"),
    ("dense<3xi8: [1, 2]>", "elements do not fit"),
    ("dense<2xi8: [1.5, 2]>", "expected an integer, found 1.5"),
    ("dense<bool: [1]>", "expected a word, found 1"),
    ("dense<f32: [true]>", "expected a number, found true"),
    ('dense_resource<"w">', "no resource named 'w'"),
    ("sparse<2xi8: [1, 2]>", "expected dense or dense_resource"),
]


@pytest.mark.parametrize(("constant", "message"), CONSTANTS, ids=[c for c, _ in CONSTANTS])
def test_refused_constant(constant: str, message: str) -> None:
    text = f'graph @main() {{ %0 = nn.constant() {{value = {constant}}} : tensor<2xi8> return %0 as "y" }}'
    with pytest.raises(ParseError) as caught:
        parse_graph(text)
    assert message in str(caught.value)


def test_the_error_points_at_the_place() -> None:
    with pytest.raises(ParseError) as caught:
        parse_graph(GOOD.replace("%x)", "%z)"))
    *_, line, arrow = str(caught.value).splitlines()
    assert line[arrow.index("^") :].startswith("%z)")


def test_an_error_in_a_file_names_the_file(tmp_path: Path) -> None:
    path = tmp_path / "model.sir"
    path.write_text(GOOD.replace("%x)", "%z)"))
    with pytest.raises(ParseError, match=rf"^{path}, line \d+, column \d+: %z is not defined above"):
        read_graph(path)


def test_a_missing_file_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"nowhere\.sir: cannot be read: No such file"):
        read_graph(tmp_path / "nowhere.sir")


def test_a_file_that_is_no_text_is_refused(tmp_path: Path) -> None:
    (tmp_path / "model.sir").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ModelError, match="is not text"):
        read_graph(tmp_path / "model.sir")


def test_a_damaged_resource_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "model.sir").write_text(GOOD)
    (tmp_path / "model.sir.safetensors").write_bytes(b"not tensors")
    with pytest.raises(ModelError, match="damaged resource file"):
        read_graph(tmp_path / "model.sir")


def test_a_missing_resource_names_the_file_that_was_looked_for(tmp_path: Path) -> None:
    path, beside = tmp_path / "model.sir", tmp_path / "model.sir.safetensors"
    w = np.zeros((5, 5), np.float32)
    graph = Graph()
    constant = graph.append(create("nn.constant", [], {"value": w}))
    constant.result.name = "weight"
    graph.set_outputs([constant.result], ["y"])
    write_graph(graph, path)
    path.write_text(path.read_text().replace('dense_resource<"weight">', 'dense_resource<"weights">'))
    with pytest.raises(ParseError, match=f"no resource named 'weights' in {beside}; did you mean 'weight'"):
        read_graph(path)
    beside.unlink()
    with pytest.raises(ParseError, match=f"no resource named 'weights': there is no file {beside}"):
        read_graph(path)
