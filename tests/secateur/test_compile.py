"""The whole road: the digits network compiled for several machines, run, and held against the interpreter."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import secateur
from secateur import Watch
from secateur.ir.interpreter import run
from secateur.ir.parser import parse_graph
from secateur.model import read
from tests.sampled import sampled
from tests.shorter import shorter

MODEL = shorter("digits")
EMULATORS = {
    "armv8-a": ["qemu-aarch64", "-cpu", "cortex-a53"],
    "rpi4": ["qemu-aarch64", "-cpu", "cortex-a72"],
    "armv7-a+neon": ["qemu-arm", "-cpu", "cortex-a7"],
    "x86-64-v2": [],
    "x86-64-v3": [],
}
LIBC = {"libc.so.6", "libm.so.6", "libpthread.so.0", "ld-linux-x86-64.so.2"}
IMAGE = np.random.default_rng(3).standard_normal((1, 3, 32, 32), dtype=np.float32)


@pytest.fixture(scope="module")
def wanted() -> np.ndarray:
    return run(read(MODEL), {"image": IMAGE})["logits"]


@pytest.mark.slow  # the first link for a target builds its libc: minutes
@pytest.mark.parametrize("target", sampled(EMULATORS, EMULATORS.keys() - {"rpi4", "x86-64-v3"}))
def test_every_machine_gives_the_interpreters_answer(target: str, tmp_path: Path, wanted: np.ndarray) -> None:
    emulator = EMULATORS[target]
    if emulator and shutil.which(emulator[0]) is None:
        pytest.skip(f"{emulator[0]} is not installed: apt-get install qemu-user")
    folder = secateur.compile(MODEL, tmp_path / "out", target=target, kind="dir").path
    np.save(tmp_path / "image.npy", IMAGE)
    files = ["--input", str(tmp_path / "image.npy"), "--output", str(tmp_path / "logits.npy")]
    command = [*emulator, str(folder / "bench"), "--iterations", "1", "--threads", "2", *files]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    np.testing.assert_allclose(
        np.load(tmp_path / "logits.npy"), wanted, rtol=0, atol=1e-5 * np.abs(wanted).max()
    )


def test_the_same_model_and_options_give_the_same_bytes(tmp_path: Path) -> None:
    """In processes that hash, and so order sets of names, in another way."""
    alone = "from secateur.ir.support.unasked import do_without; do_without('torch')"  # which takes long
    call = f"{alone}; import secateur, sys; secateur.compile(*sys.argv[1:])"
    for seed in ("1", "2"):
        command = [sys.executable, "-c", call, str(MODEL), str(tmp_path / f"{seed}.so")]
        subprocess.run(command, env=os.environ | {"PYTHONHASHSEED": seed}, check=True)
    assert (tmp_path / "1.so").read_bytes() == (tmp_path / "2.so").read_bytes()


def test_an_artifact_needs_libc_alone(tmp_path: Path) -> None:
    path = secateur.compile(MODEL, tmp_path / "digits.so").path
    listed = subprocess.run(["readelf", "-d", str(path)], capture_output=True, text=True, check=True).stdout
    assert set(re.findall(r"NEEDED.*\[(.*)\]", listed)) <= LIBC


def test_threads_change_nothing(tmp_path: Path) -> None:
    path = secateur.compile(MODEL, tmp_path / "digits.so").path
    answers = []
    for threads in (1, 2, 3):
        with secateur.load(path, threads=threads) as session:
            answers.append(session.run({"image": IMAGE})["logits"])
    np.testing.assert_array_equal(answers[0], answers[1])
    np.testing.assert_array_equal(answers[0], answers[2])


def test_an_edited_plan_is_honoured(tmp_path: Path, wanted: np.ndarray) -> None:
    selected = secateur.compile(MODEL, tmp_path / "first.so", watch=Watch(dump_ir=tmp_path / "ir"))
    text = (tmp_path / "ir" / "03-select.sir").read_text()
    edited = re.sub(r'primitive = "winograd\d"', 'primitive = "direct"', text)
    (tmp_path / "ir" / "03-select.sir").write_text(edited)
    graph = read(tmp_path / "ir" / "03-select.sir")
    artifact = secateur.compile(graph, tmp_path / "second.so")
    kinds = {op.get("primitive") for op in artifact.graph.operators if op.name == "prim.conv"}
    assert (
        kinds
        == {"direct"}
        != {op.get("primitive") for op in selected.graph.operators if op.name == "prim.conv"}
    )
    with secateur.load(artifact.path) as session:
        np.testing.assert_allclose(session.run({"image": IMAGE})["logits"], wanted, rtol=0, atol=1e-4)


@pytest.mark.parametrize("dtype", ["i8", "u8"])
def test_a_function_of_a_byte_is_a_table_exact_to_the_bit(dtype: str, tmp_path: Path) -> None:
    graph = parse_graph(f"""graph @table(%q: tensor<16x16x{dtype}, quant<0.05:3>>) {{
      %d = q.dequantize(%q) : tensor<16x16xf32>
      %m = nn.gelu(%d) : tensor<16x16xf32>
      %y = q.quantize(%m) {{scales = [0.1], zero_points = [9], dtype = u8}} : tensor<16x16xu8, quant<0.1:9>>
      return %y as "y"
    }}""")
    every_byte = np.arange(256, dtype=np.uint8).reshape(16, 16).view("int8" if dtype == "i8" else "uint8")
    artifact = secateur.compile(graph, tmp_path / "table.so")
    assert [op.name for op in artifact.graph.operators] == ["nn.constant", "prim.table"]
    with secateur.load(artifact.path) as session:
        np.testing.assert_array_equal(session.run({"q": every_byte})["y"], run(graph, {"q": every_byte})["y"])


def test_a_missing_file_is_one_clear_error(tmp_path: Path) -> None:
    with pytest.raises(secateur.ModelError, match=r"nowhere\.onnx: no such file"):
        secateur.compile(tmp_path / "nowhere.onnx")


def test_an_unknown_target_names_the_nearest() -> None:
    with pytest.raises(secateur.SecateurError, match=r"unknown target 'rpi44'; did you mean 'rpi4'\?"):
        secateur.compile(MODEL, target="rpi44")
