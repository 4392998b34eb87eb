"""Quantized models of several tools: read, made integer, and within one step of the answer of others.

The others are ONNX Runtime, where its sums are exact on every processor, and ONNX's reference
evaluator. Without VNNI, ONNX Runtime adds two products of an unsigned and a signed byte in 16 bits
that saturate: so it is asked about weights of 7 bits only, of which no two products reach so far.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from onnx import TensorProto, helper, numpy_helper
from onnx.reference import ReferenceEvaluator
from onnx.reference.op_run import OpRun
from onnxruntime import quantization as ortq
from onnxruntime.quantization.shape_inference import quant_pre_process

from secateur.ir.errors import ModelError
from secateur.ir.graph import Graph, Value, constant_of
from secateur.ir.interpreter import run
from secateur.ir.onnx_reader import read_model
from secateur.passes.canonicalize.canonicalize import Canonicalize
from secateur.passes.fuse.fuse import Fuse
from tests.onnx.models import Array, operators

DIGITS = Path(__file__).parents[2] / "examples/digits/resnet20.onnx"
TYPES = {"u8": ortq.QuantType.QUInt8, "i8": ortq.QuantType.QInt8}
FORMATS = {"qdq": ortq.QuantFormat.QDQ, "qoperator": ortq.QuantFormat.QOperator}


def model(body: str, head: str, initializers: dict[str, Array]) -> onnx.ModelProto:
    """A model of ONNX's and ONNX Runtime's operators, from `head` to `y`."""
    opsets = '["": 17, "com.microsoft": 1]'
    found = onnx.parser.parse_model(
        f"<ir_version: 8, opset_import: {opsets}> main ({head}) => (y) {{ {body} }}"
    )
    found.graph.initializer.extend(numpy_helper.from_array(a, n) for n, a in initializers.items())
    return found


def session(proto: onnx.ModelProto) -> ort.InferenceSession:
    """ONNX Runtime as it is written: no rewriting, in which it rounds otherwise."""
    options = ort.SessionOptions()
    options.log_severity_level = 4
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    return ort.InferenceSession(proto.SerializeToString(), options, providers=["CPUExecutionProvider"])


def integer(proto: onnx.ModelProto) -> Graph:
    return Fuse().run(Canonicalize().run(read_model(proto)))


class QGemm(OpRun):
    """ONNX Runtime's operator of that name, in exact integers, for ONNX's reference evaluator."""

    op_domain = "com.microsoft"

    def _run(self, a: Array, a_scale: Array, a_zero: Array, b: Array, b_scale: Array, b_zero: Array, c: Array,
             y_scale: Array, y_zero: Array, transB: int, alpha: float, **_: Any) -> tuple[Array]:  # fmt: skip
        weights = np.subtract(b, b_zero, dtype=np.int64)
        sums = np.subtract(a, a_zero, dtype=np.int64) @ (weights.T if transB else weights) + c
        steps = np.rint(sums * (alpha * float(a_scale) * float(b_scale) / float(y_scale))) + y_zero
        limits = np.iinfo(y_zero.dtype)
        return (steps.clip(limits.min, limits.max).astype(y_zero.dtype),)


def exactly(proto: onnx.ModelProto, inputs: dict[str, Array]) -> Array:
    """The answer of ONNX's reference evaluator, whose sums of products are whole numbers."""
    answers: Any = ReferenceEvaluator(proto, new_ops=[QGemm]).run(None, inputs)
    return np.asarray(answers[0])


def by_onnxruntime(proto: onnx.ModelProto, inputs: dict[str, Array]) -> Array:
    return np.asarray(session(proto).run(None, inputs)[0])


def apart(
    proto: onnx.ModelProto,
    inputs: dict[str, Array],
    peer: Callable[[onnx.ModelProto, dict[str, Array]], Array] = by_onnxruntime,
) -> tuple[float, Array]:
    """How far the integer graph's answer is from the peer's, and that answer."""
    wanted = peer(proto, inputs)
    (got,) = run(integer(proto), inputs).values()
    assert got.dtype == wanted.dtype
    return float(np.abs(got.astype(np.float64) - wanted.astype(np.float64)).max()), wanted


