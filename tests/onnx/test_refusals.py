"""Models that are refused: one ModelError each, which names the node and what is wrong with it."""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from onnx import TensorProto

from secateur.ir.errors import ModelError, ModelNote, SecateurError
from secateur.ir.interpreter import run
from secateur.ir.onnx_reader import NEWEST_OPSET, read_model
from secateur.ir.onnx_writer import to_onnx
from tests.onnx.models import model, with_initializer


def _filled(count: int) -> str:
    return ", ".join(["0.5"] * count)


INITIALIZERS = f"""<
  float[2,3,3,3] w = {{{_filled(54)}}}, float[2] b = {{1.0, 2.0}}, float[2,3] m = {{{_filled(6)}}},
  int64[1] i = {{9}}, int64[2] ii = {{-1, -1}}, int64 zero = {{0}}, int64 one = {{1}},
  int64 far = {{9000000000000000000}},
  int64[2] huge = {{4000000000, 4000000000}}, int64[4] grow = {{4000, 4000, 4000, 4000}},
  int64[8] pads = {{0, 0, 0, 0, 0, 0, 0, 2000000000}}, int8[1] eights = {{1}}, uint8[1] u = {{1}},
  bool yes = {{1}}, float[4] scales = {{1.0, 1.0, 100000.0, 100000.0}}, float[4] few = {{1.0, 1.0, 0.0, 1.0}},
  float[1] f = {{1.5}}, float[1,1] square = {{1.0}}, float[1] negative = {{-1.0}}
>"""

