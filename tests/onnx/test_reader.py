"""The ONNX reader: forms of old opsets, padding modes, shape arithmetic, symbolic shapes, names."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest

from secateur.ir.interpreter import run
from secateur.ir.onnx_reader import read_model
from secateur.ir.stages import READ
from secateur.ir.types import DType
from secateur.ir.verifier import verify
from tests.onnx.models import assert_as_onnxruntime, model, operators

OLD_FORMS = [
    (7, "y = BatchNormalization <epsilon: float = 0.01> (x, s, s, s, s)"),
    (13, "m = ReduceMean <axes = [0, 2, 3], keepdims = 0> (x) k = ReduceMean <axes = [0, 2, 3]> (x) "
         "d = Sub (x, k) p = Mul (d, d) v = ReduceMean <axes = [0, 2, 3], keepdims = 0> (p) "
         "y, n, w, o, u = BatchNormalization <momentum = 1.0> (x, s, s, m, v)"),
    (7, "y = Upsample <mode: string = \"nearest\", scales: floats = [1.0, 1.0, 2.0, 3.0]> (x)"),
    (9, "y = Upsample <mode: string = \"linear\"> (x, up)"),
    (10, "y = Resize <mode: string = \"nearest\"> (x, up)"),
    (10, "y = Resize <mode: string = \"nearest\"> (x, down)"),
    (10, "y = Resize <mode: string = \"linear\"> (x, up)"),
    (11, "y = Resize <coordinate_transformation_mode = \"tf_half_pixel_for_nn\", nearest_mode = \"floor\"> "
         "(x, none, up)"),
    (11, "y = Resize <mode: string = \"cubic\"> (x, none, up)"),
    (13, "y = Resize <mode: string = \"linear\"> (x, , , sizes)"),
    (18, "y = Resize <mode: string = \"linear\", axes = [2, 3], antialias = 1> (x, , , two)"),
    (19, "y = Resize <axes = [3, 2], keep_aspect_ratio_policy = \"not_smaller\"> (x, , , two)"),
    (7, "y = Softmax (x)"),
    (11, "y = Softmax <axis = 2> (x)"),
    (12, "y = LogSoftmax <axis = -2> (x)"),
    (13, "y = Softmax (x)"),
    (13, "y = Softmax <axis = 1> (x)"),
    (7, "y = Clip <min = -0.5, max = 0.5> (x)"),
    (7, "y = Clip <max = 0.5> (x)"),
    (11, "y = Clip (x, half)"),
    (13, "y = Clip (x, , half)"),
    (7, "y = Slice <starts = [1, -2], ends = [3, 1000], axes = [1, 2]> (x)"),
    (10, "y = Slice (x, minus, zero, axis, step)"),
    (13, "y = Slice (x, minus, smallest, axis, step)"),
    (7, "y = Pad <pads = [0, 0, 1, 2, 0, 0, 3, 0], value = 1.5> (x)"),
    (7, "y = Pad <mode = \"reflect\", pads = [0, 0, 1, 2, 0, 0, 3, 0]> (x)"),
    (7, "y = Pad <mode = \"edge\", pads = [0, 0, -1, 2, 0, 0, 3, 0]> (x)"),
    (11, "y = Pad (x, pads, half)"),
    (18, "y = Pad (x, three, half, axis)"),
    (19, "y = Pad <mode = \"wrap\"> (x, pads)"),
    (7, "a, b = Split <axis = 2> (x) y = Concat <axis = -1> (a, b)"),
    (7, "a, b = Split <axis = 1, split = [1, 2]> (x) y = Concat <axis = 1> (b, a)"),
    (13, "a, b = Split <axis = 1> (x, onetwo) y = Concat <axis = 1> (b, a)"),
    (18, "a, b, c = Split <axis = 3, num_outputs = 3> (x) y = Concat <axis = 3> (c, b, a)"),
    (7, "a = Unsqueeze <axes = [0, 5]> (x) y = Squeeze <axes = [5]> (a)"),
    (7, "y = Squeeze (x)"),
    (13, "a = Unsqueeze (x, onetwo) y = Squeeze (a, onetwo)"),
    (7, "y = ReduceMean <axes = [2, 3], keepdims = 0> (x)"),
    (7, "y = ReduceMax (x)"),
    (11, "y = ReduceSum <axes = [-1]> (x)"),
    (13, "y = ReduceSum (x, onetwo)"),
    (13, "y = ReduceSum <noop_with_empty_axes = 1> (x)"),
    (18, "y = ReduceMin <keepdims = 0> (x, onetwo)"),
    (7, "y = ReduceProd <axes = [2, 3]> (x)"),
    (7, "y = ReduceL1 <axes = [1]> (x)"),
    (11, "y = ReduceL2 <axes = [1, 3], keepdims = 0> (x)"),
    (13, "y = ReduceSumSquare <axes = [-1]> (x)"),
    (13, "y = ReduceLogSumExp <axes = [2], keepdims = 0> (x)"),
    (18, "y = ReduceLogSumExp (x, onetwo)"),
    (13, "a = Abs (x) y = ReduceLogSum <axes = [2]> (a)"),
    (7, "y = LpNormalization <axis = 1> (x)"),
    (7, "y = LpNormalization <axis = 2, p = 1> (x)"),
    (7, "y = GlobalLpPool (x)"),
    (7, "y = GlobalLpPool <p = 1> (x)"),
    (7, "y = Selu <alpha = 1.5, gamma = 0.5> (x)"),
    (12, "y = Celu <alpha = 0.3> (x)"),
    (9, "y = Shrink <lambd = 0.25, bias = 0.1> (x)"),
    (10, "y = ThresholdedRelu <alpha = -0.25> (x)"),
    (10, "y = Mod <fmod = 1> (x, half)"),
    (11, "y = Hardmax (x)"),
    (12, "y = Hardmax <axis = 2> (x)"),
    (13, "y = Hardmax <axis = 1> (x)"),
    (9, "y = MeanVarianceNormalization (x)"),
    (13, "y = MeanVarianceNormalization <axes = [1, 3]> (x)"),
    (18, "y = GroupNormalization <num_groups = 1> (x, group, group)"),
    (21, "y = GroupNormalization <num_groups = 3, epsilon = 0.1> (x, s, s)"),
    (21, "y = GroupNormalization <num_groups = 1> (x, s, s)"),
    (23, "y = RMSNormalization <axis = 2> (x, plane)"),
    (7, "y = Dropout (x)"),
    (12, "a, m = Dropout (x) y = Where (m, a, x)"),
    (7, "y = Flatten <axis = 0> (x)"),
    (7, "y = Flatten <axis = 4> (x)"),
    (11, "y = Flatten <axis = -1> (x)"),
    (7, "y = Reshape (x, zeros)"),
    (7, "y = Transpose (x)"),
    (7, "y = LRN <size = 3, alpha = 0.1, bias = 2.0> (x)"),
    (7, "y = PRelu (x, channel)"),
    (7, "y = MaxPool <kernel_shape = [3, 3]> (x)"),
    (10, "y = MaxPool <kernel_shape = [3, 2], strides = [2, 3], dilations = [2, 1], ceil_mode = 1> (x)"),
    (7, "y = GlobalMaxPool (x)"),
    (7, "y = Sum (x, x, x)"),
    (8, "y = Mean (x, x)"),
    (7, "a = Cast <to = 6> (x) b = Mul (a, a) y = Cast <to = 1> (b)"),
    (12, "y = Pow (x, axis)"),
    (7, "a = Shape (x) b = Gather (a, zero) c = Add (b, zero) d = Concat <axis = 0> (c, minus) "
        "y = Reshape (x, d)"),
    (9, "a = Shape (x) b = ConstantOfShape <value = float[1] {2.5}> (a) y = Add (x, b)"),
    (11, "a = Range (z, eight, one) b = Cast <to = 1> (a) y = Add (x, b)"),
]  # fmt: skip

INITIALIZERS = """<
  float[3] s = {1.0, 2.0, 0.5}, float[4] up = {1.0, 1.0, 2.0, 1.5}, float[4] down = {1.0, 1.0, 0.5, 0.5},
  float[0] none = {},
  int64[4] sizes = {1, 3, 5, 12}, int64[2] two = {4, 12}, float half = {0.5}, int64[1] minus = {-1},
  int64[1] zero = {0},
  int64[1] smallest = {-9223372036854775808}, int64[1] axis = {2}, int64[1] step = {-2},
  int64[8] pads = {0, 0, 1, 2, 0, 0, 3, 0}, int64[2] three = {3, 1}, int64[2] onetwo = {1, 2},
  int64[3] zeros = {0, -1, 4},
  float[1] group = {0.75}, float[8] plane = {1.0, 2.0, 0.5, 0.25, 3.0, 1.0, 1.0, 1.0},
  float[3,1,1] channel = {0.1, 0.2, 0.3}, int64 z = {0}, int64 eight = {8}, int64 one = {1}
