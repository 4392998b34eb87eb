"""`secateur profile`, and `--costs` of the commands that choose by a table."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from secateur import load
from secateur.costs import network as tables
from secateur.costs.network import analytic_table
from secateur.costs.samples import Timing
from secateur.costs.table import Table, write_table
from secateur.ir.files import write_graph

from ...conftest import Cli
from ...profiled import ELSEWHERE, graph, network, results, written


@pytest.fixture
def small(tmp_path: Path) -> Path:
    path = tmp_path / "small.sir"
    write_graph(graph(), path)
    return path


@pytest.fixture
def costs(tmp_path: Path) -> Path:
    """A table for a board, on which direct convolution takes no time to speak of."""
    table = analytic_table(network())
    rows = (replace(e, timing=Timing(_seconds(e.label), (0.0, 1.0), 9)) for e in table.entries)
    write_table(replace(table, entries=tuple(rows)), tmp_path / "board.json")
    return tmp_path / "board.json"


def _seconds(label: str) -> float:
    return 1e-6 if "direct" in label or "relayout" in label else 0.5


def test_profile_measures_here_and_compile_takes_the_table(cli: Cli, small: Path, tmp_path: Path) -> None:
    table = tmp_path / "t.json"
    result = cli("profile", small, "-o", table)
    assert result.code == 0
    assert f"{table}: " in result.out
    assert "median of 9 rounds, one thread (host: " in result.out
    assert json.loads(table.read_text())["measured"].startswith("host: ")
    assert cli("compile", small, "--costs", table, "-o", tmp_path / "out.so").code == 0
    with load(tmp_path / "out.so") as session:
        assert session.manifest["operators"]


def test_profile_checks_its_table(cli: Cli, small: Path, tmp_path: Path) -> None:
    result = cli("profile", small, "-o", tmp_path / "t.json", "--check", "--tolerance", 1e9, "--json")
    assert result.code == 0
    check = result.json["check"]
    assert check["ratio"] == pytest.approx(check["predicted"] / check["measured"])
    assert sum(row["predicted"] for row in check["operators"]) == pytest.approx(check["predicted"])
    assert all(row["measured"] > 0 for row in check["operators"])


def test_a_table_that_is_far_off_fails_the_check(
    cli: Cli, small: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    measured = tables.measured_table

    def tenfold(*words: Any) -> Table:
        table = measured(*words)
        rows = (replace(e, timing=Timing(10 * e.timing.seconds, (0.0, 1.0), 9)) for e in table.entries)
        return replace(table, entries=tuple(rows))

    monkeypatch.setattr(tables, "measured_table", tenfold)
    result = cli("profile", small, "-o", tmp_path / "t.json", "--check")
    assert result.code == 1
    assert "network: predicted " in result.out
    assert "off by +" in result.out


def test_a_board_is_profiled_by_bundle_and_results(cli: Cli, small: Path, tmp_path: Path) -> None:
    printed = written(tmp_path / "results.json", results(network()))
    words = ("profile", small, "--target", ELSEWHERE)
    result = cli(*words, "--results", printed, "--board", "in the lab", "-o", tmp_path / "t.json", "--json")
    assert result.code == 0
    assert result.json["measured"] == "board: in the lab"
    assert result.json["kernels"] == len(network().kernels)


def test_estimates_make_a_table_too(
    cli: Cli, small: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    result = cli("profile", small, "--target", ELSEWHERE, "--analytic")
    assert result.code == 0
    assert result.out.startswith("small.rpi4.json: ")
    assert "estimates (analytic)" in result.out
    with_table = cli("inspect", small, "--target", ELSEWHERE, "--costs", "small.rpi4.json", "--json").json
    without = cli("inspect", small, "--target", ELSEWHERE, "--json").json
    assert with_table["seconds"] == pytest.approx(without["seconds"], abs=1e-10)
    assert (with_table["costs"], without["costs"]) == ("small.rpi4.json", None)


def test_inspect_and_select_take_a_table(cli: Cli, small: Path, costs: Path) -> None:
    words = (small, "--target", ELSEWHERE, "--costs", costs)
    found = cli("inspect", *words, "--json").json
    assert [row["primitive"] for row in found["operators"] if row["operator"] == "prim.conv"] == ["direct"]
    assert found["seconds"] < 1e-5
    assert f"on one core by {costs}" in cli("inspect", *words).out
    listed = cli("select", *words)
    assert f"compile with --costs {costs} too" in listed.out
    assert cli("select", *words, "--json").json["points"][-1]["seconds"] == pytest.approx(found["seconds"])


@pytest.mark.parametrize("command", ["compile", "inspect", "select"])
def test_operators_that_a_table_lacks_are_counted(
    cli: Cli, small: Path, tmp_path: Path, command: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    write_table(replace(analytic_table(network("host")), entries=()), tmp_path / "t.json")
    with pytest.warns(UserWarning, match="has no times of 1 of 1 operators"):
        assert cli(command, small, "--costs", "t.json").code == 0


@pytest.mark.parametrize("command", ["compile", "inspect", "select"])
@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--target", "rpi3"], "is for target rpi4"),
        (["--target", "host"], "is for target rpi4"),
        (["--costs", "/nowhere.json"], "/nowhere.json: No such file"),
        (["--costs", __file__], "no cost table, or a damaged one"),
    ],
)
def test_tables_that_do_not_fit_are_refused(
    cli: Cli, small: Path, costs: Path, tmp_path: Path, command: str, words: list[str], message: str
) -> None:
    before = sorted(tmp_path.iterdir())
    given = () if "--costs" in words else ("--costs", costs)
    output = ("-o", tmp_path / "out.so") if command == "compile" else ()
    result = cli(command, small, *given, *words, *output)
    assert (result.code, result.out) == (2, "")
    assert message in result.err
    assert sorted(tmp_path.iterdir()) == before


def test_a_table_and_tuning_exclude_each_other(cli: Cli, small: Path, costs: Path) -> None:
    result = cli("compile", small, "--costs", costs, "--tune", "-o", small.with_name("out.so"))
    assert result.code == 2
    assert "not both" in result.err


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--target", "rpi4"], "target rpi4 does not run here: --bundle writes"),
        (["--target", "rpi4", "--analytic", "--check"], "--check runs the network on this machine"),
        (["--bundle", "b.tar", "--results", "r.json"], "--bundle and --results: one at a time"),
        (["--bundle", "b.tar", "--analytic"], "--bundle and --analytic: one at a time"),
        (["--bundle", "b.tar", "-o", "t.json"], "--bundle makes none"),
        (["--board", "mine"], "--board says where results were measured"),
        (["--target", "rpi4", "--results", "/nowhere"], "/nowhere: No such file"),
        (["--target", "rpi4", "--results", __file__], "is not what a bundle's run.sh printed"),
        (["--target", "rpi9"], "unknown target 'rpi9'"),
    ],
)
def test_refusals(
    cli: Cli, small: Path, monkeypatch: pytest.MonkeyPatch, words: list[str], message: str
) -> None:
    monkeypatch.chdir(small.parent)
    result = cli("profile", small, *words)
    assert (result.code, result.out) == (2, "")
    assert message in result.err
    assert list(small.parent.glob("*.json")) == []


def test_a_lowered_graph_is_refused(cli: Cli, small: Path, tmp_path: Path) -> None:
    cli("opt", small, "--pipeline", "canonicalize,fuse,select", "-o", tmp_path / "chosen.sir")
    result = cli("profile", tmp_path / "chosen.sir")
    assert result.code == 2
    assert "has its primitives already" in result.err
