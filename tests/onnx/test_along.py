"""Places, running sums, triangles, spectra, norms and fused operators, against ONNX Runtime."""

from __future__ import annotations

import re

import numpy as np
import onnx
import pytest

from secateur.ir.errors import ModelError
from secateur.ir.interpreter import run
from secateur.ir.onnx_reader import read_model
from secateur.ir.onnx_writer import to_onnx
from tests.onnx.models import onnxruntime, random_inputs

_RANDOM = np.random.default_rng(0)


def _numbers(count: int) -> str:
    return ", ".join(f"{v:.3f}" for v in _RANDOM.standard_normal(count))


X = "float[2,3,9,8] x"
ALONG = [
    (X, "y, i = TopK <axis=1, largest=0> (x, two)"),
    (X, "v, y = TopK (x, two)"),
    ("float[1,30,4] x", "m = ReduceMax <keepdims=0> (x, two) t, i = TopK (m, five) j = Unsqueeze (i, two) "
     "k = Tile (j, rep) y = GatherElements <axis=1> (x, k)"),
    ("float[3,6] x", "t, i = TopK (x, two) j = Unsqueeze (i, two) y = GatherND <batch_dims=1> (x, j)"),
    ("float[1,3,8,5] x", "t, i = TopK <axis=2> (x, two) a = Neg (t) y = ScatterElements <axis=2> (x, i, a)"),
    ("float[1,8,3,5] x", "t, i = TopK <axis=2> (x, two) a = Neg (t) "
     "y = ScatterElements <axis=1, reduction=\"add\"> (x, i, a)"),
    ("float[7] x", "t, i = TopK (x, two) a = Neg (t) j = Unsqueeze (i, one) y = ScatterND (x, j, a)"),
    (X, "a = GatherND (x, rows) y = ScatterND <reduction=\"max\"> (x, rows, a)"),
    (X, "y = CumSum (x, one)"),
    (X, "y = CumSum <exclusive=1, reverse=1> (x, two)"),
    (X, "y = Trilu (x)"),
    (X, "y = Trilu <upper=0> (x, minus)"),
    (X, "y = Trilu <upper=0> (x, far)"),
    ("float[2,8] x", "t, i = TopK (x, two) y = OneHot <axis=1> (i, nine, values)"),
    ("float[2,2] x", "k = CumSum (rows, one) c = Cast <to=1> (k) y = Add (x, c)"),
    ("float[2,2,5] x", "k = OneHot (rows, five, values) y = Add (x, k)"),
    ("float[9,3,2] x", "y = ReverseSequence <batch_axis=1, time_axis=0> (x, lengths)"),
    ("float[3,9,2] x", "y = ReverseSequence <batch_axis=0, time_axis=1> (x, lengths)"),
]  # fmt: skip
WINDOWS = [
    (X, "y = LpPool <p=3, kernel_shape=[3,2], strides=[2,1], pads=[1,0,1,1]> (x)"),
    (X, "y = LpPool <kernel_shape=[3,2], strides=[2,3], pads=[1,0,0,0], ceil_mode=1> (x)"),
    (X, "y = LpPool <p=1, kernel_shape=[3,3], strides=[2,2], auto_pad=\"SAME_UPPER\"> (x)"),
    (X, "y = GlobalLpPool <p=3> (x)"),
    (X, "a, y = MaxPool <kernel_shape=[3,3], strides=[2,2], pads=[1,1,1,1]> (x)"),
    (X, "a, y = MaxPool <kernel_shape=[3,2], strides=[2,2], dilations=[2,1], storage_order=1> (x)"),
    (X, "a, i = MaxPool <kernel_shape=[2,2], strides=[2,2], pads=[1,0,0,0]> (x) r = Neg (a) "
     "y = MaxUnpool <kernel_shape=[2,2], strides=[2,2], pads=[1,0,0,0]> (r, i)"),
    (X, "a, i = MaxPool <kernel_shape=[2,2], strides=[2,2]> (x) "
     "y = MaxUnpool <kernel_shape=[2,2], strides=[2,2]> (a, i, whole)"),
    ("float[2,18,15] x", "y = Col2Im <strides=[2,1], pads=[1,0,0,1]> (x, image, block)"),
    ("float[1,18,12] x", "y = Col2Im <dilations=[2,1]> (x, image, block)"),
]  # fmt: skip
SPECTRA = [
    ("float[2,10,1] x", "y = DFT <onesided=1> (x, , first)"),
    ("float[2,10,3,2] x", "y = DFT <inverse=1> (x, nine, first)"),
    ("float[2,10,3,1] x", "y = DFT (x, sixteen, first)"),
    ("float[1,160] x", "w = HannWindow (sixteen) y = STFT (x, nine, w)"),
    ("float[2,40,2] x", "y = STFT <onesided=0> (x, nine, , sixteen)"),
    ("float[5,9] x", "m = MelWeightMatrix (nine, sixteen, rate, low, high) y = MatMul (x, m)"),
]
TWO = "float[1,3,6,5] x, float[1,18,6,5] o"
GRIDS = [
    (TWO + ", float[1,9,6,5] m", "y = DeformConv <pads=[1,1,1,1]> (x, filters, o, bias, m)"),
    (
        "float[2,3,7,9] x, float[2,54,3,3] o",
        "y = DeformConv <offset_group=3, strides=[2,2], dilations=[1,2], pads=[1,0,0,1]> (x, filters, o)",
    ),
    ("float[1,2,3] x", "y = AffineGrid (x, image4)"),
    ("float[2,3,4] x", "y = AffineGrid <align_corners=1> (x, image5)"),
]
FUSED = [
    (X, "y = com.microsoft.FusedConv <activation=\"LeakyRelu\", activation_params=[0.1]> (x, filters)"),
    (X, "y = com.microsoft.FusedConv <pads=[1,1,1,1], activation=\"Clip\", "
     "activation_params=[-1.0,2.0]> (x, filters, , x)"),
    (X, "y = com.microsoft.FusedMatMul <alpha=0.5, transB=1> (x, x)"),
    ("float[2,3] x", "y = com.microsoft.FusedGemm <activation=\"LeakyRelu\", activation_alpha=0.3> (x, mat)"),
    (X, "a = com.microsoft.Gelu (x) y = com.microsoft.QuickGelu (a)"),
    ("float[2,3] x", "a = com.microsoft.FastGelu (x) y = com.microsoft.BiasGelu (a, bias)"),
    ("float[2,3] x", "q = QuantizeLinear (x, tenth, zero) k = Greater (x, bias) "
     "y = com.microsoft.QLinearWhere (k, q, tenth, zero, q, tenth, zero, more, zero)"),
]  # fmt: skip
CONSTANTS = f"""<int64[1] one = {{1}}, int64[1] two = {{2}}, int64[1] five = {{5}},
int64[3] rep = {{1, 1, 4}},
int64[1] minus = {{-1}}, int64[1] far = {{300}}, int64[2,2] rows = {{0, 2, 1, -1}}, int64 first = {{1}},
int64 nine = {{9}}, int64 sixteen = {{16}}, int64[3] lengths = {{2, 9, 1}}, float[2] values = {{0.5, 2.5}},
float[3] bias = {{0.5, -1.0, 2.0}},
int64[4] whole = {{2, 3, 9, 8}}, int64[4] image4 = {{1, 3, 5, 6}},
int64[5] image5 = {{2, 3, 2, 5, 6}},
int64[2] image = {{5, 6}}, int64[2] block = {{2, 3}}, int64 rate = {{8000}},
float low = {{0.0}}, float high = {{4000.0}}, float tenth = {{0.1}}, float more = {{0.15}},
uint8 zero = {{100}},
float[3,3,3,3] filters = {{{_numbers(81)}}}, float[3,3] mat = {{{_numbers(9)}}}>"""


