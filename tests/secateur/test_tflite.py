"""TFLite files of whole networks: the interpreter's bytes in LiteRT, the same file twice, and refusals."""

from __future__ import annotations

import re
import warnings
from collections import Counter
from collections.abc import Callable
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from onnx import numpy_helper

import secateur
from secateur import Ends, Int8, Limits, SecateurError, Watch
from secateur.codegen.backends.tflite.schema import schema
from secateur.ir.graph import Graph
from secateur.ir.interpreter import run
from secateur.ir.onnx_reader import read_model
from secateur.tools.bench.models import build
from secateur.tools.examples import EXAMPLES, example

from ..codegen.backends.litert import answers, litert, random_inputs
from ..sampled import sampled, sampled_rows, whole
from .small_networks import Shapes, after_conv, network, residual
from .tflite_networks import mobile, unet

DIGITS = EXAMPLES / "digits" / "resnet20.onnx"
DATA = example("digits")


def digits(count: int) -> list[dict[str, NDArray[Any]]]:
    images = DATA.network_input(DATA.load_calibration().images)[:count]
    return [{"image": image[None].astype(np.float32)} for image in images]


def operators(data: bytes) -> Counter[str]:
    """How often a file has each operator of TFLite."""
    made = schema()
    model = made.ModelT.InitFromObj(made.Model.GetRootAsModel(data, 0))
    names = {v: k for k, v in vars(made.BuiltinOperator).items() if not k.startswith("_")}
    return Counter(
        names[model.operatorCodes[op.opcodeIndex].builtinCode] for op in model.subgraphs[0].operators
    )


def litert_constants(data: bytes) -> list[NDArray[np.int8]]:
    """The i8 tensors that a file holds."""
    made = schema()
    model = made.ModelT.InitFromObj(made.Model.GetRootAsModel(data, 0))
    found = []
    for tensor in model.subgraphs[0].tensors:
        stored = model.buffers[tensor.buffer].data
        if tensor.type == made.TensorType.INT8 and stored is not None and len(stored):
            found.append(np.frombuffer(bytes(stored), np.int8).reshape(tensor.shape))
    return found


def check_bits(graph: Graph, data: bytes, seed: int = 0) -> None:
    """LiteRT's reference kernels give the interpreter's outputs to the bit."""
    inputs = random_inputs(graph, seed)
    found = litert(data, inputs)
    for name, wanted in run(graph, inputs).items():
        assert found[name].dtype == wanted.dtype
        np.testing.assert_array_equal(found[name], wanted)


@pytest.fixture(scope="module")
def compiled(tmp_path_factory: pytest.TempPathFactory) -> secateur.Artifact:
    path = tmp_path_factory.mktemp("tflite") / "digits.tflite"
    return secateur.compile(DIGITS, path, "edgetpu", quantize=Int8(digits(32)))


@pytest.mark.examples
def test_the_digits_network_is_litert_s_to_the_bit_and_as_good(compiled: secateur.Artifact) -> None:
    """At most 0.3 points are lost against float: one digit of 360 is as many; the suite asks a third."""
    data, heldout, step = compiled.path.read_bytes(), DATA.load_heldout(), 1 if whole() else 3
    images = DATA.network_input(heldout.images[::step]).astype(np.float32)
    (port,) = compiled.graph.inputs
    assert (port.type.dtype.value, port.type.shape) == ("i8", (1, *images.shape[2:], images.shape[1]))
    assert port.type.quant is not None
    scale, zero = port.type.quant.scales[0], port.type.quant.zero_points[0]
    stored = np.clip(np.rint(images / np.float32(scale)) + zero, -128, 127).astype(np.int8)
    found = answers(data, ({"image": image[None]} for image in stored.transpose(0, 2, 3, 1)))
    chosen = [answer["logits"].argmax() for answer in found]
    wrong = int(np.sum(np.array(chosen) != heldout.labels[::step]))
    assert wrong <= 7 // step, "2 of 100 in float"
    for seed in range(3):
        check_bits(compiled.graph, data, seed)


def test_channels_come_last_without_a_transpose(compiled: secateur.Artifact) -> None:
    found = operators(compiled.path.read_bytes())
    assert found["CONV_2D"] == 21
    assert found["ADD"] == 9
    assert found["MEAN"] == found["FULLY_CONNECTED"] == 1
    assert set(found) <= {"CONV_2D", "ADD", "MEAN", "FULLY_CONNECTED", "PAD", "RESHAPE"}


