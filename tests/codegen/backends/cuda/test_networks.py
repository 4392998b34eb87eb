"""Networks compiled for GPUs, run by the emulator through the C runtime: to the bit in bytes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import secateur
from secateur import Fp16, Int8, SecateurError
from secateur.codegen.targets.rows import GPUS
from secateur.ir import interpreter
from secateur.ir.files import read_graph
from secateur.ir.graph import Graph, Operator, Value
from secateur.ir.noise import noise
from secateur.runtime.manifest import read_manifest
from tests.passes.texts import Array, body, build
from tests.sampled import sampled
from tests.shorter import CONVOLUTIONS, shorter

from ...simt.emulator import Gpu, configure
from .networks import FLOATS, TARGET, compiled, inputs

ROOT = Path(__file__).parents[4]
pytestmark = pytest.mark.usefixtures("gpu")


def test_floats_are_the_interpreters(floats: Path) -> None:
    wanted = interpreter.run(build(FLOATS), inputs())
    with secateur.load(floats) as session:
        for _ in range(2):
            found = session.run(inputs())
            for name, value in wanted.items():
                np.testing.assert_allclose(found[name], value, 2e-6, 2e-6)


NETWORKS = {  # by target; the second has matrix instructions, and both x86-64 beside them
    "digits/resnet20.onnx": "cuda-sm_75",
    "fashion/resnet20.onnx": "cuda-sm_80",
}


@pytest.mark.slow
def test_a_network_in_half_is_near_the_one_in_floats(tmp_path: Path) -> None:
    model = shorter("digits")
    made = compiled(model, tmp_path, precision=Fp16())
    used = [op.get("primitive") for op in made.graph.operators]
    products = ("half_implicit_gemm", "half_winograd2_staged", "half_winograd4_staged")
    assert sum(map(used.count, products)) == CONVOLUTIONS
    graph = secateur.read(model)
    given = noise(graph)
    wanted = interpreter.run(graph, given)["logits"]
    with secateur.load(made.path) as session:
        found = session.run(given)["logits"]
    assert 0 < np.abs(found - wanted).max() < 0.01 * np.abs(wanted).max()


@pytest.mark.slow
@pytest.mark.parametrize("model", sampled(NETWORKS, ["fashion/resnet20.onnx"]))
def test_a_network_in_bytes_is_the_interpreters_to_the_bit(model: str, tmp_path: Path) -> None:
    path = shorter(model.split("/")[0]) if model.endswith("resnet20.onnx") else ROOT / "examples" / model
    made = compiled(path, tmp_path, Int8("random:4"), target=NETWORKS[model])
    given = noise(made.graph)
    wanted = interpreter.run(made.graph, given)
    for order in (0, 1, 7):
        configure(Gpu(order=order))
        with secateur.load(made.path) as session:
            found = session.run(given)
        for name, value in wanted.items():
            np.testing.assert_array_equal(found[name], value)


@pytest.mark.parametrize("target", ["jetson-nano", "jetson-xavier", "jetson-orin"])
def test_a_board_gets_code_of_the_oldest_ptx_that_knows_it(target: str, tmp_path: Path) -> None:
    made = secateur.compile(build(FLOATS), tmp_path / "m.so", target)
    row = GPUS[target].cuda.architecture
    data = made.path.read_bytes()
    start = data.index(b".version ")
    head = data[start : data.index(b"\n\n", start)].decode()
    assert head == f".version {row.ptx // 10}.{row.ptx % 10}\n.target {row.name}\n.address_size 64"
    assert data.count(b".version ") == 1
    assert read_manifest(made.path)["target"]["name"] == target


def test_two_compilations_give_the_same_bytes(tmp_path: Path) -> None:
    paths = [secateur.compile(build(FLOATS), tmp_path / n, TARGET).path for n in ("a.so", "b.so")]
    assert paths[0].read_bytes() == paths[1].read_bytes()


TWO_TILED = body(
    "tensor<1x3x12x11xf32>",
    "%a = const : tensor<16x3x3x3xf32> %b = const : tensor<20x16x3x3xf32> %c = const : tensor<16x20x3x3xf32> "
    "%r = nn.conv(%x, %a) {SAME, epilogue = [relu]} : tensor<1x16x12x11xf32> "
    "%s = nn.conv(%r, %b) {SAME, epilogue = [relu]} : tensor<1x20x12x11xf32> "
    "%t = nn.conv(%s, %c) {SAME} : tensor<1x16x12x11xf32> "
    '%u = nn.add(%t, %r) : tensor<1x16x12x11xf32> return %u as "u"',
)


def test_operators_of_several_kernels_run_one_after_another(tmp_path: Path) -> None:
    """Between them their results lie in the workspace; a residual may be overwritten by the last."""
    quantize = Int8("random:4", winograd="2")
    made = compiled(build(TWO_TILED), tmp_path, quantize)
    used = [op["primitive"] for op in made.graph.operators if op.name == "prim.winograd_conv"]
    assert len(used) >= 2
    assert set(used) <= {"winograd_staged", "winograd_fused"}
    given = noise(made.graph)
    wanted = interpreter.run(made.graph, given)
    configure(Gpu(order=1))
    with secateur.load(made.path) as session:
        np.testing.assert_array_equal(session.run(given)["u"], wanted["u"])
        assert len(session.profile(given)) == len(session.manifest["operators"])


NECK = body(  # a detector's: features in bytes are made larger in floats, and are bytes again
    "tensor<2x3x12x8xf32>",
    "%a = const : tensor<16x3x4x4xf32> %t = const : tensor<16x24x2x2xf32> %b = const : tensor<8x24x3x3xf32> "
    "%r = nn.conv(%x, %a) {strides = [2, 2], pads = [1, 1, 1, 1], dilations = [1, 1], epilogue = [relu]} "
    ": tensor<2x16x6x4xf32> "
    "%u = nn.conv_transpose(%r, %t) {strides = [2, 2], pads = [0, 0, 0, 0], dilations = [1, 1], "
    "output_padding = [0, 0], epilogue = [relu]} : tensor<2x24x12x8xf32> "
    '%y = nn.conv(%u, %b) {SAME} : tensor<2x8x12x8xf32> return %y as "y"',
)


def test_bytes_are_exact_of_what_floats_before_them_are(tmp_path: Path) -> None:
    """Sums of floats have the last bits of their order, which may turn a byte near a tie: every operator is
    held to the interpreter's answer for the operands that it had."""
    compiled(build(NECK), tmp_path / "bytes", Int8("random:4", layers="all"), target="cuda-sm_80")
    (path,) = (tmp_path / "bytes" / "ir").glob("*-quantize.sir")
    graph = read_graph(path)
    computed = [op for op in graph.operators if op.name != "nn.constant"]
    kinds = [op.name for op in computed]
    assert kinds.index("nn.conv_transpose") < kinds.index("q.quantize", 1) < len(kinds) - 1
    held = _values(graph, computed, tmp_path / "every")
    for op in computed:
        wanted = interpreter.evaluate(op, [held[v] for v in op.operands])[0]
        loose = 2e-6 if op.name == "nn.conv_transpose" else 0.0
        np.testing.assert_allclose(held[op.result], wanted, loose, loose)