def _model(head: str, nodes: str) -> onnx.ModelProto:
    opsets = '"": 20, "com.microsoft": 1'
    return onnx.parser.parse_model(
        f"<ir_version: 8, opset_import: [{opsets}]> main ({head}) => (y) {CONSTANTS} {{ {nodes} }}"
    )


@pytest.mark.parametrize(("head", "nodes"), [*ALONG, *WINDOWS, *SPECTRA, *GRIDS, *FUSED])
def test_as_onnxruntime(head: str, nodes: str) -> None:
    """Read, and written again."""
    proto = _model(head, nodes)
    graph = read_model(proto)
    inputs = random_inputs(graph)
    wanted = onnxruntime(proto, inputs)
    for found in (run(graph, inputs)["y"], onnxruntime(to_onnx(graph), inputs)):
        assert found.dtype == wanted.dtype
        np.testing.assert_allclose(found, wanted, rtol=1e-4, atol=1e-5)


SPECIAL = [0, -0.0, 1e-7, -1e-5, 1e20, -1e20, np.inf, -np.inf, np.nan, 0.99999, 1 - 6e-8]
POINTS = np.concatenate([np.linspace(-12, 12, 97), np.linspace(-1, 1, 48), SPECIAL]).astype(np.float32)


@pytest.mark.parametrize("name", ["Acos", "Acosh", "Asin", "Asinh", "Atan", "Atanh", "Cosh", "Sinh", "Tan"])
def test_inverse_and_hyperbolic_functions(name: str) -> None:
    """As exact as float32 is, near zero and one too; NumPy's are called arccos and so on."""
    numpy = name.lower() if hasattr(np, name.lower()) and name[0] != "A" else f"arc{name[1:].lower()}"
    graph = read_model(_model(f"float[{len(POINTS)}] x", f"y = {name} (x)"))
    with np.errstate(all="ignore"):
        wanted = getattr(np, numpy)(POINTS.astype(np.float64)).astype(np.float32)
        found = run(graph, {"x": POINTS})["y"]
    small = ~(np.isfinite(wanted) & (np.abs(POINTS) > 1e6))  # a tangent there is of the angle's rounding
    np.testing.assert_allclose(found[small], wanted[small], rtol=5e-7)