def test_the_same_request_gives_the_same_bytes(tmp_path: Path) -> None:
    files = []
    for number in range(2):
        graph, path = residual(), tmp_path / f"{number}.tflite"
        secateur.compile(graph, path, "edgetpu", quantize=Int8(noise_of(graph, 2)))
        files.append(path.read_bytes())
    assert files[0] == files[1]


@pytest.mark.parametrize("io", ["uint8", "float32"])
@pytest.mark.parametrize("keep_nchw", [False, True])
def test_ends_are_as_asked_for(io: Any, keep_nchw: bool, tmp_path: Path) -> None:
    graph = residual()
    ends = Ends(io=io, keep_nchw=keep_nchw)
    artifact = secateur.compile(
        graph, tmp_path / "m.tflite", "litert", quantize=Int8(noise_of(graph, 2)), ends=ends
    )
    (port,), (result,) = artifact.graph.inputs, artifact.graph.outputs
    assert port.type.dtype.numpy == result.type.dtype.numpy == np.dtype(io)
    assert port.type.shape == ((1, 3, 8, 9) if keep_nchw else (1, 8, 9, 3))
    data = artifact.path.read_bytes()
    assert (operators(data)["TRANSPOSE"] > 0) == keep_nchw
    check_bits(artifact.graph, data)


LAST = """
    h = Mul (x, half)
    i = Transpose <perm = [0, 3, 1, 2]> (h)
    c = Conv <strides = [2, 2], pads = [1, 1, 1, 1]> (i, w)
    r = Relu (c)
    o = Transpose <perm = [0, 2, 3, 1]> (r)
    y = Sigmoid (o)
"""


@pytest.mark.parametrize("channels", [1, 3])
def test_a_model_that_has_channels_last_keeps_them_there(channels: int, tmp_path: Path) -> None:
    """As TensorFlow's exporters write it: no axis moves, and no operator moves one."""
    made = network(LAST, {"w": (5, channels, 3, 3)}, f"float[1,8,10,{channels}] x")
    made.graph.initializer.append(numpy_helper.from_array(np.array(0.5, np.float32), "half"))
    graph = read_model(made)
    artifact = secateur.compile(graph, tmp_path / "m.tflite", "edgetpu", quantize=Int8(noise_of(graph, 2)))
    assert artifact.graph.inputs[0].type.shape == (1, 8, 10, channels)
    assert artifact.graph.outputs[0].type.shape == (1, 4, 5, 5)
    data = artifact.path.read_bytes()
    assert not {"TRANSPOSE", "RESHAPE"} & set(operators(data))
    check_bits(artifact.graph, data)


