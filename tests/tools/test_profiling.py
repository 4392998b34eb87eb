"""Cost tables: what is asked for, how it is measured, kept and read, and what selection makes of it."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from secateur.codegen.backends.cpu.costs import AnalyticCosts
from secateur.codegen.primitives.operator import Constant, Operand, Result, Stage
from secateur.codegen.targets.find import find
from secateur.codegen.targets.host import host
from secateur.codegen.targets.rows import TARGETS
from secateur.costs import measure
from secateur.costs.candidates import HOPELESS, worth_measuring
from secateur.costs.measured import TableCosts, check_target, table_costs, with_times
from secateur.costs.network import analytic_table, measured_table
from secateur.costs.samples import FARTHEST, NEAREST, Samples, Timing, distance_of, timing
from secateur.costs.table import Table, read_table, text_of, write_table
from secateur.costs.timing import FILLED, TimingProgram
from secateur.ir.choice import Choice
from secateur.ir.errors import SecateurError
from secateur.ir.types import ROW_MAJOR, TensorType, blocked
from secateur.passes.select.select import select
from secateur.tools.checks import table_report as check_report
from secateur.tools.checks.table import Check, Row, check

from .profiled import ELSEWHERE, graph, network


def silent(_what: str, _done: int, _total: int) -> None: ...


@pytest.fixture
def own_samples(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache of samples beside the shared kernels."""
    folder = tmp_path / "costs"
    monkeypatch.setattr(Samples, "_path", lambda self, symbol: folder / f"{symbol}-{self.distance}.json")
    return folder


# What is asked for ---------------------------------------------------------------------------------


def test_a_network_asks_for_every_choice_that_is_not_hopeless_and_for_conversions() -> None:
    labels = [kernel.label for kernel in network().kernels]
    assert "conv 8x12x12 3x3 winograd2, NCHW4c -> NCHW4c" in labels
    assert "relayout 8x12x12, NCHW -> NCHW4c" in labels
    assert "relayout 8x12x12, NCHW4c -> NCHW" in labels
    (op,) = [op for op in graph().operators if op.name == "nn.conv"]
    offered = {c.primitive for c in worth_measuring(AnalyticCosts(find(ELSEWHERE)).choices(op))}
    assert offered == {label.split(",")[0].split()[-1] for label in labels if label.startswith("conv")}


def test_what_is_hopeless_or_free_is_not_measured() -> None:
    choices = [Choice("p", (), ROW_MAJOR, 0, s) for s in (0.0, 1.0, HOPELESS, HOPELESS + 0.1)]
    assert [c.seconds for c in worth_measuring(choices)] == [1.0, HOPELESS]
    assert worth_measuring(choices[:1]) == []


# Measuring -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("weights", "distance"), [(0, NEAREST), (3 << 20, 4 << 20), (4 << 20, 4 << 20), (1 << 40, FARTHEST)]
)
def test_weights_lie_as_far_apart_as_in_the_network(weights: int, distance: int) -> None:
    assert distance_of(weights) == distance


def test_a_timing_is_a_median_with_quartiles() -> None:
    assert timing([5.0, 1.0, 2.0, 3.0, 4.0]) == Timing(3.0, (2.0, 4.0), 5)
    assert timing([7.0]) == Timing(7.0, (7.0, 7.0), 1)


def test_every_kernel_is_run_in_every_round() -> None:
    asked = network("host")
    with measure.rounds(asked.kernels, asked.target, NEAREST) as run:
        first, second = run(), run()
    assert first.keys() == second.keys() == {c.symbol for c in asked.kernels}
    assert all(0 < seconds < 0.1 for seconds in (*first.values(), *second.values()))


def test_operands_are_written_before_each_kernel_and_weights_are_inputs() -> None:
    asked = network("host")
    kernel = next(c for c in asked.kernels if "direct" in c.label)
    timed = TimingProgram(asked.target)
    indices, weights = Constant(np.arange(4, dtype=np.int32)), Constant(np.zeros(64, np.float32))
    stage = Stage(kernel.stages()[0].kernel, (Operand(0), indices, weights, Result()))
    timed.add(kernel, [stage])
    program = timed.program("p")
    fill, call = program.calls
    assert (fill.label, fill.tasks * FILLED >= 8 * 12 * 12 * 4) == ("fill", True)
    assert [port.shape for port in program.inputs] == [(64,)]
    assert [array.tolist() for array in program.weights] == [[0, 1, 2, 3]]
    assert timed.rows == [range(1, 2)]
    result = call.args[-1]
    assert 8 * 12 * 12 * 4 <= result.offset < program.arena_bytes


@contextmanager
def interrupted(after: int, log: list[int], *symbols: str) -> Iterator[Callable[[], dict[str, float]]]:
    """Rounds that a user stops after some."""

    def run() -> dict[str, float]:
        log.append(len(log))
        if len(log) > after:
            raise KeyboardInterrupt
        return dict.fromkeys(symbols, 1.0 + len(log))

    yield run


