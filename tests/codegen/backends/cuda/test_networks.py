"""Networks compiled for GPUs, run by the emulator through the C runtime: to the bit in bytes."""

from __future__ import annotations

import ctypes
import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

import secateur
from secateur import Fp16, Int8, Watch
from secateur.codegen.targets.rows import GPUS
from secateur.costs.bundle import write_bundle
from secateur.costs.candidates import network_of
from secateur.ir import interpreter
from secateur.ir.errors import SecateurError
from secateur.ir.graph import Graph
from secateur.ir.noise import noise
from secateur.ir.support.progress import silent
from secateur.runtime.library import Library
from secateur.runtime.manifest import read_manifest
from secateur.runtime.session import SessionError
from tests.passes.texts import body, build
from tests.sampled import sampled

from ...simt.emulator import Gpu, configure, load_dumped, stand_in

ROOT = Path(__file__).parents[4]
TARGET = "cuda-sm_75"
INPUT = "tensor<1x3x9x7xf32>"
FLOATS = body(
    INPUT,
    "%w = const : tensor<5x3x3x3xf32> %y = nn.conv(%x, %w) {SAME, epilogue = [relu]} : tensor<1x5x9x7xf32> "
    '%s = nn.softmax(%y) {axis = 1} : tensor<1x5x9x7xf32> return %s as "s", %y as "y"',
)


@pytest.fixture(autouse=True)
def gpu() -> Iterator[None]:
    """One that takes everything; after a test, nothing is left on it."""
    configure()
    yield
    assert stand_in().simt_live() == 0
    configure()