def bytes_of(shape: tuple[int, ...], dtype: str, seed: int = 0) -> Array:
    return np.random.default_rng(seed).integers(0, 256, shape, np.uint8).view(dtype)


def scale(name: str, scale: float, zero: int, dtype: str) -> dict[str, Array]:
    """Scale and zero point called `name`s and `name`z."""
    return {f"{name}s": np.array(scale, np.float32), f"{name}z": np.array(zero, dtype)}


# Single operators ----------------------------------------------------------------------------------

U8 = {**scale("a", 0.02, 100, "uint8"), **scale("b", 0.03, 130, "uint8"), **scale("y", 0.05, 120, "uint8")}
I8 = {**scale("a", 0.02, -28, "int8"), **scale("b", 0.03, 2, "int8"), **scale("y", 0.05, -8, "int8")}
CONV_WEIGHTS = {
    "w": bytes_of((6, 2, 3, 3), "int8", 1), "ws": np.linspace(0.001, 0.01, 6).astype(np.float32),
    "wz": np.zeros(6, np.int8), "c": np.arange(-3000, 3000, 1000).astype(np.int32),
}  # fmt: skip
MATRIX = {**scale("w", 0.004, 0, "int8"), "w": bytes_of((30, 7), "int8", 2)}
UNSIGNED_MATRIX = {**scale("w", 0.004, 128, "uint8"), "w": bytes_of((7, 30), "uint8", 2)}

OPERATORS = {
    "QLinearConv": (
        "y = QLinearConv<pads=[1,1,0,0], strides=[2,2], group=2>(a, as, az, w, ws, wz, ys, yz, c)",
        (1, 4, 9, 9), CONV_WEIGHTS, ["q.linear_conv"],
    ),
    "QLinearConv without bias": (
        "y = QLinearConv<auto_pad=\"SAME_UPPER\", group=2>(a, as, az, w, ws, wz, ys, yz)",
        (1, 4, 9, 9), CONV_WEIGHTS, ["q.linear_conv"],
    ),
    "QLinearMatMul": (
        "y = QLinearMatMul(a, as, az, w, ws, wz, ys, yz)", (5, 30), MATRIX, ["q.linear_matmul"],
    ),
    "QGemm": (
        "y = com.microsoft.QGemm<transB=1, alpha=0.5>(a, as, az, w, ws, wz, c, ys, yz)", (5, 30),
        {**UNSIGNED_MATRIX, "c": np.arange(-3000, 4000, 1000).astype(np.int32)}, ["q.linear_matmul"],
    ),
    "QLinearAdd": (
        "y = com.microsoft.QLinearAdd(a, as, az, b, bs, bz, ys, yz)", (2, 3, 5, 5), {}, ["q.linear_add"],
    ),
    "QLinearMul": (
        "y = com.microsoft.QLinearMul(a, as, az, b, bs, bz, ys, yz)", (2, 3, 5, 5), {}, ["q.linear_mul"],
    ),
    "QLinearAveragePool": (
        "y = com.microsoft.QLinearAveragePool<kernel_shape=[3,3], pads=[1,1,1,1]>(a, as, az, ys, yz)",
        (1, 3, 5, 5), {}, ["q.linear_average_pool"],
    ),
    "QLinearAveragePool with padding counted": (
        "y = com.microsoft.QLinearAveragePool<kernel_shape=[3,3], pads=[1,1,1,1], count_include_pad=1>"
        "(a, as, az, ys, yz)", (1, 3, 5, 5), {}, ["q.linear_average_pool"],
    ),
    "QLinearGlobalAveragePool": (
        "y = com.microsoft.QLinearGlobalAveragePool(a, as, az, ys, yz)",
        (1, 20, 5, 5), {}, ["q.linear_average_pool"],
    ),
    "QLinearConcat": (
        "y = com.microsoft.QLinearConcat<axis=1>(ys, yz, a, as, az, b, bs, bz)", (1, 3, 5, 5), {},
        ["q.table", "q.table", "nn.concat"],
    ),
    "QLinearLeakyRelu": (
        "y = com.microsoft.QLinearLeakyRelu<alpha=0.2>(a, as, az, ys, yz)", (1, 3, 5, 5), {}, ["q.table"],
    ),
    "QLinearSigmoid": ("y = com.microsoft.QLinearSigmoid(a, as, az, ys, yz)", (1, 3, 5, 5), {}, ["q.table"]),
    "QDQ of ONNX Runtime's domain": (
        "r = com.microsoft.DequantizeLinear(a, as, az) s = Relu(r)"
        "y = com.microsoft.QuantizeLinear(s, ys, yz)",
        (1, 3, 5, 5), {}, ["q.table"],
    ),
}  # fmt: skip