def _values(graph: Graph, computed: list[Operator], folder: Path) -> dict[Value, Array]:
    """Every value of the artifact's; `graph` gives them all from now on."""
    graph.outputs = [op.result for op in computed]
    graph.output_names = [f"v{i}" for i in range(len(computed))]
    made, given = compiled(graph, folder, target="cuda-sm_80"), noise(graph)
    with secateur.load(made.path) as session:
        found = session.run(given)
    held = {op.result: np.asarray(op["value"]) for op in graph.operators if op.name == "nn.constant"}
    held |= {v: given[v.name] for v in graph.inputs}
    return held | {v: found[name] for v, name in zip(graph.outputs, graph.output_names, strict=True)}


@pytest.mark.parametrize("function", ["cos", "exp", "tanh", "round"])
def test_functions_of_a_library_are_refused_in_float64(function: str, tmp_path: Path) -> None:
    """LLVM would end the process at some of them."""
    type = "tensor<1x3x4x4xf64>"
    graph = build(body(type, f'%y = nn.{function}(%x) : {type} loc("Wave") return %y as "y"'))
    message = rf"nn\.{function} \(ONNX node Wave\) .* GPUs have no {function} of 64-bit floats here"
    with pytest.raises(SecateurError, match=message):
        secateur.compile(graph, tmp_path / "m.so", TARGET)
    assert not list(tmp_path.iterdir())


def test_a_kernel_that_calls_them_for_another_operator_is_refused(tmp_path: Path) -> None:
    type = "tensor<1x3x4x4xf64>"
    graph = build(body(type, f'%y = nn.softmax(%x) {{axis = 1}} : {type} return %y as "y"'))
    with pytest.raises(SecateurError, match="a kernel calls exp of 64-bit floats, which GPUs do not have"):
        secateur.compile(graph, tmp_path / "m.so", TARGET)
    assert not list(tmp_path.iterdir())
