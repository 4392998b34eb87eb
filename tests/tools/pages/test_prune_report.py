"""The report of a pruning: what stands in the terminal's tables, in each format, and on the page."""

from __future__ import annotations

import csv
import io
import json
import math
import re
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from secateur.ir.channels import find_channels
from secateur.ir.errors import SecateurError
from secateur.passes.prune.criteria.branches import find_branches
from secateur.passes.prune.report import (
    BlockRow,
    EpochRow,
    Figures,
    GroupRow,
    LayerRow,
    LayerState,
    PruningReport,
)
from secateur.tools.bench import models
from secateur.tools.pages.charts import PLOT_WIDTH
from secateur.tools.pages.curve import BOX, curve_of
from secateur.tools.pages.prune_page import group_chart, render_page, time_chart
from secateur.tools.pages.prune_report import COLUMNS, check_paths, csv_text, json_data, write_reports
from secateur.tools.pages.prune_text import changed, explain_text, gain_text, table_text, verdict
from tests.passes.texts import build

from .test_quantization_report import Page

STEM = GroupRow("/stem", 64, 40, 0.02, 1.0)
BRANCH = GroupRow("/layer1/block0/conv1", 32, 32, 0.0, 1.0)
CONV = LayerRow(
    "/stem+/bn+/relu",
    LayerState((1, 64, 56, 56), "direct", 4e-3),
    LayerState((1, 40, 56, 56), "winograd4", 2e-3),
)
SAME = LayerRow("/pool", LayerState((1, 32, 7, 7), "pool", 1e-4), LayerState((1, 32, 7, 7), "pool", 1e-4))
GONE = LayerRow("/layer1/block0/conv2", LayerState((1, 64, 56, 56), "direct", 5e-3), None)
NEW = LayerRow("/layer1/block0/slice", None, LayerState((1, 40, 56, 56), "slice", 1e-5))
REPORT = PruningReport(
    "reconstruction", (STEM, BRANCH), (CONV, SAME, GONE, NEW),
    Figures(2_000_000, 4 << 20, 1 << 20, 9.1e-3), Figures(1_000_000, 2 << 20, 1 << 20, 2.11e-3),
    {"stem.weight": {0: [0, 1]}}, ("10 channels of /fc: it is part of the graph output 'y'",),
    accuracy=(91.5, 91.25), repaired=("/fc",), model="net.onnx", target="rpi4",
)  # fmt: skip
BLOCKY = replace(
    REPORT,
    groups=(STEM, GroupRow("/layer1/block0/conv1", 32, 0, 0.0, 1.0, "/layer1/block0/Add")),
    blocks=(BlockRow("/layer1/block0/Add", ("/layer1/block0/conv1", "/layer1/block0/conv2"), 0.1),),
)
NOTHING = replace(REPORT, groups=(BRANCH,), layers=(SAME,), after=REPORT.before, accuracy=None, repaired=())


# The terminal --------------------------------------------------------------------------------------


def test_tables_show_what_changed_and_count_the_rest() -> None:
    text = table_text(REPORT)
    assert re.search(r"^/stem +64 +40 +2\.00%$", text, re.MULTILINE)
    assert "(1 other group whole)" in text
    assert re.search(
        r"^/stem \(\+2\) +64 -> 40 +4\.00 ms +2\.00 ms +2\.00x +direct -> winograd4$", text, re.M
    )
    assert "(1 other as before: 100.00 us)" in text
    assert "/pool" not in text
    assert re.search(r"^MACs +2\.00 M +1\.00 M +2\.00x less$", text, re.M)
    assert re.search(r"^accuracy +91\.50 % +91\.25 % +-0\.25 points$", text, re.M)


def test_a_block_that_went_whole_is_named() -> None:
    text = table_text(BLOCKY)
    assert re.search(r"^/layer1/block0/Add +/layer1/block0/conv1, /layer1/block0/conv2 +5\.00%$", text, re.M)
    assert re.search(r"^/layer1/block0/conv1 +32 +0 +with its block$", text, re.M)
    assert "6.00% of the importance" in verdict(BLOCKY)
    assert json_data(BLOCKY)["blocks"][0]["name"] == "/layer1/block0/Add"
    assert "block,/layer1/block0/Add,,,0.1" in csv_text(BLOCKY)
    assert verdict(replace(BLOCKY, groups=(BRANCH,))) != verdict(NOTHING)


def test_layers_that_took_longest_come_first() -> None:
    assert [row.name for row in changed(REPORT.layers)] == [row.name for row in (GONE, CONV, NEW)]
    assert [gain_text(row) for row in (GONE, CONV, NEW)] == ["gone", "2.00x", "new"]


