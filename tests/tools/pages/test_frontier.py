"""`secateur select`: the frontier, what compiles its points, and that the page needs nothing else."""

import csv
import io
import json
import re
from collections.abc import Callable, Collection
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import pytest

from secateur.codegen.backends.cpu.costs import AnalyticCosts
from secateur.codegen.targets.find import find
from secateur.ir.graph import Graph
from secateur.model import read
from secateur.passes.framework.manager import PassManager
from secateur.passes.memory import memory as memory_module
from secateur.passes.memory.memory import Report, arena_report
from secateur.prepare import prepare
from secateur.tools.pages.frontier import Difference, Frontier, Point, frontier
from secateur.tools.pages.frontier_page import BROAD, NARROW, Box, drawing, render_page, scale
from secateur.tools.pages.frontier_report import COLUMNS, csv_text, json_data, table_text
from secateur.tools.pages.quantization_times import Selection

from ..conftest import Cli
from .test_quantization_report import Page

MODEL = Path(__file__).parents[3] / "examples" / "digits" / "resnet20.onnx"
TARGET = "rpi4"
DIFFERENCES = (
    Difference(0, "direct", "NCHW -> NCHW", "winograd4", "NCHW -> NCHW"),
    Difference(1, "pool", "NCHW -> NCHW", "pool", "NCHW8c -> NCHW8c"),
)
LEAN = Point(0.003, 1 << 19, "a,select{memory=512KiB}", DIFFERENCES, 0.003)
FAST = Point(0.002, 1 << 20, "a,select{memory=1MiB}", (), 0.001, "not all was <tried>")
DRAWN = Frontier("net", "host", False, (("nn.conv", "/c</script>+/d"), ("nn.max_pool", "")), (LEAN, FAST))


def silent(_what: str, _done: int, _total: int) -> None: ...


@pytest.fixture(scope="module")
def found() -> Frontier:
    return frontier(read(MODEL), TARGET, False, silent)


# The frontier --------------------------------------------------------------------------------------


def test_arena_rises_and_time_falls(found: Frontier) -> None:
    assert len(found.points) > 2
    assert [p.arena for p in found.points] == sorted({p.arena for p in found.points})
    assert [p.seconds for p in found.points] == sorted({p.seconds for p in found.points}, reverse=True)
    assert found.doubts == ()
    assert [p.bound for p in found.points] == [p.seconds for p in found.points]


@pytest.mark.parametrize("number", [0, 2, -1])
def test_the_pipeline_of_a_point_compiles_that_point(found: Frontier, number: int) -> None:
    point, costs = found.points[number], AnalyticCosts(find(TARGET))
    selection = Selection(costs)
    graph = PassManager(prepare(point.pipeline, find(TARGET)), (selection,)).run(read(MODEL)).graph
    moves = [(op.operands[0].type, op.result.type) for op in graph.operators if op.name == "prim.relayout"]
    seconds = sum(costs.conversion(a, a.layout, b.layout) for a, b in moves)
    assert seconds + sum(row.seconds for row in selection.timed) == pytest.approx(point.seconds)
    assert arena_report(graph).peak == point.arena


def gappy(peaks: Collection[int], gap: int) -> Callable[[Graph], Report]:
    """`arena_report` as if placement left a gap in arenas of these peaks."""

    def report(graph: Graph) -> Report:
        found = arena_report(graph)
        return replace(found, peak=found.peak + (gap if found.peak in peaks else 0))

    return report


