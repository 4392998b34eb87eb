"""A shortened digits network in 8 bits, convolutions as Winograd ones, run by ARM under qemu-user."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest

import secateur
from secateur.ir.interpreter import run
from secateur.model import read
from tests.codegen.cross_harness import EMULATORS
from tests.sampled import sampled
from tests.secateur.test_quantize import IMAGES, calibration
from tests.shorter import shorter


def answer(command: list[str], image: np.ndarray, folder: Path) -> np.ndarray:
    """The logits that the bench program `command` computes for one image."""
    np.save(folder / "image.npy", image)
    files = ["--input", str(folder / "image.npy"), "--output", str(folder / "logits.npy")]
    done = subprocess.run(
        [*command, "--iterations", "1", "--threads", "2", *files], capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr
    return np.asarray(np.load(folder / "logits.npy"))


@pytest.mark.slow  # the first link for a target builds its libc: minutes
@pytest.mark.parametrize("target", sampled(EMULATORS, ["armv8.2-a+dotprod"]))
def test_every_bit_is_the_interpreters(target: str, tmp_path: Path) -> None:
    emulator = EMULATORS[target]
    if shutil.which(emulator[0]) is None:
        pytest.skip(f"{emulator[0]} is not installed: apt-get install qemu-user")
    artifact = secateur.compile(
        shorter("digits"),
        tmp_path / "digits",
        target,
        quantize=secateur.Int8(calibration(4), winograd="4x2"),
        kind="dir",
        watch=secateur.Watch(dump_ir=tmp_path / "ir"),
    )
    quantized = read(tmp_path / "ir" / "03-quantize.sir")
    assert [op.name for op in quantized.operators].count("q.winograd_conv") >= 4
    assert [op.get("primitive") for op in artifact.graph.operators].count("linear_winograd") >= 4
    command = [*emulator, str(artifact.path / "bench")]
    for image in IMAGES[:2]:
        wanted = run(quantized, {"image": image[None]})["logits"]
        np.testing.assert_array_equal(answer(command, image[None], tmp_path), wanted)
