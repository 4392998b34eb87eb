"""Small networks compiled for GPUs, whose kernels the emulator knows."""

from __future__ import annotations

from contextlib import nullcontext
from pathlib import Path

import numpy as np

import secateur
from secateur import Fp16, Int8, Watch
from secateur.ir.graph import Graph
from secateur.ir.noise import noise
from tests.passes.texts import body, build

from ...simt.emulator import llvm_alone, load_dumped

TARGET = "cuda-sm_75"
FLOATS = body(
    "tensor<1x3x9x7xf32>",
    "%w = const : tensor<5x3x3x3xf32> %y = nn.conv(%x, %w) {SAME, epilogue = [relu]} : tensor<1x5x9x7xf32> "
    '%s = nn.softmax(%y) {axis = 1} : tensor<1x5x9x7xf32> return %s as "s", %y as "y"',
)


def compiled(
    model: Graph | Path,
    folder: Path,
    quantize: Int8 | None = None,
    precision: Fp16 | None = None,
    target: str = TARGET,
    cubin: bool = False,
) -> secateur.Artifact:
    """The model's artifact; where its code is finished, with all of its texts beside it."""
    with nullcontext() if cubin else llvm_alone():
        made = secateur.compile(
            model,
            folder / "m.so",
            target,
            quantize=quantize,
            precision=precision,
            cubin=cubin,
            watch=Watch(dump_ir=folder / "ir"),
        )
    load_dumped(folder / "ir" / "kernels")
    return made


def inputs() -> dict[str, np.ndarray]:
    """Of `FLOATS`."""
    return noise(build(FLOATS))