FORMS: dict[str, tuple[str, Shapes]] = {
    "silu": ("s = Sigmoid (c) y = Mul (c, s)", {}),
    "hard_swish": ("y = HardSwish (c)", {}),
    "hard_sigmoid": ("y = HardSigmoid <alpha = 0.16666667, beta = 0.5> (c)", {}),
    "tanh": ("y = Tanh (c)", {}),
    "squeeze and excite": (
        "m = GlobalAveragePool (c) r = Conv (m, w1) s = Relu (r) e = Conv (s, w2) g = Sigmoid (e) "
        "y = Mul (c, g)",
        {"w1": (2, 4, 1, 1), "w2": (4, 2, 1, 1)},
    ),
    "grouped": ("y = Conv <group = 2, pads = [1, 1, 1, 1]> (c, w1)", {"w1": (6, 2, 3, 3)}),
    "long steps": ("y = Conv <strides = [4, 4], pads = [2, 0, 3, 0]> (c, w1)", {"w1": (6, 4, 5, 5)}),
    "concat": ("r = Relu (c) d = Conv (r, w1) y = Concat <axis = 1> (r, d)", {"w1": (5, 4, 1, 1)}),
    "flatten": ("r = Relu (c) f = Flatten (r) y = Gemm (f, w1)", {"w1": (4 * 8 * 9, 7)}),
    "average": ("y = AveragePool <kernel_shape = [3, 3], strides = [2, 2]> (c)", {}),
    "average with padding": (
        "y = AveragePool <kernel_shape = [3, 3], pads = [1, 1, 1, 1], count_include_pad = 1> (c)",
        {},
    ),
    "pool with padding": (
        "y = MaxPool <kernel_shape = [3, 3], strides = [2, 2], pads = [1, 1, 1, 1]> (c)",
        {},
    ),
    "softmax of channels": ("y = Softmax <axis = 1> (c)", {}),
    "softmax of logits": ("f = Flatten (c) g = Gemm (f, w1) y = Softmax (g)", {"w1": (4 * 8 * 9, 7)}),
    "linear resize": (
        's = Constant <value_floats = [1.0, 1.0, 2.0, 2.0]> () y = Resize <mode = "linear"> (c, , s)',
        {},
    ),
    "resize with corners aligned": (
        "s = Constant <value_ints = [1, 4, 15, 17]> () "
        'y = Resize <mode = "linear", coordinate_transformation_mode = "align_corners"> (c, , , s)',
        {},
    ),
    "transposed convolution": (
        "t = ConvTranspose <strides = [2, 2], pads = [1, 1, 1, 1], output_padding = [1, 1]> (c, w1, b1) "
        "y = Relu (t)",
        {"w1": (4, 5, 3, 3), "b1": (5,)},
    ),
    "transposed convolution in groups": (
        "y = ConvTranspose <strides = [2, 2], pads = [1, 1, 1, 1], group = 4> (c, w1)",
        {"w1": (4, 1, 4, 4)},
    ),
    "difference": ("r = Relu (c) d = Conv (r, w1) s = Sub (c, d) y = Relu (s)", {"w1": (4, 4, 1, 1)}),
    "extremes": ("d = Conv (c, w1) m = Max (c, d) y = Min (m, d)", {"w1": (4, 4, 1, 1)}),
    "quotient": ("s = Sigmoid (c) h = Constant <value_float = 0.5> () d = Add (s, h) y = Div (c, d)", {}),
    "slopes": ("l = LeakyRelu <alpha = 0.1> (c) y = PRelu (l, w1)", {"w1": (4, 1, 1)}),
    "functions": ("s = Softplus (c) e = Elu (s) y = Erf (e)", {}),
    "limits": (
        "l = Constant <value_float = -0.5> () h = Constant <value_float = 0.7> () y = Clip (c, l, h)",
        {},
    ),
    "largest": ("y = ReduceMax <axes = [1], keepdims = 0> (c)", {}),
    "mean of channels": ("y = ReduceMean <axes = [1]> (c)", {}),
    "mean of a height": ("y = ReduceMean <axes = [2], keepdims = 0> (c)", {}),
    "sum": ("a = Constant <value_ints = [2, 3]> () y = ReduceSum (c, a)", {}),
    "pads of its own": (
        'p = Constant <value_ints = [0, 0, 1, 2, 0, 0, 2, 1]> () y = Pad <mode = "edge"> (c, p)',
        {},
    ),
    "pixel shuffle": (
        'd = Conv (c, w1) y = DepthToSpace <blocksize = 2, mode = "CRD"> (d)',
        {"w1": (8, 4, 1, 1)},
    ),
    "attention": (
        "s = Constant <value_ints = [1, 4, 72]> () q = Reshape (c, s) t = Transpose <perm = [0, 2, 1]> (q) "
        "m = MatMul (q, t) a = Softmax (m) y = MatMul (a, q)",
        {},
    ),
    "tokens": (
        "s = Constant <value_ints = [1, 4, 72]> () q = Reshape (c, s) t = Transpose <perm = [0, 2, 1]> (q) "
        "y = MatMul (t, w1)",
        {"w1": (4, 6)},
    ),
    "slopes of a matrix": (
        "f = Flatten (c) g = Gemm (f, w1, b1) y = PRelu (g, s1)",
        {"w1": (288, 7), "b1": (7,), "s1": (7,)},
    ),
    "channels scaled": (
        "r = Relu (c) m = Mul (r, w1) a = Add (m, b1) y = Sigmoid (a)",
        {"w1": (4, 1, 1), "b1": (4, 1, 1)},
    ),
    "a constant plane": ("r = Relu (c) a = Add (r, w1) y = Mul (a, w2)", {"w1": (8, 9), "w2": (4, 8, 9)}),
    "average without padding": (
        "y = AveragePool <kernel_shape = [3, 3], strides = [2, 2], pads = [1, 1, 1, 1]> (c)",
        {},
    ),
    "one axis": (
        "s = Constant <value_ints = [1, 4, 72]> () r = Reshape (c, s) y = Conv <pads = [1, 1]> (r, w1)",
        {"w1": (5, 4, 3)},
    ),
}