def test_arenas_with_gaps_are_told_as_placed_and_in_doubt(
    found: Frontier, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(memory_module, "arena_report", gappy([p.arena for p in found.points], 64))
    gaps = frontier(read(MODEL), TARGET, False, silent)
    assert [p.arena for p in gaps.points] == [p.arena + 64 for p in found.points]
    assert [p.seconds for p in gaps.points] == [p.seconds for p in found.points]
    assert gaps.doubts == ("buffers were placed with gaps between them; others may fit together without",)


def test_a_plan_whose_gaps_make_it_no_smaller_than_a_faster_one_is_left_out(
    found: Frontier, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, *others, last = found.points
    monkeypatch.setattr(memory_module, "arena_report", gappy([p.arena for p in others], last.arena))
    assert frontier(read(MODEL), TARGET, False, silent).points == (first, last)


def test_differences_are_from_the_fastest_which_is_last(found: Frontier) -> None:
    assert found.points[-1].differences == ()
    lean = found.points[0].differences
    assert lean
    assert all((d.primitive, d.layouts) != (d.instead_of, d.instead_of_layouts) for d in lean)


def test_a_difference_names_layouts_only_where_they_differ() -> None:
    first, second = LEAN.differences
    assert first.text == "direct for winograd4"
    assert second.text == "pool NCHW -> NCHW for pool NCHW8c -> NCHW8c"


# What is said of it --------------------------------------------------------------------------------


def test_csv_has_a_line_for_each_point() -> None:
    rows = list(csv.DictReader(io.StringIO(csv_text(DRAWN))))
    assert tuple(rows[0]) == COLUMNS
    assert [float(row["seconds"]) for row in rows] == [0.003, 0.002]
    assert rows[0]["pipeline"] == LEAN.pipeline
    assert rows[1]["doubt"] == FAST.doubt


def test_json_names_operators_and_nodes() -> None:
    first = json_data(DRAWN)["points"][0]["differences"][0]
    assert (first["operator"], first["node"]) == DRAWN.operators[0]
    assert (first["primitive"], first["fastest_primitive"]) == ("direct", "winograd4")


def test_the_table_says_what_is_in_doubt() -> None:
    lines = table_text(DRAWN).splitlines()
    assert lines[-1] == "not all may be optimal: not all was <tried>"
    assert len(lines) == 9


def test_the_table_is_narrow_and_pipelines_stand_below_a_line_each() -> None:
    shown, below = table_text(DRAWN).split("\n\nfor compile --pipeline:\n")
    assert shown.splitlines()[2].split() == ["1", "3.00", "ms", "50.0%", "512.0", "KiB", "2"]
    assert max(map(len, shown.splitlines())) <= 80
    assert [line.split() for line in below.splitlines()[:2]] == [["1", LEAN.pipeline], ["2", FAST.pipeline]]


def test_measured_times_are_wanted_again_for_compiling() -> None:
    assert "compile with --tune too" in table_text(replace(DRAWN, tuned=True))
    assert "compile with --costs 'my table.json' too" in table_text(replace(DRAWN, costs="my table.json"))


# The page ------------------------------------------------------------------------------------------


def test_the_page_draws_every_point_and_fetches_nothing() -> None:
    text = render_page(DRAWN)
    page = Page(text)
    points = [attributes for tag, attributes in page.tags if tag == "g"]
    assert len(points) == 2 * len(DRAWN.points)  # in a broad and in a narrow window
    assert not [
        value for _, attributes in page.tags for name, value in attributes.items() if name in ("src", "href")
    ]
    assert not re.search(r"https?://|@import|url\(", text)
    assert "not all was <tried>" in "".join(page.words)
    assert "<tried>" not in text


def test_the_page_carries_the_plans() -> None:
    text = render_page(DRAWN)
    found = re.search(r'<script type="application/json" id="plans">(.*?)</script>', text, re.DOTALL)
    assert found is not None
    plans = json.loads(found[1])
    assert [plan["pipeline"] for plan in plans] == [LEAN.pipeline, FAST.pipeline]
    assert plans[0]["differences"][0] == ["/c</script> (+1) (nn.conv)", "direct for winograd4"]
    assert plans[1]["title"] == "2.00 ms, 1.0 MiB: the fastest"


@pytest.mark.parametrize("box", [BROAD, NARROW])
def test_points_lie_inside_the_axes_and_less_is_lower(box: Box) -> None:
    drawn = drawing(DRAWN, box)
    lean, fast = drawn.marks
    assert box.left < lean.x < fast.x < box.right
    assert box.top < lean.y < fast.y < box.bottom
    assert drawn.line == f"M{lean.x} {box.top} V{lean.y} H{fast.x} V{fast.y} H{box.right}"


@pytest.mark.parametrize("box", [BROAD, NARROW])
@pytest.mark.parametrize("spread", [1.0001, 1.01, 1.3, 2.0, 7.0, 900.0])
@pytest.mark.parametrize("least", [1000, 123_457, 5_000_000, 990_000_000])
def test_labels_have_room(box: Box, spread: float, least: int) -> None:
    """Letters of 12 px are some 7 px wide, and a drawing's unit is a pixel where it fills its window."""
    points = (replace(LEAN, arena=least, seconds=least * spread / 1e9), FAST)
    ends = replace(points[1], arena=int(least * spread), seconds=least / 1e9)
    drawn = drawing(replace(DRAWN, points=(points[0], ends)), box)
    places = drawn.memory.ticks
    for (x, label), (following, other) in pairwise(places):
        assert following - x > 7 * (len(label) + len(other)) / 2
    assert max(7 * len(label) for _, label in drawn.time.ticks) <= box.left - 8
    assert len(places) >= 2


def test_a_window_of_420_px_shows_the_page_without_scaling() -> None:
    assert NARROW.width <= 420 - 30  # the page's margins
    assert max(map(int, re.findall(r"min-width: (\d+)px", render_page(DRAWN))), default=0) < 420


@pytest.mark.parametrize("values", [[0.0], [4096.0], [1.0, 1.0], [1e6, 3e9]])
def test_a_scale_holds_its_values_and_has_ticks(values: list[float]) -> None:
    axis = scale(values, 10, 110, ((1024.0, "KiB"), (1.0, "B")))
    assert all(10 <= axis.place(value) <= 110 for value in values)
    assert len(axis.ticks) >= 2
    assert len({label for _, label in axis.ticks}) == len(axis.ticks)


# The command ---------------------------------------------------------------------------------------


def test_select_prints_writes_and_draws(cli: Cli, model: Path, tmp_path: Path) -> None:
    line, page = tmp_path / "points.csv", tmp_path / "points.html"
    result = cli("select", model, "--target", TARGET, "--csv", line, "--frontier", page)
    assert result.code == 0, result.err
    assert result.out.splitlines()[0].split() == ["plan", "time", "slower", "arena", "differ"]
    assert f"page: {page}" in result.out
    shown = cli("select", model, "--target", TARGET, "--json").json
    assert shown["model"] == model.name
    assert f"<h1>{model.name} on {TARGET}" in page.read_text()
    assert [row["pipeline"] for row in csv.DictReader(io.StringIO(line.read_text()))] == [
        point["pipeline"] for point in shown["points"]
    ]
    assert Page(page.read_text()).count("g") == 2 * len(shown["points"])


def test_select_takes_models_in_int8(cli: Cli, model: Path, tmp_path: Path) -> None:
    quantized = tmp_path / "residual.int8.onnx"
    assert cli("quantize", model, "-o", quantized, "--calibration", "random:4").code == 0
    text = cli("select", quantized, "--target", TARGET, "--json").json["points"][0]["pipeline"]
    assert cli("compile", quantized, "-o", tmp_path / "out.so", "--pipeline", text).code == 0


def test_select_refuses(cli: Cli, model: Path, artifact: Path, tmp_path: Path) -> None:
    chosen = tmp_path / "chosen.sir"
    cli("opt", model, "--pipeline", "canonicalize,fuse,select", "-o", chosen)
    for words, message in (
        ((chosen,), "this IR has its primitives already"),
        ((artifact,), "is a compiled artifact"),
        ((model, "--target", "toaster"), "unknown target 'toaster'"),
        ((model, "--target", TARGET, "--tune"), f"target {TARGET} is another"),
        ((model, "--csv", "/proc/nowhere/out.csv"), "/proc/nowhere"),
    ):
        result = cli("select", *words)
        assert (result.code, result.out) == (2, ""), words
        assert message in result.err
