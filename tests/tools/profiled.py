"""A network of a few kernels, and what a bundle of it would print, for tests of cost tables."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from secateur.codegen.targets.find import find
from secateur.costs.bundle import header_of
from secateur.costs.candidates import Network
from secateur.costs.measure import REPEATS
from secateur.costs.network import profiled
from secateur.ir.graph import Graph
from secateur.ir.parser import parse_graph

TEXT = """graph @small(%x: tensor<1x8x12x12xf32>) {
  %w = nn.constant() {value = dense_resource<"w">} : tensor<8x8x3x3xf32>
  %y = nn.conv(%x, %w) {strides = [1, 1], pads = [1, 1, 1, 1], dilations = [1, 1]} : tensor<1x8x12x12xf32>
  return %y as "y"
}
"""
ELSEWHERE = "rpi4"


def graph() -> Graph:
    weights = np.random.default_rng(0).normal(size=(8, 8, 3, 3)).astype(np.float32)
    return parse_graph(TEXT, {"w": weights})


def network(target: str = ELSEWHERE) -> Network:
    return profiled(graph(), find(target))


def results(asked: Network, change: Callable[[list[Any]], object] = lambda _: None) -> bytes:
    """The lines that a board prints, each kernel as fast as its estimate, after `change` to them."""
    fill = {"label": "fill", "operator": "fill", "ns": 5, "macs": 0}
    rows = [{"label": c.symbol, "ns": max(1, round(c.estimate * 1e9)), "macs": 0} for c in asked.kernels]
    run = {"model": "part 1", "operators": [fill, *rows]}
    lines = [header_of(asked) | {"runs": REPEATS}, *(json.loads(json.dumps(run)) for _ in range(REPEATS))]
    lines.append({"end": True})
    change(lines)
    return "".join(f"{json.dumps(line)}\n" for line in lines).encode()


def written(path: Path, data: bytes) -> Path:
    path.write_bytes(data)
    return path
