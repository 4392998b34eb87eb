"""NVIDIA's assembler on our PTX, where it is installed (extra `cuda`): what kernels take of a GPU."""

from __future__ import annotations

import importlib.util
import re
import subprocess
from dataclasses import dataclass, replace
from itertools import product
from pathlib import Path
from typing import Any

import pytest

from secateur.codegen.backends.cuda.costs import GpuCosts
from secateur.codegen.backends.cuda.implicit_gemm import GEMM
from secateur.codegen.backends.cuda.implicit_gemm_kernel import GemmSpec
from secateur.codegen.backends.cuda.matrix_tile import MatrixTile
from secateur.codegen.backends.cuda.primitives import PRIMITIVES
from secateur.codegen.backends.cuda.ptx.modules import build_module, ptx_head
from secateur.codegen.backends.cuda.split_gemm import parts_kernel, sum_kernel
from secateur.codegen.backends.cuda.tile import Tile
from secateur.codegen.backends.cuda.winograd.fused_kernels import kernel_of
from secateur.codegen.backends.cuda.winograd.fused_matrix_tile import MatrixFusedTile
from secateur.codegen.backends.cuda.winograd.fused_schedules import candidates
from secateur.codegen.backends.cuda.winograd.fused_tile import FusedTile
from secateur.codegen.backends.cuda.winograd.layer import Layer
from secateur.codegen.backends.cuda.winograd.operands import layer_of
from secateur.codegen.kernel import Kernel
from secateur.codegen.primitives.chosen import chosen_as
from secateur.codegen.primitives.conv.int8_spec import LinearSpec
from secateur.codegen.rounding import up
from secateur.codegen.targets.rows import GPUS
from secateur.codegen.targets.target import Target
from secateur.ir.graph import Operator

from ....sampled import sampled_rows, whole
from ...linear_harness import conv_case
from ...primitives.conv.test_linear_winograd import layer

TARGETS = ("jetson-nano", "jetson-tx2", "cuda-sm_61", "jetson-xavier", "jetson-orin")
MOST_REGISTERS = 168  # of a thread, so that a multiprocessor of 65536 holds three blocks of 128
LAYERS = {  # of ResNet: channels, filters, extent, kernel
    "first of a stage": (64, 64, 56, 3),
    "deep": (256, 256, 14, 3),
    "pointwise": (256, 1024, 14, 1),
}

DEEP = LinearSpec(1, 512, 7, 7, 512, (3, 3), pads=(1,) * 4, in_layout="NCHW16c", out_layout="NCHW16c")
WORDS_MULTIPLIED = {
    "dp4a": 1,
    "mma.sync.aligned.m16n8k16": 16,
    "mma.sync.aligned.m16n8k32": 32,
    "wmma.mma.sync": 32,
}  # a thread's
WASTE = 1.1  # times the fewest products


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


def kernels(op: Operator, target: Target, name: str) -> list[Kernel]:
    """Of the fastest choice of a primitive by the model."""
    best = min(
        (c for c in GpuCosts(target).choices(op) if c.primitive == name), key=lambda choice: choice.seconds
    )
    primitive = chosen_as(op, best)
    return [stage.kernel for stage in PRIMITIVES.find(primitive).stages(primitive, target)]


