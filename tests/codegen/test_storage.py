"""What selection foresees of coded constants is what an artifact then holds and decodes."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from secateur.codegen.backends.cpu.costs import AnalyticCosts
from secateur.codegen.backends.cpu.primitives import PRIMITIVES
from secateur.codegen.storage import CodedConstants
from secateur.codegen.targets.find import find
from secateur.codegen.weights.decoding import most_room, room_of_streams, streams_seconds
from secateur.codegen.weights.fetching import Region, fetch
from secateur.ir.parser import parse_graph
from secateur.passes.select.storing import Streamed

TEXT = """
graph @one(%x: tensor<1x32x8x8xf32>) {
  %w = nn.constant() {value = dense_resource<"w">} : tensor<64x32x3x3xf32>
  %y = nn.conv(%x, %w) {strides = [1, 1], pads = [1, 1, 1, 1], dilations = [1, 1]} : tensor<1x64x8x8xf32>
  return %y as "y"
}
"""
RNG = np.random.default_rng(3)
WEIGHTS = np.round(RNG.standard_normal((64, 32, 3, 3)) * np.geomspace(1, 20, 32)[:, None, None]).astype(
    np.float32
)


@pytest.mark.parametrize("name", ["rpi3", "rpi4", "x86-64-v3"])
def test_a_layer_decoded_in_each_run_takes_what_was_foreseen(name: str) -> None:
    target, graph = find(name), parse_graph(TEXT, {"w": WEIGHTS})
    op = next(op for op in graph.operators if op.name == "nn.conv")
    choice = next(c for c in AnalyticCosts(target).choices(op) if c.primitive == "direct")
    storage = CodedConstants(target, PRIMITIVES)
    size = storage.region_bytes(op, choice, "best")
    region = Region(0, size, "best")
    region.place(WEIGHTS)
    filled = fetch(region, target)
    assert room_of_streams(filled.streams) <= filled.room <= most_room("best")
    if name.startswith("rpi"):
        seconds = storage.seconds(op, replace(choice, streamed=size), "best")
        assert streams_seconds(filled.streams, filled.arrays, target) <= WEIGHTS.nbytes / 90e6
        assert seconds <= WEIGHTS.nbytes / 90e6
    coded = sum(map(len, filled.streams))
    assert abs(coded - storage.coded_bytes(op, choice, "best")) <= 0.05 * coded + 16


def test_a_run_decodes_what_kernels_read_where_a_file_would_hold_filters() -> None:
    target, graph = find("rpi4"), parse_graph(TEXT, {"w": WEIGHTS})
    op = next(op for op in graph.operators if op.name == "nn.conv")
    costs, storage = AnalyticCosts(target), CodedConstants(target, PRIMITIVES)
    choice = next(c for c in costs.choices(op) if c.primitive == "winograd6")
    (run,) = Streamed(costs, storage, "small").coded(op, choice)
    assert run.seconds - choice.seconds > 1.5 * storage.seconds(op, choice, "small")
