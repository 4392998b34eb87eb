"""Weights that are decoded in each run: the same bits, little memory, refusals."""

from __future__ import annotations

import ctypes
import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

import secateur
from secateur.codegen.artifact import seal
from secateur.codegen.backends.cpu.costs import AnalyticCosts
from secateur.codegen.backends.cpu.primitives import PRIMITIVES
from secateur.codegen.destination import SEAL_FIELDS, SEAL_MAGIC
from secateur.codegen.primitives.operator import Constant
from secateur.codegen.targets.find import find
from secateur.codegen.weights.streams import encode
from secateur.ir.errors import SecateurError, VerifyError
from secateur.ir.graph import Graph
from secateur.ir.parser import parse_graph
from secateur.passes.memory.memory import arena_report
from secateur.passes.memory.placement import check_placement
from secateur.runtime import elf
from secateur.runtime.library import Library, OptionsStruct
from secateur.runtime.manifest import read_manifest
from secateur.runtime.session import SessionError, load
from tests.sampled import sampled_rows

RNG = np.random.default_rng(3)
CONSTANTS = {
    "v": np.round(RNG.standard_normal((32, 32, 3, 3)) * 8).astype(np.float32),
    "w": np.round(RNG.standard_normal((64, 32, 3, 3)) * 8).astype(np.float32),
}
TEXT = """
graph @two(%x: tensor<1x32x8x8xf32>) {
  %v = nn.constant() {value = dense_resource<"v">} : tensor<32x32x3x3xf32>
  %w = nn.constant() {value = dense_resource<"w">} : tensor<64x32x3x3xf32>
  %y = nn.conv(%x, %v) {strides = [1, 1], pads = [1, 1, 1, 1], dilations = [1, 1]} : tensor<1x32x8x8xf32>
  %r = nn.relu(%y) : tensor<1x32x8x8xf32>
  %z = nn.conv(%r, %w) {strides = [1, 1], pads = [1, 1, 1, 1], dilations = [1, 1]} : tensor<1x64x8x8xf32>
  return %z as "z"
}
"""
SMALLER, LARGER = (CONSTANTS[name].nbytes for name in "vw")


def graph() -> Graph:
    return parse_graph(TEXT, CONSTANTS)


def kept(bytes: int, target: str = "host") -> secateur.Limits:
    """Weights as they are in the model: Winograd's take more."""
    row = find(target)
    operators = [op for op in graph().operators if op.name == "nn.conv"]
    offered = {c.primitive for op in operators for c in AnalyticCosts(row).choices(op)}
    return secateur.Limits(
        weights_memory=bytes, without=tuple(name for name in offered if name.startswith("winograd"))
    )


def image() -> NDArray[np.float32]:
    return np.random.default_rng(1).standard_normal((1, 32, 8, 8), dtype=np.float32)


def as_it_is(artifact: secateur.Artifact, path: Path, target: str = "host", kind: Any = None) -> Path:
    """The same plan with weights that are not coded."""
    plan = artifact.graph.clone()
    for op in plan.operators:
        for name in ("streamed", "streamed_offset", "stored"):
            op.attributes.pop(name, None)
    return secateur.compile(plan, path, target, pipeline="layout,memory", kind=kind).path


@pytest.fixture(scope="module")
def streamed(tmp_path_factory: pytest.TempPathFactory) -> secateur.Artifact:
    return secateur.compile(graph(), tmp_path_factory.mktemp("streamed") / "streamed.so", limits=kept(0))


@pytest.mark.parametrize("threads", [1, 3])
def test_the_answer_is_the_same_to_the_bit_in_every_run_and_state(
    streamed: secateur.Artifact, tmp_path: Path, threads: int
) -> None:
    plain = as_it_is(streamed, tmp_path / "plain.so")
    with load(plain) as session:
        expected = session.run({"x": image()})["z"]
    with load(streamed.path, threads) as first, load(streamed.path, threads) as second:
        for session in (first, second, first):
            np.testing.assert_array_equal(session.run({"x": image()})["z"], expected)
        times = first.profile({"x": image()})
    assert [row.ns > 0 for row in times] == [True] * len(times)


def test_memory_holds_one_layers_weights(streamed: secateur.Artifact, tmp_path: Path) -> None:
    manifest = read_manifest(streamed.path)
    with load(as_it_is(streamed, tmp_path / "plain.so")) as session:
        plain = session.manifest
    row = manifest["streamed"]
    assert (row["layers"], row["bytes"]) == (2, SMALLER + LARGER)
    assert manifest["weights_bytes"] == 0
    assert manifest["coded_bytes"] == row["coded_bytes"] < (SMALLER + LARGER) // 2
    assert LARGER < row["region_bytes"] < LARGER + (24 << 10)
    assert plain["weights_bytes"] == SMALLER + LARGER
    grown = manifest["arena_bytes"] - plain["arena_bytes"]
    assert LARGER < grown <= row["region_bytes"]
    assert "weights" in {r.name for r in arena_report(streamed.graph).ranges}