REFUSED = [
    ("y = Conv (x)", "input 1 is missing"),
    ("k = Cast <to = 7> (x) y = ArgMin (k)", "ArgMin (of i64, only of values known while reading"),
    ("y = Conv (x, m)", "kernel () does not fit input"),
    ("y = Conv <group = 2> (x, w)", "3 channels and weights tensor<2x3x3x3xf32> do not fit 2 groups"),
    ("y = Conv <group = 0> (x, w)", "do not fit 0 groups"),
    ("y = Conv <strides = [1]> (x, w)", "is (1,), input 1x3x8x8 needs 2 positive numbers"),
    ("y = Conv <strides = [0, 1]> (x, w)", "attribute 'strides' is (0, 1)"),
    ("y = Conv <dilations = [9, 1]> (x, w)", "a window of 3 (dilation 9) does not fit an extent of 8"),
    ("y = Conv <pads = [1, 1]> (x, w)", "do not fit a 2-dimensional window"),
    ("y = Conv <pads = [-1, 0, 0, 0]> (x, w)", "pads [-1, 0, 0, 0] are negative"),
    ("y = Conv <kernel_shape = [5, 5]> (x, w)", "is (5, 5), the weights are 2x3x3x3"),
    ("y = Conv <auto_pad = \"SAME\"> (x, w)", "attribute 'auto_pad' is 'SAME', known: NOTSET"),
    ("y = Conv <strides = 2> (x, w)", "attribute 'strides' is not of kind ints"),
    ("y = Conv (x, w, m)", "bias of shape 2x3 is not one-dimensional"),
    ("y = ConvTranspose (x, w)", "3 channels and weights tensor<2x3x3x3xf32> do not fit"),
    ("y = MaxPool (x)", "attribute 'kernel_shape' is missing"),
    ("y = MaxPool <kernel_shape = [9, 1]> (x)", "a window of 9 (dilation 1) does not fit an extent of 8"),
    ("y = MaxPool <kernel_shape = [9999, 9999], pads = [9999, 9999, 9999, 9999]> (x)",
     "more than 1048576 taps"),
    ("y = AveragePool <kernel_shape = [2]> (x)", "kernel (2,) does not fit input 1x3x8x8"),
    ("y, m, v = BatchNormalization (x, b, b, b, b)", "statistics as outputs are not supported"),
    ("y = BatchNormalization (x, b, b, b, b)", "a parameter of type tensor<2xf32> does not fit 3 channels"),
    ("y = Dropout (x, f, yes)", "training mode is not supported"),
    ("y = Gemm (x, m)", "are not matrices"),
    ("y = MatMul (x, m)", "inner extents of tensor<1x3x8x8xf32> and tensor<2x3xf32> differ"),
    ("y = Add (x, i)", "operands have different element types: f32, i64"),
    ("y = Add (x, m)", "do not broadcast"),
    ("y = Not (x)", "operands must be bool"),
    ("y = Sqrt (i)", "sqrt is not defined on i64"),
    ("y = Softmax <axis = 4> (x)", "axis 4 is outside a tensor of rank 4"),
    ("y = Reshape (x, i)", "tensor<1x3x8x8xf32> cannot become [9]"),
    ("y = Reshape (x, ii)", "leaves more than one extent open"),
    ("y = Reshape (x, f)", "shape (input 1) must be a list of integers"),
    ("y = Reshape (x, x)", "shape (input 1) must be a constant or computed from constants and shapes"),
    ("y = Squeeze (x, i)", "axis 9 is outside a tensor of rank 4"),
    ("y = Squeeze (x, one)", "axes [1] of 1x3x8x8 are not all of extent 1"),
    ("y = Unsqueeze (x)", "axes are missing"),
    ("y = Transpose <perm = [0, 1, 2, 2]> (x)", "is no permutation of 4 axes"),
    ("y = Concat (x)", "attribute 'axis' is missing"),
    ("y = Concat <axis = 0> (x, m)", "differ outside axis 0"),
    ("a, b = Split <axis = 1> (x, ii) y = Abs (a)", "do not add up to 3"),
    ("a, b = Split <axis = 1> (x, i) y = Abs (a)", "do not add up to 3"),
    ("y = Slice (x, i)", "input 2 is missing"),
    ("y = Slice (x, i, i, ii)", "differ in length"),
    ("y = Slice (x, i, i, i, zero)", "axis 9 is outside"),
    ("y = Slice (x, zero, i, zero, zero)", "a step is 0"),
    ("y = Gather (x, i)", "an index is outside axis 0 of extent 1"),
    ("y = Pad (x, i)", "pads (9,) do not fit 4 axes"),
    ("y = Pad <mode = \"mirror\"> (x, pads)", "attribute 'mode' is 'mirror'"),
    ("y = Pad (x, pads)", "bytes, the limit is 4294967296"),
    ("y = Expand (x, huge)", "do not broadcast"),
    ("y = Expand (f, grow)", "bytes, the limit is 4294967296"),
    ("y = Tile (x, grow)", "bytes, the limit is 4294967296"),
    ("y = ConstantOfShape (huge)", "bytes, the limit is 4294967296"),
    ("y = ConstantOfShape (ii)", "without negative extents"),
    ("y = Range (zero, far, one)", "the limit is 16777216"),
    ("y = Range (zero, far, zero)", "does not end"),
    ("y = Resize (x, , scales)", "bytes, the limit is 4294967296"),
    ("y = Resize (x, , few)", "do not fit shape 1x3x8x8"),
    ("y = Resize (x)", "either scales or sizes are needed"),
    ("y = Resize (x, , , ii)", "2 scales or sizes for 4 axes"),
    ("y = DepthToSpace <blocksize = 2> (x)", "tensor<1x3x8x8xf32> cannot be spread over blocks of 2"),
    ("y = SpaceToDepth <blocksize = 0> (x)", "has no blocks of 0"),
    ("y = Cast <to = 8> (x)", "element type STRING is not supported"),
    ("y = Cast <to = 99> (x)", "element type number 99 is not supported"),
    ("y = QuantizeLinear (x, x)", "scales of shape 1x3x8x8 do not fit axis 1 of 1x3x8x8"),
    ("y = QuantizeLinear (x, negative)", "scales must be finite and positive"),
    ("y = QuantizeLinear (x, f, i)", "quantization to i64 is not supported"),
    ("y = QuantizeLinear <axis = 1> (x, b)", "2 scales along axis 1 do not fit shape 1x3x8x8"),
    ("y = DequantizeLinear (x, f)", "quantized f32 is not supported"),
    ("y = DequantizeLinear (eights, square)", "must be scalars or lists of one length"),
    ("y = Constant <value_string = \"a\"> ()", "only dense numeric values are supported"),
    ("y = Relu (nowhere)", "'nowhere' is used before it is defined"),
    ("y = Relu (z) z = Abs (y)", "'z' is used before it is defined"),
    ("y = Relu (y)", "'y' is used before it is defined"),
    ("y = Relu (x) y = Abs (x)", "'y' is defined twice"),
    ("b = Relu (x) y = Abs (b)", "'b' is defined twice"),
    ("y, z = Relu (x)", "gives at most 1 output, the node has 2"),
    ("y = Relu (x, x)", "takes at most 1 input, the node has 2"),
    ("y = Add (x, x, x)", "takes at most 2 inputs, the node has 3"),
    ("y = Relu <alpha = 1.0> (x)", "has no attribute 'alpha' as of opset 14; known: none"),
    ("y = Clip <max = 1.0> (x)", "has no attribute 'max' as of opset 13; known: none"),
    ("y = Mish (x)", "exists since opset 18, the model declares opset 17"),
    ("y = Swish (x)", "exists since opset 24, the model declares opset 17"),
    ("y = DequantizeLinear (eights, f, u)", "operands have different element types: i8, u8 (inputs 0 and 2)"),
    ("y = QuantizeLinear (i, f, eights)", "input 0 (x) is i64, which QuantizeLinear does not take"),
    ("y = QLinearMatMul (eights, f, u, eights, f, eights, f, u)", "element types: i8, u8 (inputs 0 and 2)"),
    ("y = MatMulInteger (eights, eights, u)", "different element types: i8, u8 (inputs 0 and 2)"),
    ("y = Concat <axis = 0> (i, eights)", "different element types: i64, i8"),
    ("y = Where (x, x, x)", "the condition is f32, not bool"),
    ("a = Relu (x)", "output 'y' is not computed by any node"),
]  # fmt: skip


