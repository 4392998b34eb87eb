"""The benchmark of selection: which plans are compared, turns of equal length, the table and what it says."""

from __future__ import annotations

import json
import time
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from typer import Typer
from typer.testing import CliRunner

from secateur.codegen.backends.cpu.costs import AnalyticCosts
from secateur.codegen.targets.find import find
from secateur.codegen.targets.host import host
from secateur.passes.layout import insert_conversions
from secateur.passes.memory.memory import Memory, arena_report
from secateur.tools.bench import model_builder
from secateur.tools.bench import selection as bench_selection
from secateur.tools.bench.contest import BURST_SECONDS, MIN_ROUNDS
from secateur.tools.bench.peers import Floats
from secateur.tools.bench.plans import CHOSEN, GREEDY, SINGLE, Contender, Plans, spread
from secateur.tools.bench.report import Timing
from secateur.tools.bench.selection import (
    Network,
    Result,
    Row,
    as_json,
    as_markdown,
    cells,
    fused,
    headline,
    measure,
)

MODEL = Path(__file__).parents[3] / "examples" / "digits" / "resnet20.onnx"


@pytest.fixture(scope="module")
def plans() -> Plans:
    """On a target for which this network has several points."""
    return Plans(fused(MODEL), AnalyticCosts(find("rpi4")))


# Plans ---------------------------------------------------------------------------------------------


def test_limits_are_of_the_frontier_and_end_with_the_least(plans: Plans) -> None:
    arenas = [point.arena for point in plans.frontier]
    assert len(arenas) > 3
    limits = plans.limits(2)
    assert limits[0] is None
    assert limits[-1] == min(arenas)
    assert limits[1:] == sorted((a for a in arenas if a in limits), reverse=True)
    assert len(limits) == 4
    assert max(arenas) not in limits


def test_the_selectors_plan_is_never_slower_and_keeps_the_limit(plans: Plans) -> None:
    assert len(plans.limits(2)) > 1
    for limit in plans.limits(2):
        chosen, *others = plans.at(limit)
        assert [chosen.kind, *(c.kind for c in others)] == [CHOSEN, GREEDY, SINGLE]
        assert limit is None or chosen.arena <= limit
        assert all(chosen.seconds <= other.seconds for other in others)
        assert all(other.plan is None or other.arena > 0 for other in others)


def test_a_contender_has_the_arena_of_its_graph(plans: Plans) -> None:
    chosen, greedy, _ = plans.at(None)
    for contender in (chosen, greedy):
        assert contender.plan is not None
        graph = Memory().run(insert_conversions(plans.selected(contender.plan)))
        assert arena_report(graph).peak == contender.arena


def test_only_primitives_of_convolutions_are_tried_alone(plans: Plans) -> None:
    assert {"direct", "winograd4"} <= set(plans.families)
    assert not {"join", "view", "elementwise"} & set(plans.families)


@pytest.mark.parametrize(
    ("count", "between", "expected"),
    [(1, 2, [0]), (2, 2, [0]), (3, 2, [1, 0]), (10, 2, [6, 3, 0]), (10, 0, [0]), (5, 9, [4 - 1, 2, 1, 0])],
)
def test_numbers_are_spread(count: int, between: int, expected: list[int]) -> None:
    assert spread(count, between) == expected


# Measuring -----------------------------------------------------------------------------------------


class Doubling:
    """A runner that notes its turns, and takes long enough that a turn is a few runs."""

    def __init__(self, name: str, log: list[str]) -> None:
        self.name, self.log = name, log

    def run(self, x: Floats) -> Floats:
        self.log.append(self.name)
        time.sleep(BURST_SECONDS / 4)
        return np.asarray(2 * x if self.name == "a" else 2.5 * x)


def test_runners_take_turns_and_are_held_against_the_first() -> None:
    log: list[str] = []
    first, second = bench_selection.timed(
        [Doubling("a", log), Doubling("b", log)], np.ones((1, 4), np.float32), rounds=2, budget=60
    )
    turns = "".join(name for i, name in enumerate(log) if i == 0 or log[i - 1] != name)
    assert turns == "ab" * 3  # once for the output, then two rounds
    assert (first.error, second.error) == (0.0, 0.25)
    assert first.runs >= 4


def test_a_budget_that_is_spent_ends_the_rounds_but_not_the_first() -> None:
    log: list[str] = []
    bench_selection.take_turns([Doubling("a", log), Doubling("b", log)], np.ones(4, np.float32), 50, 0.0)
    assert sum(log[i] != log[i - 1] for i in range(1, len(log))) == 2 * MIN_ROUNDS - 1