>"""


def _without_unused(proto: onnx.ModelProto) -> onnx.ModelProto:
    """ONNX Runtime warns of initializers that no node uses."""
    used = {name for node in proto.graph.node for name in node.input}
    kept = [t for t in proto.graph.initializer if t.name in used]
    del proto.graph.initializer[:]
    proto.graph.initializer.extend(kept)
    return proto


@pytest.mark.parametrize(("opset", "nodes"), OLD_FORMS, ids=[f"{o}-{n}" for o, n in OLD_FORMS])
def test_forms_of_every_opset(opset: int, nodes: str) -> None:
    proto = _without_unused(model(f"{INITIALIZERS} {{ {nodes} }}", opset))
    graph = read_model(proto)
    verify(graph, READ)
    assert_as_onnxruntime(proto, graph)


WINDOWS = [
    "Conv <auto_pad = \"{pad}\", strides = [2, 3]> (x, w)",
    "Conv <auto_pad = \"{pad}\", strides = [1, 2], kernel_shape = [3, 2]> (x, w)",
    "MaxPool <auto_pad = \"{pad}\", kernel_shape = [3, 2], strides = [2, 2]> (x)",
    "AveragePool <auto_pad = \"{pad}\", kernel_shape = [2, 4], strides = [3, 2]> (x)",
    "AveragePool <auto_pad = \"{pad}\", kernel_shape = [2, 4], count_include_pad = 1> (x)",
    "ConvTranspose <auto_pad = \"{pad}\", strides = [2, 1]> (x, t)",
]  # fmt: skip


@pytest.mark.parametrize("pad", ["SAME_UPPER", "SAME_LOWER", "VALID", "NOTSET"])
@pytest.mark.parametrize("node", WINDOWS)
def test_auto_pad(node: str, pad: str) -> None:
    weights = ", ".join(str(i / 7 - 1) for i in range(36))
    head = f"<float[2,3,3,2] w = {{{weights}}}, float[3,2,3,2] t = {{{weights}}}>"
    proto = _without_unused(model(f"{head} {{ y = {node.format(pad=pad)} }}", 12))
    assert_as_onnxruntime(proto, read_model(proto))


def test_group_dilation_and_asymmetric_padding() -> None:
    weights = ", ".join(str(i / 9 - 1) for i in range(24))
    attributes = "group = 2, dilations = [2, 1], pads = [1, 0, 2, 3], strides = [1, 2]"
    head = f"<float[4,2,3,1] w = {{{weights}}}, float[4] b = {{1.0, 2.0, 3.0, 4.0}}>"
    proto = model(f"{head} {{ y = Conv <{attributes}> (x, w, b) }}", 11, "float[2,4,7,5] x")
    graph = read_model(proto)
    conv = graph.operators[-1]
    assert [conv["groups"], conv["dilations"], conv["pads"]] == [2, (2, 1), (1, 0, 2, 3)]
    assert_as_onnxruntime(proto, graph)


def test_a_bias_becomes_an_epilogue() -> None:
    head = "<float[2,3,1,1] w = {1.0, 2.0, 3.0, 4.0, 5.0, 6.0}, float[2] b = {1.0, 2.0}>"
    conv = read_model(model(f"{head} {{ y = Conv (x, w, b) }}")).operators[-1]
    assert [step.op for step in conv["epilogue"]] == ["add"]
    assert conv.operands[2].type.shape == (1, 2, 1, 1)


def test_gemm_folds_transposes_and_factors_into_constants() -> None:
    head = "<float[2,4] w = {1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0}, float[2] c = {1.0, 2.0}>"
    nodes = "{ y = Gemm <transB = 1, alpha = 0.5, beta = 2.0> (x, w, c) }"
    proto = model(f"{head} {nodes}", head="float[3,4] x")
    graph = read_model(proto)
    assert operators(graph) == ["nn.matmul"]
    assert_as_onnxruntime(proto, graph)


def test_shape_arithmetic_disappears() -> None:
    nodes = (
        "s = Shape (x) n = Gather (s, i) u = Unsqueeze (n, z) r = Concat <axis = 0> (u, m) y = Reshape (x, r)"
    )
    proto = model(f"<int64 i = {{0}}, int64[1] z = {{0}}, int64[1] m = {{-1}}> {{ {nodes} }}")
    graph = read_model(proto)
    assert operators(graph) == ["nn.reshape"]
    assert graph.outputs[0].type.shape == (1, 192)


def test_identity_and_dropout_vanish_and_names_stay() -> None:
    graph = read_model(model("[first] a = Identity (x) b = Dropout (a) [act] c = Relu (b) y = Identity (c)"))
    assert operators(graph) == ["nn.relu"]
    relu = graph.operators[0]
    assert (relu.loc, relu.result.name, graph.output_names) == ("act", "c", ["y"])


def test_a_node_without_a_name_is_found_by_its_place() -> None:
    assert read_model(model("a = Abs (x) y = Relu (a)")).operators[1].loc == "Relu#1"


def test_an_initializer_becomes_one_constant_even_if_it_is_an_input() -> None:
    proto = model("<float[1] w = {2.0}> { a = Add (x, w) y = Mul (a, w) }", head="float[1] x, float[1] w")
    graph = read_model(proto)
    assert [v.name for v in graph.inputs] == ["x"]
    assert [op.result.name for op in graph.operators if op.name == "nn.constant"] == ["w"]


def test_outputs_may_be_inputs_and_initializers() -> None:
    text = '<ir_version: 8, opset_import: ["": 17]> g (float[2] x) => (x, w) <float[2] w = {1.0, 2.0}> {}'
    outputs = run(read_model(onnx.parser.parse_model(text)), {"x": np.ones(2, np.float32)})
    assert [outputs["x"].tolist(), outputs["w"].tolist()] == [[1, 1], [1, 2]]


def test_symbolic_dimensions_are_settled_for_every_input() -> None:
    proto = model("y = Add (x, z)", head="float[N,3] x, float[N,1] z")
    graph = read_model(proto, {"x": (5, 3)})
    assert [v.type.shape for v in graph.inputs] == [(5, 3), (5, 1)]


def test_inputs_known_beforehand_become_constants() -> None:
    proto = model("y = Reshape (x, s)", head="float[2,3] x, int64[1] s")
    graph = read_model(proto, constants={"s": np.array([6])})
    assert [v.name for v in graph.inputs] == ["x"]
    assert graph.outputs[0].type.shape == (6,)


def test_element_types_are_kept() -> None:
    graph = read_model(model("y = Add (x, x)", head="float16[2] x"))
    assert graph.outputs[0].type.dtype == DType.F16
    graph = read_model(model("y = Add (x, x)", head="double[2] x"))
    assert graph.outputs[0].type.dtype == DType.F64


@pytest.mark.parametrize("field", ["float_data", "raw_data"])
def test_both_places_of_elements(field: str) -> None:
    proto = model("<float[2] w = {1.0, 2.0}> { y = Mul (x, w) }", head="float[2] x")
    tensor = proto.graph.initializer[0]
    tensor.CopyFrom(onnx.numpy_helper.from_array(np.array([1, 2], np.float32), "w"))
    if field == "float_data":
        tensor.ClearField("raw_data")
        tensor.float_data.extend([1.0, 2.0])
    assert run(read_model(proto), {"x": np.ones(2, np.float32)})["y"].tolist() == [1, 2]


def test_the_reader_takes_paths_and_bytes(tmp_path: Path) -> None:
    proto = model("y = Relu (x)")
    onnx.save(proto, tmp_path / "m.onnx")
    assert (
        operators(read_model(tmp_path / "m.onnx"))
        == operators(read_model(proto.SerializeToString()))
        == ["nn.relu"]
    )


def test_an_empty_batch_is_computed() -> None:
    weights = ", ".join(["0.5"] * 54)
    proto = model(f"<float[2,3,3,3] w = {{{weights}}}> {{ y = Conv (x, w) }}", head="float[0,3,8,8] x")
    assert run(read_model(proto), {"x": np.zeros((0, 3, 8, 8), np.float32)})["y"].shape == (0, 2, 6, 6)