@pytest.mark.parametrize(("nodes", "message"), REFUSED, ids=[n for n, _ in REFUSED])
def test_refused(nodes: str, message: str) -> None:
    with pytest.raises(ModelError) as caught:
        read_model(model(f"{INITIALIZERS} {{ {nodes} }}"))
    assert message in str(caught.value)


def test_the_error_names_the_node() -> None:
    with pytest.raises(ModelError, match=r"^Softmax node 'top': axis 7 is outside a tensor of rank 4$"):
        read_model(model("[top] y = Softmax <axis = 7> (x)"))


def test_one_error_lists_every_operator_outside_the_set() -> None:
    nodes = (
        "[first] a = MaxRoiPool (x, x) [second] b = Relu (a) [third] c = MaxRoiPool (b, x) "
        'y = "com.example.Magic" (c)'
    )
    with pytest.raises(ModelError) as caught:
        read_model(model(nodes.replace('"com.example.Magic"', "com.example.Magic")))
    assert str(caught.value).splitlines() == [
        "operators that are not supported:",
        "  MaxRoiPool: first, third",
        "  com.example::Magic: Magic#3",
    ]


def test_a_file_optimized_for_one_processor_is_told_as_that() -> None:
    with pytest.raises(ModelError, match=r"nchwc::Conv: .*\nONNX Runtime optimized this file for"):
        read_model(model("y = com.microsoft.nchwc.Conv (x, x)"))


def test_control_flow_on_data_is_outside_the_set() -> None:
    branch = "g () => (float[1,3,8,8] z) { z = Abs (x) }"
    branches = f"<then_branch = {branch}, else_branch = {branch}>"
    nodes = f"c = ReduceMax <keepdims = 0> (x) b = Cast <to = 9> (c) [branch] y = If (b) {branches}"
    with pytest.raises(ModelError, match=r"  If \(its condition is not known while reading\): branch\n"):
        read_model(model(nodes))


def test_what_no_output_needs_is_not_refused() -> None:
    assert len(read_model(model("a = MaxRoiPool (x, x) b = Relu (a) y = Relu (x)")).operators) == 1


@pytest.mark.parametrize("opset", [6, NEWEST_OPSET + 1])
def test_opsets_outside_the_range(opset: int) -> None:
    with pytest.raises(ModelError, match=f"opset {opset} is not supported; known: 7 to {NEWEST_OPSET}"):
        read_model(model("y = Relu (x)", opset))


def test_a_model_without_opset() -> None:
    proto = model("y = Relu (x)")
    del proto.opset_import[:]
    with pytest.raises(ModelError, match="does not say which ONNX opset"):
        read_model(proto)


def test_symbolic_dimensions_name_the_option() -> None:
    with pytest.raises(ModelError) as caught:
        read_model(model("y = Relu (x)", head="float[N,3,H,224] x"))
    said = "shape not known of input 'x' (Nx3xHx224); settle it with --shape x=1x3xHx224"
    assert str(caught.value) == f"{said}, for example --shape x=1x3x224x224"


GIVEN = [
    ({"z": (1,)}, "the model has no input z; inputs: x"),
    ({"x": (1, 4, 8)}, "input 'x' has shape Nx3x8; 1x4x8 does not fit"),
    ({"x": (1, 3)}, "input 'x' has shape Nx3x8; 1x3 does not fit"),
    ({"x": (-1, 3, 8)}, "is not an integer from 0 to"),
    ({"x": (10**9, 3, 8)}, "bytes, the limit is"),
]