def tiny(folder: Path) -> Path:
    g = model_builder.GraphBuilder("tiny", (1, 16, 12, 12), 0)
    x = g.relu(g.conv(g.input, "a", 32, 3, pad=1, bias=True), "b")
    path = folder / "tiny.onnx"
    path.write_bytes(g.finish(g.conv(x, "c", 16, 3, pad=1, bias=True)).SerializeToString())
    return path


def test_every_plan_is_compiled_run_and_timed(tmp_path: Path) -> None:
    network = measure("tiny", tiny(tmp_path), AnalyticCosts(host()), tmp_path / "made", 1, 1, 0.0)
    assert network.rows[0].limit is None
    assert network.frontier[-1][1] <= min(network.alone.values())
    assert network.frontier[-1][1] == network.rows[0].result(CHOSEN).contender.seconds
    for row in network.rows:
        chosen = row.result(CHOSEN)
        assert chosen.ms is not None
        assert chosen.ms > 0
        assert all(r.timing is None or (r.timing.error or 0.0) < 1e-3 for r in row.results)
    assert not list((tmp_path / "made").iterdir())


# Report --------------------------------------------------------------------------------------------


def result(kind: str, ms: float | None, kib: int = 0, family: str = "") -> Result:
    if ms is None:
        return Result(Contender(kind))
    contender = Contender(kind, (0,), 0.9e-3 * ms, 1024 * kib, family)
    return Result(contender, Timing("secateur", median=ms, quartiles=(ms, ms), best=ms - 1))


def row(limit: int | None, times: Iterable[tuple[float | None, int]]) -> Row:
    (chosen, size), (greedy, its), (single, others) = times
    results = (
        result(CHOSEN, chosen, size),
        result(GREEDY, greedy, its),
        result(SINGLE, single, others, "im2row"),
    )
    return Row(limit, results)


ROWS = (
    row(None, [(10.0, 900), (15.0, 1000), (11.0, 900)]),
    row(600 << 10, [(11.0, 600), (34.0, 500), (None, 0)]),
    row(300 << 10, [(20.0, 300), (None, 0), (None, 0)]),
)
NET = Network("net", ROWS, ((300 << 10, 0.018), (900 << 10, 0.009)), {"direct": 0.018, "im2row": 0.0099})


def test_the_table_has_times_predictions_bytes_and_ratios() -> None:
    assert cells("net", ROWS[0]) == [
        "net",
        "none",
        *("10.00 (9.00)", "900", "15.00 (13.50)", "1000", "11.00 (9.90)", "900"),
        *("1.50 (1.56)", "im2row", "1.10 (1.11)"),
    ]
    assert cells("net", ROWS[2])[1:] == ["300", "20.00 (18.00)", "300", "–", "–", "–", "–", "–", "–", "–"]
    assert "| net | none | 10.00 (9.00) |" in as_markdown([NET])
    assert json.loads(as_json([NET]))["results"][0]["rows"][1]["results"][1]["timing"]["median"] == 34.0


def test_a_time_that_scatters_is_marked() -> None:
    chosen, *others = ROWS[0].results
    assert chosen.timing is not None
    noisy = replace(chosen, timing=replace(chosen.timing, quartiles=(9.0, 10.5)))
    assert cells("net", replace(ROWS[0], results=(noisy, *others)))[2] == "10.00~ (9.00)"


def test_the_headline_is_the_largest_gain_and_the_least_memory_for_little_time() -> None:
    assert headline(NET) == (
        "net: best runs at most 3.30 times as fast as of greedy choice (at 600 KiB); "
        "1.50 times less memory for 11% more time; "
        "2 plans on the frontier, predicted 300 to 900 KiB, 18.00 to 9.00 ms; "
        "predicted with one primitive wherever it fits: direct 2.00, im2row 1.10 times the chosen plan"
    )
    last = headline(replace(NET, rows=ROWS[2:], frontier=NET.frontier[:1]))
    assert "greedy choice found no plan; 1.00 times less memory for 0% more time" in last
    assert "one plan on the frontier, 300 KiB" in last


def test_an_unknown_model_is_refused(tmp_path: Path) -> None:
    app = Typer()
    app.command()(bench_selection.main)
    arguments = ["--models", "lenet", "--out", str(tmp_path / "out")]
    answer = CliRunner().invoke(app, arguments, env={"COLUMNS": "300"})
    assert answer.exit_code == 2
    assert "unknown model 'lenet'; known: resnet18" in " ".join(answer.output.replace("│", " ").split())
    assert not (tmp_path / "out").exists()