PRODUCTS = [name for name, (_, _, constants, _) in OPERATORS.items() if "w" in constants]


def single(name: str, stored: str, bits: int = 8) -> tuple[onnx.ModelProto, dict[str, Array]]:
    """A model of one operator on tensors of `stored` with weights of `bits`, and inputs for it."""
    body, shape, constants, _ = OPERATORS[name]
    dtype = {"u8": "uint8", "i8": "int8"}[stored]
    if name == "QGemm" and stored == "i8":
        constants = {**constants, **scale("w", 0.004, 0, "int8"), "w": bytes_of((7, 30), "int8", 2)}
    if "w" in constants:
        zero = constants["wz"].flat[0]
        constants = {**constants, "w": (constants["w"] >> (8 - bits)) + (zero - (zero >> (8 - bits)))}
    inputs = {
        n: bytes_of(shape, dtype, i) for i, n in enumerate("ab") if f"({n}," in body or f" {n}," in body
    }
    head = ", ".join(f"{dtype}[{','.join(map(str, shape))}] {n}" for n in inputs)
    return model(body, head, {**constants, **(U8 if stored == "u8" else I8)}), inputs


@pytest.mark.parametrize("stored", ["u8", "i8"])
@pytest.mark.parametrize("name", OPERATORS)
def test_operator_is_within_one_step_of_onnxruntime(name: str, stored: str) -> None:
    proto, inputs = single(name, stored, 7)
    moved, answer = apart(proto, inputs)
    assert moved <= 1
    assert len(np.unique(answer)) > 5


@pytest.mark.parametrize("stored", ["u8", "i8"])
@pytest.mark.parametrize("name", OPERATORS)
def test_operator_is_made_integer(name: str, stored: str) -> None:
    wanted = OPERATORS[name][3]
    left = [n for n in operators(integer(single(name, stored)[0])) if n not in ("q.annotate", "nn.reshape")]
    assert left == wanted if stored == "u8" else set(wanted) <= set(left) <= {*wanted, "q.table"}


@pytest.mark.parametrize("stored", ["u8", "i8"])
@pytest.mark.parametrize("name", PRODUCTS)
def test_products_of_whole_bytes_are_exact(name: str, stored: str) -> None:
    proto, inputs = single(name, stored)
    moved, answer = apart(proto, inputs, exactly)
    assert moved <= 1
    assert len(np.unique(answer)) > 5


def test_sums_that_saturate_at_16_bits_would_be_seen() -> None:
    """What ONNX Runtime without VNNI makes of the bytes: far more than a step away."""
    _, inputs = single("QLinearMatMul", "u8")
    a, w = inputs["a"].astype(np.int64), MATRIX["w"].astype(np.int64)
    pairs = a[:, 0::2, None] * w[None, 0::2] + a[:, 1::2, None] * w[None, 1::2]
    lost = (pairs - pairs.clip(-(2**15), 2**15 - 1)).sum(axis=1)
    steps = np.abs(lost) * float(U8["as"] * MATRIX["ws"] / U8["ys"])
    assert steps.max() > 20