@pytest.mark.usefixtures("own_samples")
def test_an_interrupted_measurement_goes_on_where_it_was(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = network("host")
    kernels, symbols = asked.kernels[:2], [c.symbol for c in asked.kernels[:2]]
    log: list[int] = []
    monkeypatch.setattr(measure, "rounds", lambda *_: interrupted(1 + 3 * measure.RUNS, log, *symbols))
    with pytest.raises(KeyboardInterrupt):
        measure.measured(kernels, asked.target, NEAREST)
    assert len(Samples(NEAREST).recall(symbols[0])) == 3  # the first round only warms up
    log = []
    monkeypatch.setattr(measure, "rounds", lambda *_: interrupted(99, log, *symbols))
    found = measure.measured(kernels, asked.target, NEAREST)
    assert len(log) == 1 + measure.RUNS * (measure.REPEATS - 3)
    assert {t.repeats for t in found.values()} == {measure.REPEATS}


@pytest.mark.usefixtures("own_samples")
def test_a_round_is_the_fastest_of_some_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = network("host")
    kernels = asked.kernels[:1]
    monkeypatch.setattr(measure, "rounds", lambda *_: interrupted(99, [], kernels[0].symbol))
    (timed,) = measure.measured(kernels, asked.target, NEAREST).values()
    runs = [2.0 + number for number in range(1, 1 + measure.RUNS * measure.REPEATS)]  # the first warms up
    assert timed == timing(runs[:: measure.RUNS])


@pytest.mark.usefixtures("own_samples")
def test_fresh_measures_again_and_another_distance_is_measured_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = network("host")
    kernels = asked.kernels[:1]
    log: list[int] = []
    monkeypatch.setattr(measure, "rounds", lambda *_: interrupted(99, log, kernels[0].symbol))
    measure.measured(kernels, asked.target, NEAREST)
    once = len(log)
    measure.measured(kernels, asked.target, NEAREST)
    assert len(log) == once
    measure.measured(kernels, asked.target, NEAREST, fresh=True)
    measure.measured(kernels, asked.target, 2 * NEAREST)
    assert len(log) == 3 * once


def test_a_damaged_sample_counts_as_none(own_samples: Path) -> None:
    Samples(NEAREST).add("k", 0.25)
    (path,) = own_samples.iterdir()
    assert Samples(NEAREST).recall("k") == (0.25,)
    path.write_bytes(path.read_bytes().replace(b"0.25", b"0.35"))
    assert Samples(NEAREST).recall("k") == ()


def test_kernels_of_another_machine_are_not_measured_here() -> None:
    with pytest.raises(SecateurError, match="target rpi4 is another"):
        measured_table(network(), silent)


# Files ---------------------------------------------------------------------------------------------


def test_a_table_reads_back_and_has_a_line_for_each_kernel(tmp_path: Path) -> None:
    table = analytic_table(network())
    write_table(table, tmp_path / "t.json")
    again = read_table(tmp_path / "t.json")
    assert text_of(again) == text_of(table) == (tmp_path / "t.json").read_text()
    assert (again.target, again.measured) == (ELSEWHERE, "analytic")
    assert sum('"symbol"' in line for line in text_of(table).splitlines()) == len(table.entries) > 3
    assert [e.label for e in table.entries] == sorted(e.label for e in table.entries)


def _twice(data: dict[str, Any]) -> None:
    data["kernels"].append(data["kernels"][0])


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda d: d.update(format="secateur costs 0"), '"format" is not'),
        (lambda d: d.update(target=3), "must be texts"),
        (lambda d: d.pop("kernels"), "damaged"),
        (lambda d: d["kernels"][0].update(seconds=-1.0), "must be numbers from 0 on"),
        (lambda d: d["kernels"][0].update(seconds="1 s"), "must be numbers from 0 on"),
        (lambda d: d["kernels"][0].update(quartiles=[1.0]), "damaged"),
        (lambda d: d["kernels"][0].update(symbol=None), "must be texts"),
        (_twice, "stands there twice"),
    ],
)
def test_a_damaged_table_is_refused(tmp_path: Path, damage: Callable[[Any], object], message: str) -> None:
    data = json.loads(text_of(analytic_table(network())))
    damage(data)
    (tmp_path / "t.json").write_text(json.dumps(data))
    with pytest.raises(SecateurError, match=f"t.json: no cost table, or a damaged one.*{message}|{message}"):
        read_table(tmp_path / "t.json")


@pytest.mark.parametrize("text", [b"", b"\x7fELF\xff", b"[1, 2]", b'{"format": "secateur costs 1"'])
def test_what_is_no_table_is_refused(tmp_path: Path, text: bytes) -> None:
    (tmp_path / "t.json").write_bytes(text)
    with pytest.raises(SecateurError, match=r"t\.json: no cost table"):
        read_table(tmp_path / "t.json")


# Selection by a table ------------------------------------------------------------------------------


def _times(table: Table, seconds: Callable[[str], float]) -> Table:
    """The table with other times, by label."""
    rows = (replace(e, timing=Timing(seconds(e.label), (0.0, 1.0), 9)) for e in table.entries)
    return replace(table, entries=tuple(rows))