TURNED = ("attention", "mean of a height")
"""What turns a matrix in the model, or gives a result of three axes whose second is channels."""


@pytest.mark.parametrize(
    ("name", "target"),
    sampled_rows(
        product(FORMS, ("litert", "edgetpu")),
        lambda name, target: name in TURNED or [*FORMS].index(name) % 2 == (target == "edgetpu"),
    ),
)
def test_a_form_of_the_networks_is_litert_s_to_the_bit(name: str, target: str, tmp_path: Path) -> None:
    nodes, weights = FORMS[name]
    graph = after_conv(nodes, weights)
    artifact = secateur.compile(graph, tmp_path / "m.tflite", target, quantize=Int8(noise_of(graph, 3)))
    data = artifact.path.read_bytes()
    assert operators(data)["TRANSPOSE"] == (1 if name in TURNED else 0)
    assert artifact.quantization is not None
    assert artifact.quantization.sqnr > 25
    for seed in range(3):
        check_bits(artifact.graph, data, seed)


def test_what_vela_refuses_is_padded_by_constants(tmp_path: Path) -> None:
    nodes, weights = FORMS["long steps"]
    for target, padding in (("litert", "CONCATENATION"), ("edgetpu", "PAD")):
        graph = after_conv(nodes, weights)
        made = secateur.compile(graph, tmp_path / "m.tflite", target, quantize=Int8(noise_of(graph, 2)))
        assert [operators(made.path.read_bytes())[kind] for kind in ("CONCATENATION", "PAD")] == [
            padding == kind for kind in ("CONCATENATION", "PAD")
        ]


@pytest.mark.parametrize("make", [unet, mobile])
@pytest.mark.parametrize("target", ["litert", "edgetpu"])
def test_a_small_whole_network_is_litert_s_to_the_bit(
    make: Callable[[], Graph], target: str, tmp_path: Path
) -> None:
    graph = make()
    artifact = secateur.compile(graph, tmp_path / "m.tflite", target, quantize=Int8(noise_of(graph, 4)))
    data = artifact.path.read_bytes()
    assert operators(data)["TRANSPOSE"] == 0
    assert artifact.quantization is not None
    assert artifact.quantization.sqnr > 20
    for seed in range(2):
        check_bits(artifact.graph, data, seed)


def noise_of(graph: Graph, count: int) -> list[dict[str, NDArray[Any]]]:
    rng = np.random.default_rng(0)
    return [
        {v.name: rng.normal(size=v.type.shape).astype(np.float32) for v in graph.inputs} for _ in range(count)
    ]


def test_a_batch_is_refused(tmp_path: Path) -> None:
    graph = residual(batch=2)
    with pytest.raises(SecateurError, match=r"input 'x' \(2x3x8x9\): only a batch of 1"):
        secateur.compile(graph, tmp_path / "m.tflite", "litert", quantize=Int8(noise_of(graph, 1)))
    assert list(tmp_path.iterdir()) == []


def test_everything_without_a_form_is_named_at_once(tmp_path: Path) -> None:
    norm = "InstanceNormalization (c, s1, b1)"
    nodes = f"e = {norm} f = Conv (e, w1) a = LRN <size = 3> (f) y = Conv (a, w2)"
    shapes = {"w1": (4, 4, 1, 1), "w2": (2, 4, 1, 1), "s1": (4,), "b1": (4,)}
    graph = after_conv(nodes, shapes)
    with pytest.raises(SecateurError) as refused:
        secateur.compile(graph, tmp_path / "m.tflite", "edgetpu", quantize=Int8(noise_of(graph, 1)))
    assert str(refused.value).count("it normalizes by what it is given") == 2
    assert str(refused.value).count("\n") == 2, "conversions beside them are not told"
    assert list(tmp_path.iterdir()) == []