@pytest.mark.parametrize(("shapes", "message"), GIVEN)
def test_shapes_that_do_not_fit(shapes: dict[str, tuple[int, ...]], message: str) -> None:
    with pytest.raises(ModelError) as caught:
        read_model(model("y = Relu (x)", head="float[N,3,8] x"), shapes)
    assert message in str(caught.value)


def test_one_symbol_with_two_extents() -> None:
    proto = model("y = Add (x, z)", head="float[N] x, float[N] z")
    with pytest.raises(ModelError, match="dimension 'N' is given as 2 and as 3"):
        read_model(proto, {"x": (2,), "z": (3,)})


def test_a_constant_of_another_type() -> None:
    with pytest.raises(ModelError, match="input 'x' is f32, the constant given is int64"):
        read_model(model("y = Relu (x)"), constants={"x": np.zeros((1, 3, 8, 8), np.int64)})


TENSORS: list[tuple[TensorProto, str]] = [
    (TensorProto(data_type=1, dims=[2], raw_data=b"\0" * 7), "holds 7 bytes, shape 2 of f32 needs 8"),
    (TensorProto(data_type=1, dims=[2]), "tensor 'w'"),
    (TensorProto(data_type=1, dims=[3], float_data=[1.0, 2.0]), "tensor 'w'"),
    (TensorProto(data_type=1, dims=[-2], raw_data=b""), "dimension that is not an integer from 0"),
    (TensorProto(data_type=1, dims=[1 << 40], raw_data=b""), "dimension that is not an integer from 0"),
    (TensorProto(data_type=1, dims=[1 << 20, 1 << 20], raw_data=b""), "the limit is 4294967296"),
    (TensorProto(data_type=1, dims=[1] * 17, raw_data=b"\0" * 4), "17 dimensions, the limit is 16"),
    (TensorProto(data_type=0, dims=[2], raw_data=b"\0" * 8), "element type UNDEFINED is not supported"),
    (TensorProto(data_type=1, dims=[2], raw_data=b"\0" * 8, float_data=[1.0, 2.0]),
     "has its elements twice, as float_data and as raw_data"),
    (TensorProto(data_type=1, dims=[2], int64_data=[1, 2], float_data=[1.0, 2.0]),
     "has its elements twice, as float_data and as int64_data"),
    (TensorProto(data_type=1, dims=[2], raw_data=b"\0" * 8, data_location=TensorProto.EXTERNAL),
     "has its elements twice, as external data and as raw_data"),
    (TensorProto(data_type=1, dims=[2], int64_data=[1, 2]), "tensor 'w'"),
    (TensorProto(data_type=3, dims=[2], int32_data=[1, 300]), "holds 300, which is no i8"),
    (TensorProto(data_type=2, dims=[2], int32_data=[1, -1]), "holds -1, which is no u8"),
    (TensorProto(data_type=1, dims=[2], segment=TensorProto.Segment(end=1)), "is a segment of a tensor"),
    (TensorProto(data_type=77, dims=[2], raw_data=b"\0" * 8), "element type number 77 is not supported"),
]  # fmt: skip


@pytest.mark.parametrize(("tensor", "message"), TENSORS, ids=[m for _, m in TENSORS])
def test_damaged_tensors(tensor: TensorProto, message: str) -> None:
    with pytest.raises(ModelError) as caught:
        read_model(with_initializer(tensor))
    assert message in str(caught.value)


def test_empty_fields_beside_the_elements_are_no_second_place() -> None:
    tensor = TensorProto(data_type=1, dims=[2], raw_data=b"", float_data=[1.0, 2.0])
    assert read_model(with_initializer(tensor)).operators[0]["value"].tolist() == [1, 2]


def test_any_byte_but_zero_is_true() -> None:
    proto = model("<bool[3] w = {0, 1, 1}> { y = Not (w) }", head="float[2] x")
    proto.graph.initializer[0].CopyFrom(TensorProto(name="w", data_type=9, dims=[3], raw_data=b"\0\1\x80"))
    found = run(read_model(proto), {"x": np.zeros(2, np.float32)})["y"]
    assert found.view(np.uint8).tolist() == [1, 0, 0]