@pytest.mark.parametrize("wanted", ["direct", "winograd2", "im2row"])
def test_selection_takes_what_the_table_says_is_fastest(wanted: str) -> None:
    def seconds(label: str) -> float:
        return 1e-9 if f" {wanted}" in label or "relayout" in label else 1.0

    costs = TableCosts(_times(analytic_table(network()), seconds), find(ELSEWHERE))
    chosen = select(graph(), costs)
    assert [op["primitive"] for op in chosen.operators if op.name == "prim.conv"] == [wanted]
    assert costs.note is None


def test_conversions_are_the_tables() -> None:
    table = _times(analytic_table(network()), lambda label: 0.25 if "NCHW -> NCHW4c" in label else 0.5)
    costs = TableCosts(table, find(ELSEWHERE))
    x = TensorType((1, 8, 12, 12))
    assert costs.conversion(x, ROW_MAJOR, blocked(4)) == 0.25
    assert costs.conversion(x, blocked(4), ROW_MAJOR) == 0.5
    assert costs.conversion(x, ROW_MAJOR, ROW_MAJOR) == 0.0


def test_what_the_table_lacks_is_estimated_and_counted() -> None:
    target = find(ELSEWHERE)
    costs = TableCosts(replace(analytic_table(network()), entries=()), target, "t.json")
    (op,) = [op for op in graph().operators if op.name == "nn.conv"]
    assert costs.choices(op) == AnalyticCosts(target).choices(op)
    x = TensorType((1, 8, 12, 12))
    assert costs.conversion(x, ROW_MAJOR, blocked(4)) == AnalyticCosts(target).conversion(
        x, ROW_MAJOR, blocked(4)
    )
    wanted = "t.json has no times of 1 of 1 operators and 1 of 1 conversions; they are estimated"
    with pytest.warns(UserWarning, match=wanted):
        costs.warn()


def test_choices_without_a_time_stay_as_many_times_slower() -> None:
    choices = [Choice(name, (), ROW_MAJOR, 0, s) for name, s in (("a", 1.0), ("b", 2.0), ("c", 10.0))]
    assert [c.seconds for c in with_times(choices, [3.0, 1.0, None])] == [3.0, 1.0, 30.0]
    assert with_times(choices, [None, None, None]) == tuple(choices)


@pytest.mark.parametrize(
    ("made", "asked"), [("rpi4", "rpi3"), ("jetson-nano-cpu", "jetson-tx2-cpu"), ("rpi4", "host")]
)
def test_a_table_of_another_target_is_refused(made: str, asked: str) -> None:
    with pytest.raises(SecateurError, match=rf"t.json: is for target {made}.*, not for {asked}"):
        check_target(analytic_table(network(made)), find(asked), "t.json")


def test_the_hosts_table_is_that_of_its_row() -> None:
    row = next(t for t in TARGETS.values() if replace(t, name="host") == host())
    check_target(analytic_table(network("host")), row, "t.json")
    check_target(analytic_table(network(row.name)), host(), "t.json")


def test_a_table_of_other_kernels_warns(tmp_path: Path) -> None:
    write_table(replace(analytic_table(network()), compiler="older"), tmp_path / "t.json")
    with pytest.warns(UserWarning, match="kernels of another version"):
        table_costs(tmp_path / "t.json", find(ELSEWHERE))


# Predicted against measured ------------------------------------------------------------------------


def test_a_wrong_table_is_found_wrong() -> None:
    """Of a table that says ten times what was measured, and of one that says a tenth."""
    table = measured_table(network("host"), silent)
    for factor in (10.0, 0.1):
        rows = (
            replace(e, timing=replace(e.timing, seconds=e.timing.seconds * factor)) for e in table.entries
        )
        found = check(graph(), TableCosts(replace(table, entries=tuple(rows)), host()), silent)
        assert not found.within(60.0)
        assert (found.ratio > 1) == (factor > 1)
        assert found.worst[0].operator == "prim.conv"


def test_a_table_of_the_networks_own_times_is_found_right() -> None:
    table = measured_table(network("host"), silent)
    found = check(graph(), TableCosts(table, host()), silent)
    by_row = {row.primitive: row.measured for row in found.rows}
    assert found.predicted == pytest.approx(sum(row.predicted or 0.0 for row in found.rows))
    assert all(seconds > 0 for seconds in by_row.values())
    whole = replace(found, whole=Timing(found.predicted / 1.1, (0.0, 1.0), 15))
    assert whole.within(15.0)
    assert not whole.within(5.0)


@pytest.mark.parametrize(
    ("predicted", "alone", "drifted"),
    [(1.4, 1.02, True), (0.7, 0.99, True), (1.4, 1.35, False), (1.05, 1.0, False)],
)
def test_a_machine_that_has_changed_is_told_from_a_wrong_table(
    predicted: float, alone: float, drifted: bool
) -> None:
    row = Row("prim.conv", "", "direct", predicted, alone, 1.0)
    found = Check((row,), Timing(1.0, (1.0, 1.0), 15))
    assert found.has_drifted is drifted
    assert ("the machine has changed" in check_report.text_of(found)) is drifted