def test_one_line_says_what_the_limit_cost() -> None:
    assert verdict(REPORT) == (
        "4.31x less time, 2.00x fewer MACs for 1.00% of the importance (reconstruction), "
        "0.25 points of accuracy (91.50 % -> 91.25 %), with 1 layer repaired"
    )
    assert table_text(REPORT).splitlines()[-1] == verdict(REPORT)
    assert "no points of accuracy" in verdict(replace(REPORT, accuracy=(91.0, 91.5)))


def test_importance_of_an_unknown_whole_is_a_number() -> None:
    unknown = replace(REPORT, groups=(replace(STEM, importance=None), BRANCH))
    assert "for importance 0.02 (reconstruction)" in verdict(unknown)


def test_nothing_removed_is_said() -> None:
    assert (
        table_text(NOTHING).splitlines()[-1] == "nothing was removed: the network keeps the limits as it is"
    )
    assert "group" not in table_text(NOTHING).splitlines()[0]
    assert table_text(NOTHING).count("as before") == 4


def test_tables_fit_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("secateur.tools.tables.terminal_width", lambda: 80)
    long = "/model/backbone/layer1/layer1.0/conv1/Conv+/model/backbone/layer1/layer1.0/bn1/BatchNormalization"
    report = replace(
        REPORT, groups=(replace(STEM, name=long), BRANCH), layers=(replace(CONV, name=long), SAME)
    )
    tables = table_text(report).splitlines()[:-1]  # the last line is a sentence
    assert max(map(len, tables)) <= 80
    assert any("…" in line for line in tables)


# What may go ---------------------------------------------------------------------------------------

TEXT = """
graph @two(%x: tensor<1x3x8x8xf32>) {
  %w1 = const : tensor<8x3x3x3xf32>
  %w2 = const : tensor<8x8x3x3xf32>
  %w3 = const : tensor<4x8x1x1xf32>
  %w4 = const : tensor<6x8x1x1xf32>
  %a = nn.conv(%x, %w1) {SAME} : tensor<1x8x8x8xf32> loc("stem")
  %b = nn.conv(%a, %w2) {SAME} : tensor<1x8x8x8xf32> loc("branch")
  %y = nn.add(%a, %b) : tensor<1x8x8x8xf32> loc("add")
  %c = nn.conv(%y, %w3) {VALID} : tensor<1x4x8x8xf32> loc("left")
  %d = nn.conv(%y, %w4) {VALID} : tensor<1x6x8x8xf32> loc("right")
  return %c as "l", %d as "r"
}
"""


def test_groups_are_explained_with_makers_and_readers() -> None:
    text = explain_text(find_channels(build(TEXT)))
    assert text.startswith("1 group, 8 channels")
    assert re.search(r"^stem +8 +3 +branch$", text, re.M)


def test_blocks_that_may_go_are_explained() -> None:
    graph = build(TEXT)
    text = explain_text(find_channels(graph), find_branches(graph))
    assert "1 block that may go whole, to what is added:" in text
    assert re.search(r"^add +branch$", text, re.M)


def test_what_stays_for_like_reasons_is_told_together() -> None:
    text = explain_text(find_channels(build(TEXT)))
    last = text.splitlines()[-1]
    assert last == "  10 channels of left, right: it is part of the graph output 'l' (1 more like it)"


def test_a_network_without_anything_to_prune_says_why() -> None:
    text = """
graph @one(%x: tensor<1x3x8x8xf32>) {
  %w = const : tensor<8x3x3x3xf32>
  %y = nn.conv(%x, %w) {SAME} : tensor<1x8x8x8xf32> loc("only")
  return %y as "y"
}
"""
    assert explain_text(find_channels(build(text))).splitlines() == [
        "no channel can be removed", "", "What stays:",
        "  8 channels of only: it is part of the graph output 'y'",
    ]  # fmt: skip


def test_the_list_of_a_resnet50_is_readable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from secateur.model import read

    monkeypatch.setattr("secateur.tools.tables.terminal_width", lambda: 80)
    lines = explain_text(find_channels(read(models.save("resnet50", tmp_path)))).splitlines()
    assert max(map(len, lines)) <= 80
    assert len(lines) < 50


# CSV and JSON --------------------------------------------------------------------------------------


def test_csv_has_a_line_for_each_group_and_layer() -> None:
    rows = list(csv.DictReader(io.StringIO(csv_text(REPORT))))
    assert tuple(rows[0]) == COLUMNS
    assert [row["kind"] for row in rows] == ["group"] * 2 + ["layer"] * 4
    assert (rows[0]["channels_before"], rows[0]["channels_after"], rows[0]["loss"]) == ("64", "40", "0.02")
    assert (rows[4]["primitive_before"], rows[4]["seconds_after"]) == ("direct", "")


def test_json_holds_everything() -> None:
    data = json.loads(json.dumps(json_data(REPORT), allow_nan=False))
    assert data["accuracy"] == {"before": 91.5, "after": 91.25}
    stem = {"name": "/stem", "before": 64, "after": 40, "loss": 0.02, "importance": 1.0, "block": ""}
    assert data["groups"][0] == stem
    assert data["layers"][2]["after"] is None
    assert (data["model"], data["before"]["macs"], data["loss"]) == ("net.onnx", 2_000_000, 0.02)