def test_matmul_integer_is_exact() -> None:
    constants = {
        "w": bytes_of((8, 7), "uint8"),
        "az": np.array(3, np.uint8),
        "wz": np.arange(7).astype(np.uint8),
    }
    proto = model("y = MatMulInteger(a, w, az, wz)", "uint8[5,8] a", constants)
    moved, answer = apart(proto, {"a": bytes_of((5, 8), "uint8", 1)}, exactly)
    assert moved == 0 < np.abs(answer).max()


# Whole networks ------------------------------------------------------------------------------------


def residual_network() -> onnx.ModelProto:
    """Convolutions, a residual, pools, a concat, hard activations and a dense layer on 8 x 8 images."""
    choose = np.random.default_rng(3)
    shapes = {"w1": (8, 3, 3, 3), "w2": (8, 8, 3, 3), "w3": (8, 1, 3, 3), "w4": (16, 8, 1, 1), "w5": (10, 24)}
    nodes = """
        c1 = Conv<pads=[1,1,1,1]>(x, w1, b8) r1 = Relu(c1)
        c2 = Conv<pads=[1,1,1,1]>(r1, w2, b8) s2 = Add(c2, r1) r2 = Relu(s2)
        m2 = MaxPool<kernel_shape=[2,2], strides=[2,2]>(r2)
        c3 = Conv<pads=[1,1,1,1], group=8>(m2, w3) r3 = LeakyRelu<alpha=0.1>(c3)
        c4 = Conv(r3, w4) g4 = Sigmoid(c4) s4 = Mul(c4, g4)
        k = Concat<axis=1>(s4, r3) p = GlobalAveragePool(k) f = Flatten(p) y = Gemm<transB=1>(f, w5, b10)"""
    found = onnx.parser.parse_model(
        f'<ir_version: 8, opset_import: ["": 17]> main (float[1,3,8,8] x) => (float[1,10] y) {{ {nodes} }}'
    )
    biases = {"b8": (8,), "b10": (10,)}
    for name, shape in {**shapes, **biases}.items():
        array = choose.standard_normal(shape).astype(np.float32) / np.sqrt(np.prod(shape[1:]))
        found.graph.initializer.append(numpy_helper.from_array(np.asarray(array, np.float32), name))
    return found


class Samples(ortq.CalibrationDataReader):  # type: ignore[misc]
    def __init__(self, name: str, shape: tuple[int, ...]) -> None:
        choose = np.random.default_rng(0)
        self.rest: Iterator[dict[str, Array]] = iter(
            [{name: choose.standard_normal(shape).astype(np.float32)} for _ in range(4)]
        )

    def get_next(self) -> dict[str, Array] | None:
        return next(self.rest, None)


def statically(
    proto: onnx.ModelProto, folder: Path, form: str, stored: str, per_channel: bool
) -> onnx.ModelProto:
    """`proto` quantized by ONNX Runtime's own tool; weights of 7 bits where its integer operators run."""
    onnx.save(proto, folder / "float.onnx")
    head = proto.graph.input[0]
    shape = tuple(max(1, d.dim_value) for d in head.type.tensor_type.shape.dim)
    ortq.quantize_static(
        folder / "float.onnx", folder / "quantized.onnx", Samples(head.name, shape),
        quant_format=FORMATS[form], activation_type=TYPES[stored], weight_type=TYPES["i8"],
        per_channel=per_channel, reduce_range=form == "qoperator",
    )  # fmt: skip
    return onnx.load(folder / "quantized.onnx")


