"""Costs measured on this machine."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import secateur
from secateur.codegen.backends.cpu.costs import AnalyticCosts
from secateur.codegen.targets.host import host
from secateur.costs import tuning
from secateur.costs.measured import TableCosts, with_times
from secateur.costs.network import analytic_table, profiled
from secateur.costs.samples import Samples
from secateur.ir.graph import Graph
from secateur.ir.interpreter import run
from secateur.ir.parser import parse_graph

TEXT = """
graph @g(%x: tensor<1x32x12x12xf32>) {
  %w = nn.constant() {value = dense_resource<"w">} : tensor<32x32x3x3xf32>
  %y = nn.conv(%x, %w) {strides = [1, 1], pads = [1, 1, 1, 1], dilations = [1, 1]} : tensor<1x32x12x12xf32>
  return %y as "y"
}
"""


def network() -> Graph:
    weights = np.random.default_rng(0).normal(size=(32, 32, 3, 3)).astype(np.float32)
    return parse_graph(TEXT, {"w": weights})


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An empty cost cache beside the shared kernels."""
    monkeypatch.setattr(Samples, "_path", lambda _, symbol: tmp_path / "costs" / f"{symbol}.json")


def test_several_primitives_are_timed_once() -> None:
    (op,) = [op for op in network().operators if op.name == "nn.conv"]
    first = tuning.MeasuredCosts(host()).choices(op)
    assert len({c.primitive for c in first}) > 1
    assert all(0 < c.seconds < 1 for c in first)
    assert tuning.MeasuredCosts(host()).choices(op) == first


def test_choices_keep_their_noise_when_they_are_timed() -> None:
    (op,) = [op for op in network().operators if op.name == "nn.conv"]
    estimated = AnalyticCosts(host()).choices(op)
    noises = {choice.primitive: choice.noise for choice in estimated}
    assert noises["direct"] == noises["im2row"] == 0
    assert 0 < noises["winograd4"] < noises["winograd6"] < 1e-10
    measured = tuning.MeasuredCosts(host()).choices(op)
    table = TableCosts(analytic_table(profiled(network(), host())), host()).choices(op)
    for found in (measured, table, with_times(estimated, [1.0] * len(estimated))):
        assert [(c.primitive, c.noise) for c in found] == [(c.primitive, c.noise) for c in estimated]


def test_a_damaged_entry_is_measured_again(tmp_path: Path) -> None:
    (op,) = [op for op in network().operators if op.name == "nn.conv"]
    before = tuning.MeasuredCosts(host()).choices(op)
    for entry in (tmp_path / "costs").iterdir():
        entry.write_text("{")
    after = tuning.MeasuredCosts(host()).choices(op)
    assert [c.primitive for c in after] == [c.primitive for c in before]


def test_a_tuned_network_gives_the_same_answer(tmp_path: Path) -> None:
    graph = network()
    artifact = secateur.compile(graph, tmp_path / "tuned.so", tune=True)
    x = np.random.default_rng(1).normal(size=(1, 32, 12, 12)).astype(np.float32)
    with secateur.load(artifact.path) as session:
        wanted = run(graph, {"x": x})["y"]
        np.testing.assert_allclose(
            session.run({"x": x})["y"], wanted, rtol=0, atol=1e-5 * np.abs(wanted).max()
        )


def test_another_machine_cannot_be_measured_here(tmp_path: Path) -> None:
    with pytest.raises(secateur.SecateurError, match="target rpi4 is another"):
        secateur.compile(network(), tmp_path / "never.so", target="rpi4", tune=True)
    assert list(tmp_path.glob("never*")) == []
