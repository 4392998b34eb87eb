"""Networks that take turns: pruned beside whole ones, in float and in 8 bits."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import pytest
import typer

import secateur
from secateur.ir.files import write_graph
from secateur.ir.graph import Graph
from secateur.tools.bench import never_slower_here, pruned_int8
from secateur.tools.bench.never_slower_here import Networks, Row, percents, text
from secateur.tools.bench.turns import Turn, turns

from ...passes.prune.nets import residual


def turn(seconds: float) -> Turn:
    return Turn(seconds, (seconds, seconds), seconds, seconds, 9)


def test_artifacts_run_in_turn_until_time_is_up(tmp_path: Path) -> None:
    paths = [secateur.compile(residual(0, 8, blocks), tmp_path / f"{blocks}.so").path for blocks in (1, 2)]
    found = turns(paths, rounds=3, most=0.0)
    assert all(0 < t.quiet <= t.best <= t.quartiles[0] <= t.median <= t.quartiles[1] for t in found)
    assert all(t.runs >= 3 for t in found)


@pytest.fixture
def model(tmp_path: Path) -> Path:
    path = tmp_path / "net.sir"
    write_graph(residual(0, width=32), path)
    return path


def macs(graph: Graph) -> int:
    return sum(op.macs for op in graph.operators)


def test_both_ways_take_the_rate_away(model: Path) -> None:
    networks = Networks(model, None)
    ours, flat = networks.ours(50), networks.uniform(50)
    assert ours is not None
    assert macs(ours) <= macs(networks.whole) / 2
    assert all(op.result.type.shape[1] in (12, 8, 4, 16) for op in flat.operators if op.name == "nn.conv")
    least = networks.ours(99)
    assert least is not None
    assert macs(least) <= macs(networks.whole) / 100
    assert networks.ours(100) is None


def test_rates_are_numbers_and_ranges() -> None:
    assert percents("10,25") == [10, 25]
    assert percents("1-3,90") == [1, 2, 3, 90]


def test_rows_are_kept_and_a_slower_network_fails(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    asked: list[int] = []

    def taken(models: Sequence[Graph], _costs: object, _rounds: int) -> list[Turn]:
        asked.append(len(models))
        return [turn(1.0), turn(1.2), *([turn(1.1 if len(asked) > 1 else 0.8)] if len(models) > 2 else [])]

    ours = Networks.ours
    monkeypatch.setattr(Networks, "ours", lambda self, rate: None if rate == 99 else ours(self, rate))
    monkeypatch.setattr(never_slower_here, "model_turns", taken)
    never_slower_here.main(model, "30", None, 1, tmp_path / "out")
    assert "worst: uniform 1.200 at 30 %; ours 0.800 at 30 %" in capsys.readouterr().out
    with pytest.raises(typer.Exit):
        never_slower_here.main(model, "30,50,99", None, 1, tmp_path / "out")
    assert asked == [3, 3, 2]  # 30 % was known, and nothing of ours goes as far as 99 %
    kept = json.loads((tmp_path / "out/never_slower.json").read_text())["rows"]
    assert [row["percent"] for row in kept] == [30, 50, 99]
    assert "ours 1.100 at 50 %" in capsys.readouterr().out


def test_a_rate_that_none_reaches_is_no_slowdown() -> None:
    assert "| 99 % | 1000.000 ms | 0.500 | - |" in text([Row(99, 1.0, 0.5, None)])
    assert "ours" not in text([Row(99, 1.0, 0.5, None)]).splitlines()[-1]


def test_four_networks_are_held_against_the_bar(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    made: list[Path] = []

    def taken(artifacts: Sequence[Path]) -> list[Turn]:
        made.extend(artifacts)
        return [turn(seconds) for seconds in (6.0, 3.0, 4.0, 2.0)]

    monkeypatch.setattr(pruned_int8, "turns", taken)
    monkeypatch.setattr(pruned_int8, "source", lambda *_: (model, "random:2"))
    monkeypatch.setattr(pruned_int8, "has_vnni", lambda: False)
    pruned_int8.main("net", "70%", None, tmp_path / "out")
    printed = capsys.readouterr().out
    assert "int8, pruned    2000.000 ms (2000.000 to 2000.000)  3.00x" in printed
    assert "bar: 2.6x, kept" in printed
    kinds = [{op["operator"] for op in _operators(path)} for path in made]
    assert ["prim.quantize" in kind for kind in kinds[:3]] == [False, False, True]
    assert len({*made}) == len(pruned_int8.NETWORKS)
    monkeypatch.setattr(pruned_int8, "has_vnni", lambda: True)
    with pytest.raises(typer.Exit):
        pruned_int8.main("net", "70%", None, tmp_path / "out")
    assert "bar: 4x, missed" in capsys.readouterr().out


def _operators(path: Path) -> list[dict[str, object]]:
    with secateur.load(path) as session:
        return list(session.manifest["operators"])
