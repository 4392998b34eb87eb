"""The report of a quantization: what stands in each format, and that the page needs nothing else."""

import csv
import io
import json
import math
import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import pytest

from secateur.ir.errors import SecateurError
from secateur.tools.pages.charts import PLOT_WIDTH, Axis, nice_step, short_name
from secateur.tools.pages.quantization_page import render_page, sqnr_chart, sqnr_text, time_chart
from secateur.tools.pages.quantization_report import check_paths, csv_text, json_data, write_reports
from secateur.tools.pages.quantization_rows import COLUMNS, LayerReport, LayerRow

CONV = LayerRow(
    "/block0/conv/Conv", "q.winograd_conv", "winograd", "4x2", scale=0.02, zero_point=0, low=0.0, high=5.1,
    saturation=0.0012, sqnr_db=31.25, estimated_seconds=1e-4, float_estimated_seconds=3e-4,
)  # fmt: skip
POOL = LayerRow(
    "/pool", "nn.max_pool", "pool", scale=0.02, zero_point=0, low=0.0, high=5.1, sqnr_db=math.inf,
    estimated_seconds=2e-6, float_estimated_seconds=6e-6,
)  # fmt: skip
FC = LayerRow("/fc", "nn.matmul", estimated_seconds=1e-5, float_estimated_seconds=1e-5)
LAYERS = (CONV, POOL, FC)
REPORT = LayerReport("net", LAYERS, {"target": "host", "output_sqnr_db": 30.5}, 20.0, ("/fc", "/a b"))