REFUSED = [
    (X, "y, i = TopK (x, nine)", "no 9 largest elements of 8"),
    (X, "y, i = TopK (x, rows)", "k (input 1) must be a list of integers, is int64 2x2"),
    (X, "y = CumSum (x, whole)", "axis (input 1) has 4 elements, one is needed"),
    (X, "y = LpPool <p=0, kernel_shape=[3,3]> (x)", "a norm of order 0"),
    (X, "y = MaxUnpool <kernel_shape=[2,2]> (x, rows)", "indices 2x2 are not for 2x3x9x8"),
    ("float[2,3,9] x", "a, y = MaxPool <kernel_shape=[3], storage_order=1> (x)", "in column-major order"),
    ("float[2,18,14] x", "y = Col2Im (x, image, block)", "columns 2x18x14 are not blocks (2, 3) of an image"),
    ("float[9,4,2] x", "y = ReverseSequence (x, lengths)", "lengths 3 do not fit 9x4x2"),
    ("float[2,10,2] x", "y = DFT <onesided=1> (x, , first)", "one side of what is not"),
    ("float[2,10,3] x", "y = DFT (x)", "no last axis of 1 or 2 parts"),
    ("float[1,90000,1] x", "y = DFT (x, , first)", "whose matrix is too large"),
    ("float[1,160] x", "y = STFT (x, nine, x)", "with a window that is computed"),
    (TWO, "y = DeformConv (x, filters, o)", "offsets 1x18x6x5 are for 6x5 pixels, the result has 4x3"),
    (TWO, "y = DeformConv <pads=[1,1,1,1]> (x, filters, o, bias, x)", "cannot become"),
    (TWO, "y = DeformConv <offset_group=2> (x, filters, o)", "input 1x3x6x5 is not for 2 groups of offsets"),
    ("float[1,3,6,5] x", "y = DeformConv <pads=[1,1,1,1]> (x, filters, x)", "are not two for each of 1x9x6"),
    ("float[1,2,3] x", "y = AffineGrid (x, whole)", "theta 1x2x3 does not fit an image 2x3x9x8"),
    (X, "y = com.microsoft.FusedConv <activation=\"Mish\"> (x, filters)", "attribute 'activation' is 'Mish'"),
    (X, "y = com.microsoft.FusedConv <activation=\"Clip\"> (x, filters)", "has 0 parameters, needs 2"),
]  # fmt: skip


@pytest.mark.parametrize(("head", "nodes", "message"), REFUSED)
def test_what_is_refused(head: str, nodes: str, message: str) -> None:
    with pytest.raises(ModelError, match=re.escape(message)):
        read_model(_model(head, nodes))