def test_a_callers_arena_suffices_to_the_byte(streamed: secateur.Artifact) -> None:
    library = Library(streamed.path)
    bytes, guard = library.secateur_arena_bytes(1), 4096
    assert bytes == read_manifest(streamed.path)["arena_bytes"]
    memory = np.full(bytes + 64 + guard, 0x5A, np.uint8)
    begin = -memory.ctypes.data % 64
    options = OptionsStruct(
        size=ctypes.sizeof(OptionsStruct), arena=memory.ctypes.data + begin, arena_bytes=bytes
    )
    state, x, z = ctypes.c_void_p(), image(), np.empty((1, 64, 8, 8), np.float32)
    assert library.secateur_create(ctypes.byref(options), ctypes.byref(state)) == 0
    inputs, outputs = (ctypes.c_void_p * 1)(x.ctypes.data), (ctypes.c_void_p * 1)(z.ctypes.data)
    assert library.secateur_run(state, inputs, outputs) == 0
    library.secateur_free(state)
    library.close()
    assert (memory[begin + bytes :] == 0x5A).all()
    assert (memory[:begin] == 0x5A).all()
    with load(streamed.path) as session:
        np.testing.assert_array_equal(session.run({"x": x})["z"], z)


def test_what_fits_is_kept(tmp_path: Path) -> None:
    """Of two layers the one is kept that takes longer to decode."""
    for limit, held, left in ((LARGER, LARGER, SMALLER), (LARGER - 1, SMALLER, LARGER)):
        secateur.compile(graph(), tmp_path / "some.so", limits=kept(limit))
        manifest = read_manifest(tmp_path / "some.so")
        assert (manifest["weights_bytes"], manifest["streamed"]["bytes"]) == (held, left)
    secateur.compile(graph(), tmp_path / "all.so", limits=kept(SMALLER + LARGER))
    manifest = read_manifest(tmp_path / "all.so")
    assert (manifest["weights_bytes"], "streamed" in manifest) == (SMALLER + LARGER, False)


def test_a_damaged_stream_is_an_error_of_each_run(streamed: secateur.Artifact, tmp_path: Path) -> None:
    data = bytearray(streamed.path.read_bytes())
    rows = elf.sections(memoryview(data))
    place = rows[".rodata"]
    stream = encode_first(streamed)
    at = data.find(stream, place.offset)
    assert at >= 0
    data[at + len(stream) // 2] ^= 4
    end = data.find(SEAL_MAGIC) + len(SEAL_MAGIC)
    data[end : end + SEAL_FIELDS.size] = bytes(SEAL_FIELDS.size)
    path = tmp_path / "damaged.so"
    path.write_bytes(data)
    seal(path)
    for threads in (1, 3):
        with load(path, threads) as session:
            for _ in range(2):
                with pytest.raises(SessionError, match="coded weights are damaged"):
                    session.run({"x": image()})


def encode_first(streamed: secateur.Artifact) -> bytes:
    """The stream of the first layer's weights, as its kernel reads them."""
    op = next(op for op in streamed.graph.operators if "streamed" in op.attributes)
    row = find("host")
    arrays = [a.array for a in PRIMITIVES.find(op).arguments(op, row) if isinstance(a, Constant)]
    return encode(max(arrays, key=lambda array: array.nbytes), "fast")


def test_what_does_not_go_together_is_refused() -> None:
    with pytest.raises(SecateurError, match=r"jetson-nano: weights cannot be decoded layer by layer"):
        secateur.compile(graph(), "x.so", "jetson-nano", limits=secateur.Limits(weights_memory=0))
    with pytest.raises(SecateurError, match="sqnr and kept cannot both have a limit"):
        secateur.compile(graph(), "x.so", limits=secateur.Limits(weights_memory=0, min_sqnr=90))
    with pytest.raises(SecateurError, match="name their codec"):
        secateur.compile(graph(), "x.so", pipeline="canonicalize,fuse,select{kept=0},layout,memory")
    with pytest.raises(SecateurError, match="weights_memory must be a number from 0 on"):
        secateur.Limits(weights_memory=-1)
    assert not Path("x.so").exists()


def test_edited_decisions_are_checked(streamed: secateur.Artifact, tmp_path: Path) -> None:
    small = streamed.graph.clone()
    for op in small.operators:
        if "streamed" in op.attributes:
            op.attributes["streamed"] -= 64
    with pytest.raises(SecateurError, match="constants are decoded in"):
        secateur.compile(small, tmp_path / "x.so", pipeline="layout,memory")
    over = streamed.graph.clone()
    first = next(op for op in over.operators if "streamed" in op.attributes)
    first.attributes["streamed_offset"] = first["offset"][0]
    with pytest.raises(VerifyError, match="its region for constants overlaps its result"):
        check_placement(over)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("target", "emulator"),
    sampled_rows(
        [
            ("rpi4", ["qemu-aarch64", "-cpu", "cortex-a72"]),
            ("armv7-a+neon", ["qemu-arm", "-cpu", "cortex-a7"]),
        ],
        lambda target, _: target == "rpi4",
    ),
)
def test_arm_decodes_layer_by_layer(tmp_path: Path, target: str, emulator: list[str]) -> None:
    if shutil.which(emulator[0]) is None:
        pytest.skip(f"{emulator[0]} is not installed: apt-get install qemu-user")
    artifact = secateur.compile(graph(), tmp_path / "streamed", target, limits=kept(0, target), kind="dir")
    plain = as_it_is(artifact, tmp_path / "plain", target, "dir")
    np.save(tmp_path / "x.npy", image())
    found = []
    for folder in (artifact.path, plain):
        for threads in ("1", "2"):
            output = tmp_path / "z.npy"
            files = ["--input", str(tmp_path / "x.npy"), "--output", str(output)]
            command = [*emulator, str(folder / "bench"), *files, "--threads", threads, "--iterations", "1"]
            done = subprocess.run([*command, "--json"], capture_output=True, text=True, timeout=120)
            assert done.returncode == 0, done.stderr
            assert json.loads(done.stdout)["operators"]
            found.append(np.load(output))
    for other in found[1:]:
        np.testing.assert_array_equal(other, found[0])