def assert_close_and_integer(proto: onnx.ModelProto, steps: float, kept: tuple[str, ...] = ()) -> Graph:
    """Within `steps` 1/255 of the answer's range of ONNX Runtime; float between first and last alone."""
    (head,) = proto.graph.input
    shape = tuple(max(1, d.dim_value) for d in head.type.tensor_type.shape.dim)
    moved, answer = apart(
        proto, {head.name: np.random.default_rng(9).standard_normal(shape).astype(np.float32)}
    )
    assert moved <= steps * float(np.ptp(answer)) / 255
    graph = integer(proto)
    names = operators(graph)
    inner = [n for n in names[1:-1] if n in ("q.quantize", "q.dequantize") or n == "nn.map"]
    assert (names[0], inner) == ("q.quantize", list(kept))
    assert not any(n in ("nn.conv", "nn.matmul") for n in names)
    return graph


@pytest.mark.parametrize("per_channel", [False, True])
@pytest.mark.parametrize("stored", ["u8", "i8"])
@pytest.mark.parametrize("form", ["qdq", "qoperator"])
def test_network_quantized_by_onnxruntime(tmp_path: Path, form: str, stored: str, per_channel: bool) -> None:
    proto = statically(residual_network(), tmp_path, form, stored, per_channel)
    names = operators(assert_close_and_integer(proto, 4))
    assert names.count("q.linear_conv") == 4
    assert {"q.linear_add", "q.linear_mul", "q.linear_average_pool", "q.linear_matmul"} <= set(names)


def test_digits_network_quantized_by_onnxruntime(tmp_path: Path) -> None:
    simple = tmp_path / "simple.onnx"
    quant_pre_process(DIGITS, simple, skip_symbolic_shape=True)
    graph = assert_close_and_integer(statically(onnx.load(simple), tmp_path, "qdq", "i8", True), 3)
    counts = Counter(op.name for op in graph.operators)
    assert (counts["q.linear_conv"], counts["q.linear_add"]) == (21, 9)
    assert (counts["q.quantize"], counts["q.dequantize"]) == (1, 1)


def test_batch_norms_that_the_tool_left_are_float(tmp_path: Path) -> None:
    proto = statically(onnx.load(DIGITS), tmp_path, "qdq", "u8", True)
    graph = read_model(proto)
    assert "nn.batch_norm" in operators(graph)
    names = operators(Fuse().run(Canonicalize().run(graph)))
    assert names.count("q.linear_conv") == 21
    assert "nn.conv" not in names


def quantized_by_hand(stored: str, fake_weights: bool) -> onnx.ModelProto:
    """Pairs before convolutions and on the residual, as training tools write them.

    `fake_weights`: weights are real constants quantized in the graph.
    """
    choose = np.random.default_rng(4)
    dtype = {"i8": np.int8, "u8": np.uint8}[stored]
    nodes: list[onnx.NodeProto] = []
    constants: dict[str, Array] = {}

    def node(type: str, inputs: list[str], output: str, **attributes: Any) -> str:
        nodes.append(helper.make_node(type, inputs, [output], name=output, **attributes))
        return output

    def pair(x: str, scale: float, kind: type = dtype, **axis: int) -> str:
        zero = 0 if kind is np.int8 else 3
        constants[f"{x}_s"], constants[f"{x}_z"] = np.array(scale, np.float32), np.array(zero, kind)
        stored_x = node("QuantizeLinear", [x, f"{x}_s", f"{x}_z"], f"{x}_q", **axis)
        return node("DequantizeLinear", [stored_x, f"{x}_s", f"{x}_z"], f"{x}_d", **axis)

    def weights(name: str, shape: tuple[int, ...]) -> str:
        real = choose.standard_normal(shape).astype(np.float32)
        scales = (np.abs(real).reshape(shape[0], -1).max(axis=1) / 127).astype(np.float32)
        constants[f"{name}_s"], constants[f"{name}_z"] = scales, np.zeros(shape[0], np.int8)
        constants[name] = real
        if not fake_weights:
            constants[f"{name}_q"] = np.rint(real / scales.reshape(-1, 1, 1, 1)).astype(np.int8)
            return node("DequantizeLinear", [f"{name}_q", f"{name}_s", f"{name}_z"], f"{name}_d", axis=0)
        node("QuantizeLinear", [name, f"{name}_s", f"{name}_z"], f"{name}_q", axis=0)
        return node("DequantizeLinear", [f"{name}_q", f"{name}_s", f"{name}_z"], f"{name}_d", axis=0)

    constants["b"] = choose.standard_normal(4).astype(np.float32)
    x = pair("x", 0.03)
    node("Conv", [x, weights("w1", (4, 3, 3, 3)), "b"], "c1", pads=[1, 1, 1, 1])
    for part in ("gamma", "beta", "mean", "variance"):
        constants[part] = choose.standard_normal(4).astype(np.float32) ** 2 + 0.5
    node("BatchNormalization", ["c1", "gamma", "beta", "mean", "variance"], "n1")
    node("Relu", ["n1"], "r1")
    node("MaxPool", ["r1"], "m1", kernel_shape=[2, 2], strides=[2, 2])
    m1 = pair("m1", 0.2)
    node("Conv", [m1, weights("w2", (4, 4, 3, 3)), "b"], "c2", pads=[1, 1, 1, 1])
    node("Add", ["c2", m1], "s2")
    node("Relu", ["s2"], "r2")
    node("Conv", [pair("r2", 0.5), weights("w3", (2, 4, 1, 1))], "y")
    graph = helper.make_graph(
        nodes, "g", [helper.make_tensor_value_info("x", TensorProto.FLOAT, (1, 3, 8, 8))],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, (1, 2, 4, 4))],
        [numpy_helper.from_array(a, n) for n, a in constants.items()],
    )  # fmt: skip
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