class Page(HTMLParser):
    """Counts tags and collects attributes and text; a tag that closes another is an error."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.words: list[str] = []
        self.feed(text)
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in ("meta",):
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open[-1:] not in (["script"], ["style"]):
            self.words.append(data)

    def count(self, tag: str) -> int:
        return sum(name == tag for name, _ in self.tags)


# CSV and JSON --------------------------------------------------------------------------------------


def test_csv_has_one_line_a_layer_in_order() -> None:
    rows = list(csv.DictReader(io.StringIO(csv_text(REPORT))))
    assert [row["name"] for row in rows] == ["/block0/conv/Conv", "/pool", "/fc"]
    assert (rows[0]["scale"], rows[0]["zero_point"], rows[0]["tile"]) == ("0.02", "0", "4x2")
    assert (rows[1]["sqnr_db"], rows[2]["sqnr_db"]) == ("inf", "")


def test_csv_quotes_names_with_commas_and_quotes() -> None:
    name = 'a,"b"\nc'
    (row,) = csv.DictReader(io.StringIO(csv_text(replace(REPORT, layers=(replace(CONV, name=name),)))))
    assert row["name"] == name


def test_json_holds_every_field_and_no_infinity() -> None:
    data = json.loads(json.dumps(json_data(REPORT), allow_nan=False))
    assert [set(row) for row in data["layers"]] == [set(COLUMNS)] * 3
    assert data["layers"][0]["saturation"] == 0.0012
    assert data["layers"][1]["sqnr_db"] is None
    assert (data["model"], data["target"], data["output_sqnr_db"]) == ("net", "host", 30.5)
    assert data["float_layers"] == ["/fc", "/a b"]


# The page ------------------------------------------------------------------------------------------


def test_page_asks_for_nothing_from_outside() -> None:
    text = render_page(REPORT)
    assert re.findall(r"https?:|//[a-z]|@import|url\(|fetch\(|XMLHttp", text) == []
    assert not {"link", "img", "iframe", "object"} & {tag for tag, _ in Page(text).tags}
    assert [
        attributes for tag, attributes in Page(text).tags if {"src", "href", "xlink:href"} & attributes.keys()
    ] == []


def test_page_has_one_row_a_layer_in_the_table_and_in_the_charts() -> None:
    page = Page(render_page(REPORT))
    assert page.count("tr") == 1 + len(LAYERS)
    drawn = [
        attributes for tag, attributes in page.tags if tag == "svg" and attributes.get("class") == "plot"
    ]
    assert len(drawn) == 2 + 2 + 3  # SQNR and ranges are known of two layers, times of three


def test_a_window_of_420_px_shows_names_numbers_and_bars() -> None:
    """Letters are text of the page, which wraps, and no drawing has a width of its own."""
    text = render_page(REPORT)
    assert max(map(int, re.findall(r"min-width: (\d+)px", text)), default=0) < 420
    assert "@media (max-width: 640px)" in text
    assert "<text" not in text


def test_page_escapes_names() -> None:
    evil = '"><script>alert(1)</script>&amp;'
    text = render_page(replace(REPORT, model=evil, layers=(replace(CONV, name=evil),), float_layers=(evil,)))
    page = Page(text)
    assert page.count("script") == 1
    assert "<script>alert" not in text
    assert evil in page.words


def test_page_has_colours_for_light_and_dark() -> None:
    text = render_page(REPORT)
    assert "prefers-color-scheme: dark" in text
    variables = [set(re.findall(r"--(\w+):", block)) for block in re.findall(r":root \{(.*?)\}", text)]
    assert variables[0] == variables[1] != set()


def test_page_leaves_out_columns_that_nothing_fills() -> None:
    words = Page(render_page(REPORT)).words
    assert "estimated" in words
    assert "measured" not in words
    assert (
        "measured" in Page(render_page(replace(REPORT, layers=(replace(CONV, measured_seconds=1e-4),)))).words
    )


def test_page_of_no_layer_has_no_chart() -> None:
    page = Page(render_page(LayerReport("net", (), {})))
    assert (page.count("svg"), page.count("tr")) == (0, 1)


def test_page_gives_the_float_layers_as_an_option() -> None:
    assert "--keep-float /fc --keep-float '/a b'" in "".join(Page(render_page(REPORT)).words)


# Charts --------------------------------------------------------------------------------------------


def test_worst_layer_comes_first_and_what_falls_short_is_marked() -> None:
    poor = replace(CONV, name="poor", sqnr_db=12.0)
    chart = sqnr_chart((POOL, CONV, poor, FC), 20.0)
    assert [row.name for row in chart.rows] == ["poor", "/block0/conv/Conv", "/pool"]
    assert [row.bars[0].kind for row in chart.rows] == ["bad", "int8", "int8"]
    assert [row.text for row in chart.rows] == ["12.0 dB", "31.2 dB", "exact"]
    assert chart.rows[0].bars[0].width < chart.mark < chart.rows[1].bars[0].width  # type: ignore[operator]


def test_lengths_are_proportional() -> None:
    half = replace(CONV, sqnr_db=15.625)
    short, long = sqnr_chart((CONV, half), None).rows
    assert long.bars[0].width == PLOT_WIDTH
    assert short.bars[0].width == PLOT_WIDTH / 2


def test_longest_layer_comes_first_with_both_times() -> None:
    chart = time_chart((POOL, CONV, FC), measured=False)
    assert [row.name for row in chart.rows] == ["/block0/conv/Conv", "/fc", "/pool"]
    assert chart.rows[0].text == "300.00 us → 100.00 us (3.00x)"
    assert [bar.kind for bar in chart.rows[0].bars] == ["float", "int8"]


def test_measured_times_replace_estimates() -> None:
    timed = replace(CONV, measured_seconds=2e-4, float_measured_seconds=5e-4)
    assert time_chart((timed,), measured=True).rows[0].text == "500.00 us → 200.00 us (2.50x)"


@pytest.mark.parametrize(
    ("span", "step"), [(1.0, 0.2), (30.0, 5.0), (4.0, 1.0), (0.00031, 5e-5), (800.0, 200.0), (39.0, 5.0)]
)
def test_steps_are_round(span: float, step: float) -> None:
    assert nice_step(span) == pytest.approx(step)


def test_axis_holds_what_lies_outside() -> None:
    axis = Axis(-1.0, 1.0)
    assert (axis.x(-9), axis.x(0), axis.x(math.inf)) == (
        0,
        PLOT_WIDTH / 2,
        PLOT_WIDTH,
    )
    assert [label for _, label in axis.ticks(lambda v: f"{v:g}")] == ["-1", "-0.5", "0", "0.5", "1"]


def test_long_names_keep_their_end() -> None:
    assert short_name("a/b+c/d") == "a/b"
    assert short_name("x" * 60 + "/conv1") == "…" + "x" * 37 + "/conv1"


@pytest.mark.parametrize(
    ("value", "text"),
    [(20.04, "20.0 dB"), (math.inf, "exact"), (-math.inf, "lost"), (None, "-"), (math.nan, "-")],
)
def test_sqnr_for_people(value: float | None, text: str) -> None:
    assert sqnr_text(value) == text


# Files ---------------------------------------------------------------------------------------------


def test_each_suffix_has_its_format(tmp_path: Path) -> None:
    paths = [tmp_path / name for name in ("r.csv", "r.json", "r.HTML")]
    write_reports(REPORT, paths)
    assert [path.read_text()[:8] for path in paths] == ["name,ope", '{\n "mode', "<!doctyp"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["r.HTML", "r.csv", "r.json"]


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (["r.xlsx"], r"the suffix tells the format: \.csv, \.json, \.html"),
        (["report"], "the suffix tells the format"),
        (["missing/r.csv"], "there is no folder"),
        (["a.csv", "a.csv"], "given twice"),
        (["folder.csv"], "is a folder"),
    ],
)
def test_paths_that_cannot_be_written_are_refused(tmp_path: Path, names: list[str], message: str) -> None:
    (tmp_path / "folder.csv").mkdir()
    with pytest.raises(SecateurError, match=message):
        check_paths(tmp_path / name for name in names)


def test_nothing_is_written_where_one_path_is_bad(tmp_path: Path) -> None:
    with pytest.raises(SecateurError):
        write_reports(REPORT, [tmp_path / "r.csv", tmp_path / "r.pdf"])
    assert list(tmp_path.iterdir()) == []