def test_what_compares_is_named_before_calibration(tmp_path: Path) -> None:
    """A division that spares zeros; a choice by what is known is folded, and none of it."""
    zero = "zero = Constant <value_float = 0.0> ()"
    spared = f"{zero} z = Equal (c, zero) q = Div (c, c) y = Where (z, zero, q)"
    unseen = (pytest.fail("an image was asked for") for _ in range(1))
    with pytest.raises(SecateurError) as refused:
        secateur.compile(after_conv(spared, {}), tmp_path / "m.tflite", "litert", quantize=Int8(unseen))
    first, *lines = str(refused.value).splitlines()
    assert first == "for litert, 2 things have no form in an 8-bit TFLite file:"
    assert [re.findall(r"\((nn\.\w+)\)", line) for line in lines] == [["nn.equal"], ["nn.where"]]
    assert all("cut the model before it, or write it by Clip, Max and Min" in line for line in lines)
    graph = after_conv(f"{zero} never = Constant <value = bool[1] {{0}}> () y = Where (never, zero, c)", {})
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        secateur.compile(graph, tmp_path / "m.tflite", "litert", quantize=Int8(noise_of(graph, 1)))


@pytest.mark.slow
@pytest.mark.parametrize(
    "name", sampled(["squeezenet1.1", "mobilenet-v2", "resnet18"], ["squeezenet1.1", "mobilenet-v2"])
)
def test_a_network_of_the_benchmark_is_litert_s_to_the_bit(name: str, tmp_path: Path) -> None:
    path = tmp_path / f"{name}.onnx"
    onnx.save(build(name, side=32), path)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # noise, and random weights
        artifact = secateur.compile(path, tmp_path / "m.tflite", "edgetpu", quantize=Int8("random:1"))
    data = artifact.path.read_bytes()
    assert operators(data)["TRANSPOSE"] == 0
    check_bits(artifact.graph, data)


def test_a_network_in_float_is_refused_in_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(SecateurError, match="computes in 8 bits, and this network in float: quantize it"):
        secateur.compile(DIGITS, tmp_path / "m.tflite", "litert")
    assert list(tmp_path.iterdir()) == []


def test_limits_and_ends_of_other_targets_are_refused(tmp_path: Path) -> None:
    with pytest.raises(SecateurError, match="io and keep_nchw are for TFLite files; x86-64-v3 runs none"):
        secateur.compile(DIGITS, tmp_path / "m.so", "x86-64-v3", ends=Ends(io="uint8"))
    with pytest.raises(SecateurError, match="no primitives are chosen here"):
        secateur.compile(DIGITS, tmp_path / "m.tflite", "litert", limits=Limits(memory=1 << 20))
    asked = Int8(digits(1), keep_float=("/fc/Gemm",))
    with pytest.raises(SecateurError, match="keep no layer in float"):
        secateur.compile(DIGITS, tmp_path / "m.tflite", "litert", quantize=asked)
    with pytest.raises(SecateurError, match="cannot run on this machine"):
        secateur.compile(DIGITS, tmp_path / "m.tflite", "litert", watch=Watch(verify="artifact"))


def test_passes_are_validated_up_to_other_ends(tmp_path: Path) -> None:
    """The pass that changes what is taken and given has nothing to be compared with."""
    graph, watch = residual(), Watch(verify="passes")
    asked = Int8(noise_of(graph, 2))
    made = secateur.compile(graph, tmp_path / "m.tflite", "litert", quantize=asked, watch=watch)
    moved = {record.text.partition("{")[0]: record.moved for record in made.outcome.records}
    assert moved["fuse"] is not None
    assert moved["tflite"] is None


def test_a_quantized_model_keeps_its_scales_and_integers(tmp_path: Path) -> None:
    """What QDQ ONNX holds goes into the file: the same bytes come out as of a file made at once."""
    graph = residual()
    asked = Int8(noise_of(graph, 3))
    secateur.quantize(graph, asked, tmp_path / "qdq.onnx", "litert")
    whole = secateur.compile(graph, tmp_path / "whole.tflite", "litert", quantize=asked)
    kept = secateur.compile(tmp_path / "qdq.onnx", tmp_path / "kept.tflite", "litert")
    first, second = whole.path.read_bytes(), kept.path.read_bytes()
    assert operators(first) == operators(second)
    check_bits(kept.graph, second)
    for seed in range(3):
        inputs = random_inputs(whole.graph, seed)
        (wanted,), (found,) = litert(first, inputs).values(), litert(second, inputs).values()
        np.testing.assert_array_equal(found, wanted)