@pytest.mark.parametrize(("stored", "fake_weights"), [("i8", True), ("u8", False)])
def test_pairs_before_convolutions_and_on_residuals(stored: str, fake_weights: bool) -> None:
    graph = assert_close_and_integer(quantized_by_hand(stored, fake_weights), 3)
    assert operators(graph) == ["q.quantize", "q.linear_conv", "nn.max_pool", *["q.linear_conv"] * 2]
    assert [len(op.operands) for op in graph.operators if op.name == "q.linear_conv"] == [3, 4, 3]


# What stays float, and what is refused -------------------------------------------------------------


@pytest.mark.parametrize(
    "attributes", ["opset=12", "opset=12, axis=2", "opset=11, axis=1", "opset=13, axis=1"]
)
def test_softmax_goes_over_the_axes_of_its_opset(attributes: str) -> None:
    """Below 13 over all axes from one on; ONNX Runtime's quantizer says which opset a model had."""
    constants = {**scale("a", 0.05, 128, "uint8"), **scale("y", 1 / 256, 0, "uint8")}
    proto = model(
        f"y = com.microsoft.QLinearSoftmax<{attributes}>(a, as, az, ys, yz)", "uint8[2,3,4] a", constants
    )
    moved, answer = apart(proto, {"a": bytes_of((2, 3, 4), "uint8")})
    assert moved <= 1
    assert len(np.unique(answer)) > 5


NINE = {**scale("a", 2**-6, 100, "uint8"), **scale("y", 2**-2, 120, "uint8")}
BY_MATRIX = "y = QLinearMatMul(a, as, az, w, ws, wz, ys, yz)", (5, 30), (30, 7)
BY_WINDOW = "y = QLinearConv<pads=[1,1,1,1]>(a, as, az, w, ws, wz, ys, yz)", (1, 4, 6, 6), (7, 4, 3, 3)
BY_CHANNEL = (
    "y = QLinearConv<pads=[1,1,1,1], group=4>(a, as, az, w, ws, wz, ys, yz)",
    (1, 4, 6, 6),
    (4, 1, 3, 3),
)
ZEROS = np.array([117, 128, 130, 1, 254, 100, 127], np.uint8)


