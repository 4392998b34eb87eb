"""NVIDIA's assembler on our PTX, where it is installed (extra `cuda`): what kernels take of a GPU."""

from __future__ import annotations

import importlib.util
import re
import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest

from secateur.codegen.backends.cuda.costs import GpuCosts
from secateur.codegen.backends.cuda.modules import build_module, ptx_head
from secateur.codegen.backends.cuda.primitives import PRIMITIVES
from secateur.codegen.backends.cuda.tile import Tile
from secateur.codegen.kernel import Kernel
from secateur.codegen.primitives.chosen import chosen_as
from secateur.codegen.targets.rows import GPUS
from secateur.codegen.targets.target import Target
from secateur.ir.graph import Operator

from ...linear_harness import conv_case

TARGETS = ("jetson-nano", "jetson-tx2", "cuda-sm_61", "jetson-xavier", "jetson-orin")
LAYERS = {  # of ResNet: channels, filters, extent, kernel
    "first of a stage": (64, 64, 56, 3),
    "deep": (256, 256, 14, 3),
    "pointwise": (256, 1024, 14, 1),
}

WASTE = {"first of a stage": 1.0, "deep": 1.31, "pointwise": 1.31}  # 196 pixels fill whole tiles badly


def ptxas() -> Path | None:
    found = importlib.util.find_spec("nvidia.cuda_nvcc") if importlib.util.find_spec("nvidia") else None
    folders = list(found.submodule_search_locations or ()) if found else []
    path = Path(folders[0]) / "bin" / "ptxas" if folders else None
    return path if path and path.is_file() else None


ASSEMBLER = ptxas()
pytestmark = pytest.mark.skipif(ASSEMBLER is None, reason="needs ptxas: pip install -e '.[cuda]'")


@dataclass(frozen=True)
class Report:
    registers: int
    spilled: int
    shared: int


def assembled(ptx: str, target: Target, folder: Path) -> Report:
    """What ptxas says of a PTX of one kernel."""
    source = folder / "kernel.ptx"
    source.write_text(ptx)
    command = [str(ASSEMBLER), "-v", f"-arch={target.cuda.architecture.name}", str(source)]
    done = subprocess.run([*command, "-o", str(folder / "kernel.cubin")], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    numbers = [
        re.search(p, done.stderr) for p in (r"Used (\d+) reg", r"(\d+) bytes spill", r"(\d+) bytes smem")
    ]
    return Report(*(int(n[1]) if n else 0 for n in numbers))


def chosen(name: str, target: Target) -> tuple[Operator, Kernel]:
    """The operator of a layer under the fastest choice by the model, and its kernel."""
    channels, filters, extent, kernel = LAYERS[name]
    pads = (kernel // 2,) * 4
    op, _ = conv_case(1, (1, channels, extent, extent), filters, (kernel, kernel), pads=pads, zero=3)
    best = min(GpuCosts(target).choices(op), key=lambda choice: choice.seconds)
    assert best.primitive == "implicit_gemm"
    primitive = chosen_as(op, best)
    return op, PRIMITIVES.find(primitive).kernel(primitive, target)


@pytest.mark.parametrize("layer", LAYERS)
@pytest.mark.parametrize("name", TARGETS)
def test_products_spill_nothing_and_take_what_the_model_says(name: str, layer: str, tmp_path: Path) -> None:
    target = GPUS[name]
    op, kernel = chosen(layer, target)
    module = build_module(kernel, "kernel", target)
    report = assembled(ptx_head(target.cuda.architecture) + module.code.decode(), target, tmp_path)
    tile: Tile = kernel.spec.tile  # type: ignore[attr-defined]
    assert report.spilled == 0
    assert report.registers <= tile.registers
    assert report.shared == tile.shared_bytes
    if target.cuda.architecture.dot:
        steps = kernel.spec.steps  # type: ignore[attr-defined]
        products = module.code.decode().count("dp4a") * steps * kernel.tasks * kernel.threads
        assert products <= WASTE[layer] * op.macs / 4
