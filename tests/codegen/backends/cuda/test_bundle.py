"""Bundles for GPUs: programs that time kernels, run on a board's processor with the stand-in for a driver."""

from __future__ import annotations

import os
import subprocess
import tarfile
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import pytest

import secateur
from secateur.codegen.program import Module
from secateur.codegen.targets.find import find
from secateur.codegen.targets.target import Target
from secateur.costs.bundle import write_bundle
from secateur.costs.candidates import Candidate, Network, network_of
from secateur.costs.measure import REPEATS
from secateur.costs.measured import TableCosts
from secateur.costs.network import board_table, profiled
from secateur.costs.table import Table, write_table
from secateur.costs.timing import TimingProgram
from secateur.ir.graph import Graph
from secateur.ir.noise import noise
from secateur.passes.framework.manager import PassManager
from secateur.passes.quantize.calibrate import CalibrationData
from secateur.passes.quantize.quantize import Quantize
from tests.passes.texts import build

from ...simt.boards import build_driver
from .test_boards import ZIG, aarch64

SAFELY: Any = {"filter": "data"} if hasattr(tarfile, "data_filter") else {}
"""Python 3.11.2, that of Debian 12, has no filters."""
SAME = (
    "graph @same(%x: tensor<1x16x6x6xf32>) { %w = const : tensor<16x16x3x3xf32> "
    '%y = nn.conv(%x, %w) {SAME, epilogue = [relu]} : tensor<1x16x6x6xf32> return %y as "y" }'
)
TWICE = (
    "graph @twice(%x: tensor<1x16x6x6xf32>) { %w = const : tensor<16x16x3x3xf32> "
    "%v = const : tensor<16x16x3x3xf32> "
    "%r = nn.conv(%x, %w) {SAME, epilogue = [relu]} : tensor<1x16x6x6xf32> "
    '%y = nn.conv(%r, %v) {SAME, epilogue = [relu]} : tensor<1x16x6x6xf32> return %y as "y" }'
)


def silent(_what: str, _done: int, _total: int) -> None: ...


def modules_of(candidates: Iterable[Candidate], target: Target) -> tuple[Module, ...]:
    """All kernels of a bundle, that which fills among them."""
    timed = TimingProgram(target)
    for candidate in candidates:
        timed.add(candidate, candidate.stages())
    return timed.program("all").modules


def run_on_board(bundle: Path, network: Network, compiler: Sequence[str], emulator: Sequence[str]) -> bytes:
    """What run.sh prints where the driver is the stand-in."""
    board, target = bundle.parent / "board", network.target
    with tarfile.open(bundle) as tar:
        tar.extractall(board, **SAFELY)
    build_driver(board, modules_of(network.kernels, target), target.host.triple, compiler)
    environment = {"PATH": os.environ["PATH"], "LD_LIBRARY_PATH": str(board), "RUN": " ".join(emulator)}
    done = subprocess.run(["sh", "./run.sh"], cwd=board, env=environment, capture_output=True, timeout=600)
    assert done.returncode == 0, done.stderr
    return done.stdout


def measured(network: Network, folder: Path, compiler: Sequence[str], emulator: Sequence[str] = ()) -> Table:
    made = write_bundle(network, folder / "b.tar", silent)
    assert (made.kernels, made.left_out, made.parts) == (len(network.kernels), 0, 1)
    (folder / "results.json").write_bytes(run_on_board(folder / "b.tar", network, compiler, emulator))
    return board_table(network, folder / "results.json", "a board of ours")


def check_times(table: Table, network: Network) -> None:
    """A launch takes a millisecond there."""
    launches = {c.symbol: len(c.kernels) for c in network.kernels}
    assert {e.symbol: e.timing.seconds for e in table.entries} == pytest.approx(
        {symbol: 1e-3 * count for symbol, count in launches.items()}
    )
    assert {e.timing.repeats for e in table.entries} == {REPEATS}
    assert set(launches.values()) == {1, 3}  # Winograd by stages is three kernels, one after another


def test_a_bundle_times_every_kernel_on_its_board(tmp_path: Path) -> None:
    emulator, graph, target = aarch64(), build(SAME), find("jetson-nano")
    network = profiled(graph, target)
    table = measured(network, tmp_path, ZIG, emulator)
    check_times(table, network)
    (conv,) = (op for op in graph.operators if op.name == "nn.conv")
    costs = TableCosts(table, target)
    assert {c.seconds for c in costs.choices(conv)} == {1e-3, 3e-3}
    write_table(table, tmp_path / "costs.json")
    made = secateur.compile(build(SAME), tmp_path / "m.so", "jetson-nano", costs=tmp_path / "costs.json")
    (primitive,) = (op["primitive"] for op in made.graph.operators if op.name == "prim.conv")
    assert primitive == "naive"  # a launch, and no conversions of layouts beside it


def in_bytes() -> Graph:
    graph = build(TWICE)
    step = Quantize(layers="all", winograd="2", data=CalibrationData([noise(graph)]))
    return PassManager((step,)).run(graph).graph


def test_kernels_in_bytes_find_what_is_between_them_in_the_workspace(tmp_path: Path) -> None:
    """In the program, whose weights are numbers of its own, no kernel leaves its memory."""
    network = network_of(in_bytes(), find("cuda-sm_75"))
    kinds = {c.chosen["primitive"] for c in network.kernels}
    assert {"winograd_staged", "winograd_fused"} <= kinds
    check_times(measured(network, tmp_path, ["gcc"]), network)


def test_a_bundle_says_what_a_gpu_needs(tmp_path: Path) -> None:
    network = profiled(build(SAME), find("jetson-nano"))
    few = Network(network.name, network.target, network.kernels[:1], 0)
    write_bundle(few, tmp_path / "b.tar", silent)
    with tarfile.open(tmp_path / "b.tar") as tar:
        readme, script = (tar.extractfile(name) for name in ("README.txt", "run.sh"))
        assert readme is not None
        assert script is not None
        text, commands = readme.read().decode(), script.read().decode()
    assert "that driver (libcuda.so.1) and libc" in text
    assert "sudo nvpmodel -m 0 && sudo jetson_clocks" in text
    assert "one thread" not in text
    assert "--warmup 5" in commands