def test_many_large_tensors_together() -> None:
    chain = " ".join(f"v{i + 1} = Abs (v{i})" for i in range(40))
    nodes = f"<int64[1] n = {{1000000000}}> {{ v0 = Expand (x, n) {chain} y = Relu (v40) }}"
    with pytest.raises(ModelError, match="the model's tensors take more than 137438953472 bytes together"):
        read_model(model(nodes, head="float[1] x"))


def test_a_name_that_is_not_text() -> None:
    data = model("y = Relu (x)").SerializeToString().replace(b"Relu", b"Re\xfflu"[:4])
    with pytest.raises(ModelError, match="is not UTF-8"):
        read_model(data)


def test_an_input_that_is_not_a_tensor() -> None:
    proto = model("y = Relu (x)")
    proto.graph.input[0].type.Clear()
    with pytest.raises(ModelError, match=r"shape not known of input 'x'"):
        read_model(proto)


def test_files_that_are_no_models(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"none\.onnx: cannot be read: No such file or directory"):
        read_model(tmp_path / "none.onnx")
    with pytest.raises(ModelError, match="cannot be read: Is a directory"):
        read_model(tmp_path)
    (tmp_path / "text.onnx").write_text("this is no model")
    with pytest.raises(ModelError, match=r"text\.onnx: not an ONNX model"):
        read_model(tmp_path / "text.onnx")
    with pytest.raises(ModelError, match="does not say which ONNX opset"):
        read_model(b"")


def test_a_file_too_large_for_a_protocol_buffer(tmp_path: Path) -> None:
    with (tmp_path / "large.onnx").open("wb") as file:
        file.truncate(1 << 31)
    with pytest.raises(ModelError, match=r"larger than 2 GiB; such a model keeps its weights in"):
        read_model(tmp_path / "large.onnx")


SEED = model(
    "<float[2,3,3,3] w = {" + _filled(54) + "}, float[2] b = {1.0, 2.0}, int64[2] s = {1, -1}> "
    "{ c = Conv <pads = [1, 1, 1, 1]> (x, w, b) r = Relu (c) "
    "p = MaxPool <kernel_shape = [2, 2]> (r) y = Reshape (p, s) }"
).SerializeToString()


@settings(max_examples=300, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(st.tuples(st.integers(0, len(SEED) - 1), st.integers(0, 255)), min_size=1, max_size=4))
def test_a_damaged_model_is_read_or_refused(changes: list[tuple[int, int]]) -> None:
    data = bytearray(SEED)
    for at, byte in changes:
        data[at] = byte
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ModelNote)  # of a batch that the damage made free
            graph = read_model(bytes(data))
    except SecateurError:
        return
    to_onnx(graph)
    if sum(v.type.bytes for v in graph.values()) < 1 << 20:
        run(graph, {v.name: np.zeros(v.type.shape, v.type.dtype.numpy) for v in graph.inputs})


@pytest.mark.parametrize(
    ("node", "ends"),
    [
        ("y = NonMaxSuppression (boxes, scores, most)", "'boxes', 'scores'"),
        ("y = NonZero (scores)", "'scores'"),
    ],
)
def test_an_operator_whose_count_depends_on_data_says_where_to_cut(node: str, ends: str) -> None:
    head = "<int64 most = {5}, int64[3] shape = {1, 24, 8}, int64[3] four = {1, 48, 4}>"
    made = "scores = Reshape (x, shape) boxes = Reshape (x, four)"
    with pytest.raises(ModelError) as caught:
        read_model(model(f"{head} {{ {made} [last] {node} }}"))
    why, where = str(caught.value).splitlines()[1:]
    assert why.endswith(": last")
    assert where.startswith(f"What cannot be read begins behind {ends}: end the network there, with onnx.")


def test_where_to_cut_is_said_once_and_is_all_that_the_rest_reads() -> None:
    """Also what a branch reads; not what is known, given, or read by nobody who counts."""
    body = """<int64[1] one = {1}, int64[1] c = {0}> {
      a = Abs (x) b = Neg (x) k = NonZero (a) g = Transpose <perm = [1, 0]> (k) d = GatherND (b, g)
      e = ReduceSum <keepdims = 0> (b) f = Size (d) t = Greater (f, c)
      h = If (t) <then_branch = t () => (p) { p = Exp (e) }, else_branch = n () => (q) { q = Abs (e) }>
      unused = NonZero (e) y = Add (h, d) }"""
    with pytest.raises(ModelError, match=r"behind 'a', 'b', 'e': end") as caught:
        read_model(model(body))
    assert str(caught.value).count("end the network") == 1
