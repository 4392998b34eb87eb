"""`secateur staircase`: steps with reasons from the primitives, cliffs, and texts that say the same."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import pytest

from secateur.codegen.backends.cpu.costs import AnalyticCosts
from secateur.codegen.targets.find import find
from secateur.costs.measured import TableCosts
from secateur.costs.network import analytic_table, profiled
from secateur.costs.staircase import FILTERS, Staircase, changes, layers, staircase
from secateur.model import read
from secateur.passes.framework.manager import PassManager
from secateur.passes.framework.pipeline import parse_pipeline
from secateur.tools.pages.staircase import (
    COLUMNS,
    Staircases,
    csv_text,
    json_data,
    staircases,
    steps_text,
    table_text,
    worst_of,
)
from secateur.tools.pages.staircase_page import estimates_of, render_page

from ...passes.prune.nets import residual
from ..conftest import Cli
from .test_quantization_report import Page

MODEL = Path(__file__).parents[3] / "examples" / "digits" / "resnet20.onnx"
TARGET = "x86-64-v3"


def silent(_what: str, _done: int, _total: int) -> None: ...


@pytest.fixture(scope="module")
def found() -> Staircases:
    return staircases(read(MODEL), TARGET, None, (), (FILTERS,), silent)


def drawn(times: Mapping[int, float], cuts: Mapping[int, str]) -> Staircase:
    """A staircase of a `direct` whose register tile at each count is given."""
    return Staircase(
        "/c</script>+/d", "nn.conv", FILTERS, tuple(times), times, {"direct": times},
        lambda count: {"register tile": cuts[count]},
    )  # fmt: skip


# Steps ---------------------------------------------------------------------------------------------


def test_every_layer_has_all_counts_and_its_own_time(found: Staircases) -> None:
    costs = AnalyticCosts(find(TARGET))
    assert len(found.layers) > 20
    for stairs in found.layers:
        assert stairs.counts == tuple(range(1, stairs.full + 1))
        assert stairs.times == {
            c: min(t[c] for t in stairs.primitives.values() if c in t) for c in stairs.counts
        }
        assert stairs.keep[-1] == stairs.full
    assert costs.target.lanes == 8


def test_steps_are_at_whole_blocks_and_say_why(found: Staircases) -> None:
    wide = [s for s in found.layers if s.operator == "nn.conv" and s.full >= 64]
    assert wide
    for stairs in wide:
        assert {step.count % 8 for step in stairs.steps if step.count > 8} == {0}
        assert all("block of the layout made" in "; ".join(s.reasons) for s in stairs.steps if s.count > 8)
    reasons = {r.split(":")[0] for s in wide for step in s.steps for r in step.reasons}
    assert {"block of the layout made", "register tile", "cache", "primitive"} <= reasons


def test_counts_worth_keeping_are_beaten_by_no_larger_one(found: Staircases) -> None:
    for stairs in found.layers:
        assert all(stairs.times[a] < stairs.times[b] for a, b in pairwise(stairs.keep))
        assert not set(stairs.keep) & set(stairs.cliffs)


def test_cliffs_take_longer_than_a_larger_count() -> None:
    stairs = drawn({1: 1.0, 2: 3.0, 3: 2.0, 4: 4.0}, dict.fromkeys((1, 2, 3, 4), ""))
    assert stairs.cliffs == (2,)
    assert stairs.keep == (1, 3, 4)
    assert worst_of(stairs) == 0.5


def test_time_that_rises_without_a_change_of_tiling_is_no_step() -> None:
    stairs = drawn({1: 1.0, 2: 2.0, 3: 3.0}, {1: "a", 2: "a", 3: "b"})
    assert [(s.count, s.reasons) for s in stairs.steps] == [(2, ("register tile: a -> b",))]


def test_changes_name_what_appears_and_what_goes() -> None:
    assert list(changes({"a": "1", "b": "2"}, {"a": "1", "c": "3"})) == ["b: 2 -> none", "c: none -> 3"]


# Texts ---------------------------------------------------------------------------------------------


def test_the_table_fits_a_terminal(found: Staircases, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("secateur.tools.tables.terminal_width", lambda: 80)
    assert max(map(len, table_text(found).splitlines())) <= 80


def test_csv_has_a_line_for_each_count_and_primitive(found: Staircases) -> None:
    rows = list(csv.DictReader(io.StringIO(csv_text(found))))
    assert tuple(rows[0]) == COLUMNS
    assert len(rows) == sum(len(t) for s in found.layers for t in s.primitives.values())


def test_json_says_the_same(found: Staircases) -> None:
    layer = json_data(found)["layers"][0]
    stairs = found.layers[0]
    assert layer["seconds"] == [stairs.times[c] for c in layer["counts"]]
    assert layer["keep"] == stairs.keep
    assert [s["count"] for s in layer["steps"]] == [s.count for s in stairs.steps]


def test_steps_are_told_with_reasons() -> None:
    stairs = drawn({1: 1.0, 2: 2.0}, {1: "a", 2: "b"})
    text = steps_text(stairs)
    assert "50.0% less" in text
    assert "register tile: a -> b" in text
    assert "none" in steps_text(drawn({1: 1.0, 2: 1.0}, {1: "a", 2: "b"}))


def test_the_page_needs_nothing_else_and_escapes_names(found: Staircases) -> None:
    page = Page(
        render_page(replace(found, layers=(drawn({1: 1.0, 2: 2.0}, {1: "a", 2: "<b>"}), *found.layers)))
    )
    assert not any(name in ("src", "href") for _, attributes in page.tags for name in attributes)
    assert sum(tag == "svg" for tag, _ in page.tags) == len(found.layers) + 1
    assert any("<b>" in word for word in page.words)


def test_measured_times_stand_beside_the_models() -> None:
    """A table in which all takes twice its estimate: counts measured are told, the curve keeps its shape."""
    row, graph = find(TARGET), residual(0)
    table = analytic_table(profiled(graph, row))
    doubled = (replace(e, timing=replace(e.timing, seconds=2 * e.timing.seconds)) for e in table.entries)
    costs = TableCosts(replace(table, entries=tuple(doubled)), row)
    op = next(op for op in layers(PassManager(parse_pipeline("canonicalize,fuse")).run(graph).graph))
    stairs = staircase(op, FILTERS, costs, row)
    assert stairs.measured == {stairs.full}
    assert {c: 2 * t for c, t in stairs.estimates.items()} == pytest.approx(stairs.times)
    assert estimates_of(stairs) == pytest.approx(stairs.times)
    data = json_data(Staircases("m", TARGET, "t.json", (stairs,)))["layers"][0]
    assert data["measured"] == [stairs.full]
    assert data["estimates"] == [stairs.estimates[count] for count in stairs.counts]
    page = Page(render_page(Staircases("m", TARGET, "t.json", (stairs,))))
    assert sum(a.get("class") == "measured" for _, a in page.tags) == 1
    assert sum(a.get("class") == "model" for _, a in page.tags) == 1
    assert any("2.00 to 2.00 of what the cost model estimates" in word for word in page.words)


def test_without_a_table_nothing_is_measured(found: Staircases) -> None:
    assert not any(s.measured or s.estimates for s in found.layers)
    assert 'class="measured"' not in render_page(found)


# The command ---------------------------------------------------------------------------------------


def test_the_command_shows_one_layer(cli: Cli, model: Path, tmp_path: Path) -> None:
    page, lines = tmp_path / "page.html", tmp_path / "lines.csv"
    name = staircases(read(model), TARGET, None, (), (FILTERS,), silent).layers[0].name.split("+")[0]
    result = cli("staircase", model, "--target", TARGET, "--layer", name, "--html", page, "--csv", lines)
    assert result.code == 0, result.err
    assert "worth keeping" in result.out
    assert "steps over filters" in result.out
    assert page.read_text().startswith("<!doctype html>")
    assert lines.read_text().startswith("layer,")


def test_both_axes_as_json(cli: Cli, model: Path) -> None:
    result = cli("staircase", model, "--target", TARGET, "--axis", "both", "--json")
    assert {layer["axis"] for layer in result.json["layers"]} == {"filters", "channels"}


def test_a_layer_that_is_not_there_is_refused(cli: Cli, model: Path) -> None:
    result = cli("staircase", model, "--target", TARGET, "--layer", "nope")
    assert result.code == 2
    assert "there is no layer 'nope'" in result.told


def test_a_page_in_no_folder_is_refused_before_work(cli: Cli, model: Path, tmp_path: Path) -> None:
    result = cli("staircase", model, "--target", TARGET, "--html", tmp_path / "none" / "page.html")
    assert result.code == 2
    assert "none" in result.told
    assert "counts" not in result.err