@pytest.fixture(scope="module")
def floats(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("floats")
    return compiled(build(FLOATS), folder).path


def compiled(
    model: Graph | Path,
    folder: Path,
    quantize: Int8 | None = None,
    precision: Fp16 | None = None,
    target: str = TARGET,
) -> secateur.Artifact:
    """The model's artifact, whose kernels the emulator knows."""
    watch = Watch(dump_ir=folder / "ir")
    made = secateur.compile(
        model, folder / "m.so", target, quantize=quantize, precision=precision, watch=watch
    )
    load_dumped(folder / "ir" / "kernels")
    return made


def inputs() -> dict[str, np.ndarray]:
    return noise(build(FLOATS))


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
    model = ROOT / "examples" / "digits" / "resnet20.onnx"
    made = compiled(model, tmp_path, precision=Fp16())
    used = [op.get("primitive") for op in made.graph.operators]
    assert used.count("half_implicit_gemm") == 21
    graph = secateur.read(model)
    given = noise(graph)
    wanted = interpreter.run(graph, given)["logits"]
    with secateur.load(made.path) as session:
        found = session.run(given)["logits"]
    assert 0 < np.abs(found - wanted).max() < 0.01 * np.abs(wanted).max()


@pytest.mark.slow
@pytest.mark.parametrize("model", sampled(NETWORKS, ["fashion/resnet20.onnx"]))
def test_a_network_in_bytes_is_the_interpreters_to_the_bit(model: str, tmp_path: Path) -> None:
    path = ROOT / "examples" / model
    made = compiled(path, tmp_path, Int8("random:4"), target=NETWORKS[model])
    given = noise(made.graph)
    wanted = interpreter.run(made.graph, given)
    for order in (0, 1, 7):
        configure(Gpu(order=order))
        with secateur.load(made.path) as session:
            found = session.run(given)
        for name, value in wanted.items():
            np.testing.assert_array_equal(found[name], value)


def test_a_profile_has_the_gpus_times(floats: Path) -> None:
    """The emulator's launches take a millisecond each."""
    with secateur.load(floats) as session:
        rows = session.profile(inputs())
        assert {row.ns for row in rows} == {1_000_000}
        assert len(rows) == len(session.manifest["operators"])


@pytest.mark.parametrize(
    ("gpu", "message"),
    [
        (Gpu(devices=0), "the driver finds no GPU"),
        (Gpu(capability=72), "compiled for sm_75 or later, this GPU (an emulator) is sm_72"),
        (Gpu(driver=9020, ptx=62), "the GPU's driver (CUDA 9.2) does not take PTX 6.3 for sm_75"),
        (Gpu(memory=1000), "the GPU has no memory for the model: it needs 1 MiB"),
    ],
)
def test_what_cannot_be_is_said(floats: Path, gpu: Gpu, message: str) -> None:
    configure(gpu)
    with pytest.raises(SessionError, match=re.escape(message)):
        secateur.load(floats)
    assert stand_in().simt_live() == 0


CREATE = (
    "cuInit", "cuCtxGetCurrent", "cuDeviceGet", "cuDevicePrimaryCtxRetain", "cuDeviceGetAttribute",
    "cuCtxPushCurrent_v2", "cuStreamCreate", "cuModuleLoadData", "cuModuleGetFunction", "cuMemAlloc_v2",
    "cuMemcpyHtoDAsync_v2", "cuStreamSynchronize",
)  # fmt: skip


@pytest.mark.parametrize("function", CREATE)
def test_a_failed_create_frees_everything(floats: Path, function: str) -> None:
    stand_in().simt_fail(function.encode(), 0, 719)
    with pytest.raises(SessionError, match=r"the GPU's driver failed at .*CUDA_ERROR_LAUNCH_FAILED"):
        secateur.load(floats)
    configure()
    assert stand_in().simt_live() == 0


@pytest.mark.parametrize(
    "function", ["cuLaunchKernel", "cuMemcpyHtoDAsync_v2", "cuMemcpyDtoHAsync_v2", "cuStreamSynchronize"]
)
def test_a_failed_run_is_said_and_the_next_one_runs(floats: Path, function: str) -> None:
    with secateur.load(floats) as session:
        stand_in().simt_fail(function.encode(), 0, 719)
        with pytest.raises(SessionError, match="the GPU's driver failed at a run"):
            session.run(inputs())
        configure()
        assert session.run(inputs())["s"].shape == (1, 5, 9, 7)


@pytest.mark.parametrize("after", [0, 1, 3])
def test_a_failed_profile_leaves_no_events(floats: Path, after: int) -> None:
    with secateur.load(floats) as session:
        stand_in().simt_fail(b"cuEventCreate", after, 2)
        with pytest.raises(SessionError, match="the GPU has no memory for a run"):
            session.profile(inputs())


def test_pointers_into_the_gpus_memory_are_taken(floats: Path) -> None:
    """Here the GPU's memory is this machine's."""
    wanted = interpreter.run(build(FLOATS), inputs())
    with secateur.load(floats) as session:
        given = [inputs()[port.name] for port in session.inputs]
        found = [np.zeros(port.shape, port.dtype) for port in session.outputs]
        run_device(session._library, session._state, given, found)
        for port, value in zip(session.outputs, found, strict=True):
            np.testing.assert_allclose(value, wanted[port.name], 2e-6, 2e-6)


def run_device(
    library: Library, state: ctypes.c_void_p, given: list[np.ndarray], found: list[np.ndarray]
) -> None:
    def pointers(arrays: list[np.ndarray]) -> ctypes.Array[ctypes.c_void_p]:
        return (ctypes.c_void_p * len(arrays))(*(a.ctypes.data for a in arrays))

    function = library.secateur_run_device
    assert function(state, pointers(given), pointers(found), ctypes.c_void_p(0)) == 0


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


def test_a_bundle_is_refused(tmp_path: Path) -> None:
    row = GPUS["jetson-orin"]
    network = network_of(build(FLOATS), row)
    with pytest.raises(SecateurError, match="bundles for jetson-orin are not made yet"):
        write_bundle(network, tmp_path / "b.tar", silent)


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
    quantize = Int8("random:4", winograd="4")
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