def direct(name: str) -> Operator:
    channels, filters, extent, kernel = LAYERS[name]
    pads = (kernel // 2,) * 4
    op, _ = conv_case(1, (1, channels, extent, extent), filters, (kernel, kernel), pads=pads, zero=3)
    return op


def built(kernel: Kernel, target: Target, folder: Path) -> tuple[Report, int]:
    """What the assembler says, and how many dot products of four bytes its threads compute."""
    module = build_module(kernel, "kernel", target)
    report = assembled(ptx_head(target.cuda.architecture) + module.code.decode(), target, folder)
    text, steps = module.code.decode(), getattr(kernel.spec, "steps", 0)
    steps = -(-steps // getattr(getattr(kernel.spec, "tile", None), "splits", 1))
    words = sum(words * text.count(name) for name, words in WORDS_MULTIPLIED.items())
    return report, words * steps * kernel.tasks * kernel.threads


def executed(kernel: Kernel, written: int) -> int:
    """Of matrix instructions, which may be written out for several steps, or left out where no pixel is."""
    spec: Any = kernel.spec
    assert spec.tile.splits == 1
    pixels = spec.conv.batch * spec.conv.pixels
    words = spec.steps * spec.tile.blocks * 4 * spec.conv.filters
    assert written % (words * up(pixels, spec.tile.pixels)) == 0
    return int(words * up(pixels, spec.tile.columns))


@pytest.mark.parametrize("layer", LAYERS)
@pytest.mark.parametrize("name", TARGETS)
def test_products_spill_nothing_and_take_what_the_model_says(name: str, layer: str, tmp_path: Path) -> None:
    target, op = GPUS[name], direct(layer)
    assert min(GpuCosts(target).choices(op), key=lambda c: c.seconds).primitive == "implicit_gemm"
    kernel, *sums = kernels(op, target, "implicit_gemm")
    report, products = built(kernel, target, tmp_path)
    assert not any(built(another, target, tmp_path)[0].spilled for another in sums)
    tile: Tile = kernel.spec.tile  # type: ignore[attr-defined]
    assert report.spilled == 0
    assert report.registers <= tile.registers
    assert report.shared == tile.shared_bytes
    if isinstance(tile, MatrixTile):
        products = executed(kernel, products)
    if target.cuda.architecture.dot:
        assert op.macs / 4 <= products <= WASTE * op.macs / 4


@pytest.mark.parametrize("name", TARGETS)
def test_parts_of_sums_spill_nothing(name: str, tmp_path: Path) -> None:
    """The schedule that the model has where there are more parts than it would choose."""
    target = GPUS[name]
    whole = GEMM.tile(DEEP, target)
    assert whole is not None
    tile = replace(whole, splits=4)
    key = GemmSpec(DEEP, tile, 32, target.cuda.architecture.dot)
    report, _ = built(parts_kernel("gemm", key, 8), target, tmp_path)
    total, _ = built(sum_kernel("gemm", key), target, tmp_path)
    assert (report.spilled, total.spilled) == (0, 0)
    assert report.registers <= tile.registers
    assert report.shared == tile.shared_bytes
    assert total.registers <= 64


LAYERS_OF_WAYS = {  # channels and extent: first of a stage, and one with tiles that are not all there
    "winograd_staged": ((64, 56), (256, 14)),
    "winograd_fused": ((64, 56), (128, 28)),
}


WAYS = {
    "winograd_staged": ("cuda-sm_61", "jetson-tx2", "jetson-xavier", "jetson-orin"),
    "winograd_fused": ("cuda-sm_61", "jetson-xavier", "jetson-orin"),
}
SMALLER = {"winograd_staged": "jetson-tx2", "winograd_fused": "jetson-xavier"}
ROWS = [(way, name, tile) for way, names in WAYS.items() for name in names for tile in ((2, 2), (4, 4))]


def _stays(way: str, name: str, tile: tuple[int, int]) -> bool:
    """The larger tile, ten seconds to compile, for the newest GPU alone; the other for one more."""
    return name == "jetson-orin" if tile == (4, 4) else name == SMALLER[way]


@pytest.mark.examples
@pytest.mark.parametrize(("way", "name", "tile"), sampled_rows(ROWS, _stays), ids=str)
def test_winograd_spills_nothing(way: str, name: str, tile: tuple[int, int], tmp_path: Path) -> None:
    target = GPUS[name]
    for channels, extent in LAYERS_OF_WAYS[way][tile == (4, 4) and not whole() :]:
        op, _ = layer((1, channels, extent, extent), channels, tile, zero=3, residual=True)
        made = kernels(op, target, way)
        found = [built(kernel, target, tmp_path)[0] for kernel in made]
        assert not any(report.spilled for report in found)
        for kernel, report in zip(made, found, strict=True):
            schedule = getattr(kernel.spec, "tile", None)
            if isinstance(schedule, FusedTile):
                check_residence(report, schedule, kernel, target)
                continue
            most = schedule.registers if isinstance(schedule, Tile) else MOST_REGISTERS
            assert report.registers <= most


def check_residence(report: Report, schedule: FusedTile, kernel: Kernel, target: Target) -> None:
    """A multiprocessor holds as many blocks as the model assumed, or more."""
    architecture = target.cuda.architecture
    registers = up(max(report.registers, 1), 8)
    threads = up(kernel.threads, 128)
    assert report.shared == schedule.shared_bytes
    assert schedule.resident(architecture) <= architecture.resident(threads, registers, report.shared)


def ragged(tile: tuple[int, int], target: Target) -> Layer:
    """Some of its tiles leave the result."""
    return layer_of(layer((1, 128, 30, 30), 128, tile, zero=3, residual=True)[0], target)


def by_matrices() -> list[tuple[str, tuple[int, int], MatrixFusedTile]]:
    found = []
    for name, tile in product(("jetson-orin", "jetson-xavier"), ((2, 2), (4, 2), (4, 4))):
        target = GPUS[name]
        schedules = candidates(ragged(tile, target), target.cuda.architecture)
        found += [(name, tile, each) for each in schedules if isinstance(each, MatrixFusedTile)]
    return found


def _small(_: str, tile: tuple[int, int], schedule: MatrixFusedTile) -> bool:
    return tile == (2, 2) and schedule.tiles == 16 and schedule.filters == 64 and not schedule.warps % 8


@pytest.mark.parametrize(("name", "tile", "schedule"), sampled_rows(by_matrices(), _small), ids=str)
def test_every_schedule_by_matrix_instructions(
    name: str, tile: tuple[int, int], schedule: MatrixFusedTile, tmp_path: Path
) -> None:
    target = GPUS[name]
    kernel = kernel_of(ragged(tile, target), schedule)
    report, _ = built(kernel, target, tmp_path)
    assert report.spilled == 0
    check_residence(report, schedule, kernel, target)