# The page ------------------------------------------------------------------------------------------


def test_page_asks_for_nothing_from_outside_and_escapes_names() -> None:
    evil = '"><script>alert(1)</script>&amp;'
    text = render_page(replace(REPORT, model=evil, groups=(replace(STEM, name=evil),), frozen=(evil,)))
    assert re.findall(r"https?:|//[a-z]|@import|url\(|fetch\(|XMLHttp", text) == []
    page = Page(text)
    assert page.count("script") == 1
    assert evil in page.words


def test_page_shows_bars_of_groups_and_of_layers_that_changed() -> None:
    page = Page(render_page(REPORT))
    plots = [
        attributes for tag, attributes in page.tags if tag == "svg" and attributes.get("class") == "plot"
    ]
    assert len(plots) == 2 + 3
    assert page.count("tr") == 1 + len(REPORT.layers)
    assert "4.31x less time" in " ".join(page.words)
    assert REPORT.frozen[0] in page.words


def test_a_window_of_420_px_shows_names_numbers_and_bars() -> None:
    text = render_page(REPORT)
    assert max(map(int, re.findall(r"min-width: (\d+)px", text)), default=0) < 420
    assert "<text" not in text


def test_lengths_are_proportional() -> None:
    row = group_chart((STEM, BRANCH)).rows[0]
    assert [bar.width for bar in row.bars] == [PLOT_WIDTH, PLOT_WIDTH * 40 / 64]
    assert [bar.kind for bar in row.bars] == ["before", "after"]
    assert row.text == "64 → 40, 2.00% lost"


def test_a_layer_that_is_gone_has_one_bar() -> None:
    gone, both, new = time_chart(REPORT.layers).rows
    assert [len(row.bars) for row in (gone, both, new)] == [1, 2, 1]
    assert gone.text == "5.00 ms (gone)"


# Files ---------------------------------------------------------------------------------------------


def test_each_suffix_has_its_format(tmp_path: Path) -> None:
    paths = [tmp_path / name for name in ("r.csv", "r.json", "r.html")]
    write_reports(REPORT, paths)
    assert [path.read_text()[:8] for path in paths] == ["kind,nam", '{\n "mode', "<!doctyp"]


def test_paths_that_cannot_be_written_are_refused(tmp_path: Path) -> None:
    with pytest.raises(SecateurError, match="the suffix tells the format"):
        check_paths([tmp_path / "r.txt"])


# Training ------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Epoch:
    number: int
    loss: float
    accuracy: float


TRAINED = REPORT.trained([Epoch(0, 2.0, 0.5), Epoch(1, 1.0, 0.75), Epoch(2, 0.5, 0.875)])


def test_losses_fall_along_the_curve() -> None:
    curve = curve_of(TRAINED.epochs)
    assert curve is not None
    assert [mark.title for mark in curve.marks] == [
        "epoch 1: loss 2, 50.00 % right",
        "epoch 2: loss 1, 75.00 % right",
        "epoch 3: loss 0.5, 87.50 % right",
    ]
    assert [label for _, label in curve.epochs.ticks] == ["1", "2", "3"]
    heights = [mark.y for mark in curve.marks]
    assert heights == sorted(heights)  # downwards
    assert BOX.bottom - heights[0] == pytest.approx(4 * (BOX.bottom - heights[2]), abs=0.1)
    assert curve.path == " L".join(f"{m.x} {m.y}" for m in curve.marks).join(("M", ""))


def test_a_curve_is_broken_where_a_loss_is_no_number() -> None:
    rows = [EpochRow(i + 1, loss, None) for i, loss in enumerate((1.0, math.nan, 2.0, 1.5))]
    curve = curve_of(rows)
    assert curve is not None
    assert re.sub(r"[^ML]", "", curve.path) == "MML"
    assert [mark.title for mark in curve.marks] == [
        f"epoch {row.number}: loss {row.loss:g}" for row in rows if row.loss > 0
    ]
    assert curve_of([EpochRow(1, math.inf, None)]) is None


def test_the_page_has_a_curve_where_training_was_done() -> None:
    assert "Loss against epochs" not in render_page(REPORT)
    page = render_page(TRAINED)
    assert "Loss against epochs" in page
    assert "<dt>trained to</dt><dd>epoch 3: loss 0.5, 87.50 % right</dd>" in page
    assert json_data(TRAINED)["epochs"][1] == {"number": 2, "loss": 1.0, "accuracy": 0.75}


def test_without_held_out_images_no_accuracy_is_told() -> None:
    assert REPORT.trained([Epoch(0, 1.0, math.nan)]).epochs == (EpochRow(1, 1.0, None),)