def nine_bits(
    product: tuple[str, tuple[int, ...], tuple[int, ...]], dtype: str, zeros: Array | int
) -> tuple[onnx.ModelProto, dict[str, Array]]:
    """A product by bytes whose zero points are not in the middle; all scales are powers of two."""
    body, shape, weights = product
    z = np.array(zeros, dtype)
    stored = bytes_of(weights, dtype, 2)
    stored.flat[0] = np.iinfo(stored.dtype).max
    w = {"w": stored, "wz": z, "ws": np.full(z.shape, 2**-8, np.float32)}
    proto = model(body, f"uint8[{','.join(map(str, shape))}] a", {**NINE, **w})
    return proto, {"a": bytes_of(shape, "uint8")}


def known(value: Value) -> Array:
    array = constant_of(value)
    assert array is not None
    return array


@pytest.mark.parametrize("zeros", [0, 117, 140, ZEROS], ids=["none", "low", "high", "of columns"])
@pytest.mark.parametrize("product", [BY_MATRIX, BY_WINDOW], ids=["matrix", "window"])
def test_weights_of_nine_bits_are_exact_integers(
    product: tuple[str, tuple[int, ...], tuple[int, ...]], zeros: Array | int
) -> None:
    proto, inputs = nine_bits(product, "uint8", zeros)
    assert apart(proto, inputs, exactly)[0] == 0
    assert len(np.unique(apart(proto, inputs, exactly)[1])) > 5
    made = ["q.annotate", "nn.gather", "nn.concat"]
    assert [n for n in operators(integer(proto)) if n not in made] == [
        "q.linear_matmul" if product is BY_MATRIX else "q.linear_conv"
    ]


def test_only_channels_with_large_weights_are_met_again() -> None:
    proto, inputs = nine_bits(BY_MATRIX, "int8", 3)
    stored = proto.graph.initializer[4]
    weights = numpy_helper.to_array(stored).clip(-120, 127)
    weights[[4, 9], 2] = -128
    stored.CopyFrom(numpy_helper.from_array(weights, "w"))
    (again,) = (op for op in integer(proto).operators if op.name == "nn.gather")
    assert known(again.operands[1]).tolist() == [4, 9]
    assert apart(proto, inputs, exactly)[0] == 0


def test_weights_of_nine_bits_in_groups_stay_float() -> None:
    proto, inputs = nine_bits(BY_CHANNEL, "uint8", 117)
    assert apart(proto, inputs, exactly)[0] == 0
    assert "nn.conv" in operators(integer(proto))


REFUSED = {
    "a scale computed": (
        "s = ReduceMax<keepdims=0>(f) y = QLinearMatMul(a, s, az, a, as, az, ys, yz)",
        r"scale \(input 1\) must be a constant",
    ),
    "a bias of reals": (
        "y = QLinearConv(a, as, az, w, as, az, ys, yz, ws)", r"bias of shape 6 and f32 is no list of i32",
    ),
    "a concat in pieces": (
        "y = com.microsoft.QLinearConcat<axis=1>(ys, yz, a, as)", "4 inputs are not 2 and 3 for each part",
    ),
    "an operator of the domain that is not known": (
        "y = com.microsoft.QLinearReduceMean(a, as, az, ys, yz)", "com.microsoft::QLinearReduceMean",
    ),
    "an operator of another domain": ("y = QLinearAdd(a, as, az, a, as, az, ys, yz)", "  QLinearAdd: "),
    "a negative alpha": (
        "y = com.microsoft.QGemm<alpha=-1.0>(m, as, az, m, as, az)", "'alpha' is -1, not positive",
    ),
    "zero points that do not fit": (
        "y = MatMulInteger(a, a, wz)", r"zero points of shape 6 do not fit axis 2 of 1x2x9x9",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_read_is_named(name: str) -> None:
    body, said = REFUSED[name]
    proto = model(body, "uint8[1,2,9,9] a, float[3] f, uint8[3,3] m", {**U8, **CONV_WEIGHTS})
    with pytest.raises(ModelError, match=said):
        read_model(proto)
