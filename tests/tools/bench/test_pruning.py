"""The comparison of pruning methods: its table, its clock, and methods that keep what they are asked for."""

from __future__ import annotations

import importlib.util
import itertools
import json
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch", reason="methods are compared where PyTorch is; make test-train installs it")

import secateur
from secateur.ir.channels import Group
from secateur.passes.prune.curves import Curve
from secateur.tools.bench.pruning import __main__ as comparison
from secateur.tools.bench.pruning import clock
from secateur.tools.bench.pruning.ask import Ask, macs
from secateur.tools.bench.pruning.fashion import MODEL
from secateur.tools.bench.pruning.knapsack import Knapsack
from secateur.tools.bench.pruning.methods import METHODS, Method
from secateur.tools.bench.pruning.rows import UNPRUNED, Row, as_markdown
from secateur.tools.bench.pruning.uniform import counts_of

PACKAGES = {"DepGraph": "torch_pruning", "onnxsim": "onnxsim"}


def test_the_table_has_a_line_for_each_method_and_the_mean_of_its_seeds() -> None:
    rows = [
        Row(UNPRUNED, "macs", 1, 0, 0, 0.94, 300, 1.0, 0.93),
        Row("ours", "time", 2, 3, 0, 0.93, 150, 2.04, 0.92),
        Row("ours", "time", 2, 3, 1, 0.95, 150, 2.04, 0.94),
        Row("ours", "macs", 1.5, 0, 0, 0.90, 200),
    ]
    assert as_markdown(rows).splitlines()[2:] == [
        "| unpruned |  | 1.00x | 1.00x | 0 | 94.00% | 0.00 | 93.00% | 1.00 |",
        "| ours | 1.5x macs | 1.50x |  | 0 | 90.00% | 4.00 |  |  |",
        "| ours | 2x time | 2.00x | 2.04x | 3 | 94.00% ± 1.41 | 0.00 | 93.00% | 1.00 |",
    ]


def test_rows_by_another_clock_are_chosen_or_timed_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Accuracies of networks that no clock chose stay."""
    rows = [
        Row(UNPRUNED, "macs", 1, 0, 0, 0.9, 9),
        Row("ours", "time", 2, 0, 0, 0.8, 4),
        Row("ours", "macs", 2.1, 3, 1, 0.7, 4),
    ]
    (tmp_path / "pruning.json").write_text(json.dumps({"rows": [asdict(row) for row in rows]}))
    (tmp_path / "trained").mkdir()
    (tmp_path / "trained/ours-macs-2.1-3-1.onnx").touch()
    monkeypatch.setattr(comparison, "times_faster", lambda network, *_: 1.0 if network == MODEL else 1.5)
    comparison.Comparison(tmp_path, None).time_again()
    monkeypatch.setattr(comparison, "times_faster", None)
    kept = comparison.Comparison(tmp_path, None)
    kept.time_again()
    assert [(row.accuracy, row.faster) for row in kept.rows] == [(0.9, 1.0), (0.7, 1.5)]


def _weights_alone(method: Method) -> bool:
    package = PACKAGES.get(method.name)
    return not method.images and (package is None or importlib.util.find_spec(package) is not None)


@pytest.mark.parametrize("method", [m for m in METHODS if _weights_alone(m)], ids=lambda m: m.name)
def test_a_method_keeps_the_limit(method: Method, tmp_path: Path) -> None:
    output = tmp_path / "pruned.onnx"
    method.make(MODEL, Ask(0.5, "macs", "rpi4"), output)
    assert macs(secateur.read(output)) <= 0.5 * macs(secateur.read(MODEL))


def test_what_a_pruned_network_lost_is_known_by_group(tmp_path: Path) -> None:
    output = tmp_path / "pruned.onnx"
    next(m for m in METHODS if m.name == "uniform L1").make(MODEL, Ask(0.5, "macs", "rpi4"), output)
    counts = counts_of(MODEL, output)
    assert counts
    assert len({round(count / 16) for count in counts.values()}) > 1


@pytest.mark.parametrize("step", [0.001, 0.04], ids=["fine", "coarse"])
def test_the_share_follows_the_clock(step: float, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Methods that make few networks and many are searched alike: the slowest that is fast enough stays."""
    timed: list[float] = []

    def make(_model: Path, ask: Ask, output: Path) -> None:
        output.write_text(str(round(ask.share / step) * step))

    def times_faster(draft: Path, *_: object) -> float:
        timed.append(float(draft.read_text()))
        return 0.5 / timed[-1] + 0.5  # twice as fast at a third

    monkeypatch.setattr(clock, "times_faster", times_faster)
    output = tmp_path / "pruned.onnx"
    found = clock.made_as_fast(make, MODEL, 2.0, None, output)
    slowest = max(k * step for k in range(1, 1000) if 0.5 / (k * step) + 0.5 >= 2.0)
    assert 2.0 <= found <= max(2.02, 0.5 / slowest + 0.5 + 1e-9)
    assert found == pytest.approx(0.5 / float(output.read_text()) + 0.5)
    assert len(timed) == len(set(timed))
    assert not list(tmp_path.glob("*.try*"))


def test_what_is_never_fast_enough_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(clock, "times_faster", lambda *_: 1.5)
    with pytest.raises(ValueError, match="2 times faster"):
        clock.made_as_fast(lambda _m, _a, out: out.write_text(""), MODEL, 2.0, None, tmp_path / "pruned.onnx")


def test_the_knapsack_keeps_what_is_worth_most() -> None:
    random = np.random.default_rng(1)
    sizes, prices = (16, 20, 24), (3.0, 1.0, 2.0)
    curves = [
        Curve(Group("", s, (), (), ()), np.arange(s), np.append(np.sort(random.random(s))[::-1], 0.0))
        for s in sizes
    ]

    def cost(counts: dict[int, int]) -> float:
        return sum(p * counts.get(i, s) for i, (p, s) in enumerate(zip(prices, sizes, strict=True)))

    knapsack = Knapsack(curves, cost)
    found = knapsack.filled(60.0)
    every = [dict(enumerate(kept)) for kept in itertools.product(*knapsack.kept)]

    def lost(counts: dict[int, int]) -> float:
        return sum(float(curves[i].loss[kept]) for i, kept in counts.items())

    assert cost(found) <= 60.0
    assert lost(found) == pytest.approx(min(lost(c) for c in every if cost(c) <= 60.0))
