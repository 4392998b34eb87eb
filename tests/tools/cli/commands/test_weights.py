"""`secateur weights`: what each way to store a model's weights takes."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest

from secateur.codegen.weights.network import network_table
from secateur.codegen.weights.registry import CHOOSING, CODECS, SMALLEST
from secateur.codegen.weights.streams import encode
from secateur.ir.parser import parse_graph
from secateur.tools.pages.weights import (
    Weights,
    entropy_bits,
    patterns_of,
    report,
    rounded,
    sparse_bytes,
    weights_of,
)
from secateur.tools.pages.weights_page import render_page

from ...conftest import Cli

TEXT = """
graph @small(%x: tensor<1x16x6x6xf32>) {
  %w = nn.constant() {value = dense_resource<"w">} : tensor<32x16x3x3xf32>
  %b = nn.constant() {value = dense_resource<"b">} : tensor<1x32x1x1xf32>
  %0 = nn.conv(%x, %w) {strides = [1, 1], pads = [1, 1, 1, 1], dilations = [1, 1]} : tensor<1x32x6x6xf32>
  %y = nn.add(%0, %b) : tensor<1x32x6x6xf32>
  return %y as "y"
}
"""
DRAWN = np.random.default_rng(0).standard_normal((32, 16, 3, 3)).astype(np.float32)


def test_weights_are_what_multiplies() -> None:
    graph = parse_graph(TEXT, {"w": DRAWN, "b": np.ones((1, 32, 1, 1), np.float32)})
    (found,) = weights_of(graph, bits=4, pruned=0.5)
    assert found.name == "w"
    assert np.abs(found.values).max() == 7
    assert (np.abs(found.values).max(axis=(1, 2, 3)) == 7).all()
    assert np.count_nonzero(found.values) <= DRAWN.size // 2
    gone = np.sort(np.abs(DRAWN).reshape(-1))[: DRAWN.size // 2]
    assert (found.values[np.abs(DRAWN) <= gone[-1]] == 0).all()


def test_rounding_is_to_the_nearest() -> None:
    values = np.array([[7.0, 3.4, -3.6, 0.5], [0, 0, 0, 0]], np.float32)
    assert rounded(values, 4).tolist() == [[7, 3, -4, 0], [0, 0, 0, 0]]


def test_sizes_are_those_of_the_streams() -> None:
    values = rounded(DRAWN, 8)
    found = report("m.onnx", [Weights("w", values)], 8, 0.0)
    (row,) = found.rows
    for name in CODECS:
        known, table = row.bytes[name], network_table([(values, name)])
        assert known is not None
        assert abs(known - len(encode(values, name, table))) <= 16 + known // 100
        assert found.total.bytes[name] == known + len(table)
    assert row.bytes["smallest"] == min(row.bytes[name] or 0 for name in CHOOSING[SMALLEST])
    assert (row.bytes["float32"], row.bytes["dense"]) == (4 * values.size, values.size)


def test_the_baselines_count_as_they_say() -> None:
    values = np.zeros((4, 100), np.int8)
    values[0, :7] = 5
    assert sparse_bytes(values, 8) == 7 + 7 * 2 + 4 * 5  # compressed rows
    assert sparse_bytes(np.ones((4, 100), np.int8), 8) == 400 + 50  # a bitmap
    assert entropy_bits(np.array([[1, 1, 2, 2]], np.int8)) == 4


def test_frequent_filters_are_counted_across_layers() -> None:
    filters = np.arange(36, dtype=np.int8).reshape(2, 2, 3, 3)
    layers = [Weights("a", filters), Weights("b", filters[:1]), Weights("c", np.ones((4, 4), np.int8))]
    found = patterns_of(layers)
    assert [p.count for p in found] == [2, 2]
    assert found[0].values.tolist() == filters[0, 0].tolist()
    page = render_page(report("m.onnx", layers, 8, 0.0))
    assert page.count("<figure>") == 2
    assert "occurs 2 times" in page


def test_the_command_prints_writes_and_counts_alike(cli: Cli, model: Path, tmp_path: Path) -> None:
    done = cli("weights", model, "--bits", "5", "--csv", tmp_path / "w.csv", "--html", tmp_path / "w.html")
    assert done.code == 0
    assert "that is smaller by" in done.out
    assert "network-huffman" in done.out
    rows = list(csv.DictReader((tmp_path / "w.csv").read_text().splitlines()))
    data = cli("weights", model, "--bits", "5", "--json").json
    assert [row["layer"] for row in rows] == [row["name"] for row in data["layers"]] + ["all"]
    assert int(rows[-1]["dense"]) == data["all"]["bytes"]["dense"]
    assert sum(int(row["smallest"]) for row in rows[:-1]) == int(rows[-1]["smallest"])
    assert (tmp_path / "w.html").read_text().count("<tr>") == len(rows) + 1


@pytest.mark.parametrize(("option", "value"), [("--bits", "9"), ("--bits", "1"), ("--pruned", "1.5")])
def test_options_out_of_range_are_refused(cli: Cli, model: Path, option: str, value: str) -> None:
    assert cli("weights", model, option, value).code == 2


def test_a_model_without_weights_is_refused(cli: Cli, tmp_path: Path) -> None:
    path = tmp_path / "relu.sir"
    path.write_text(
        'graph @r(%x: tensor<1x4xf32>) {\n  %y = nn.relu(%x) : tensor<1x4xf32>\n  return %y as "y"\n}\n'
    )
    done = cli("weights", path)
    assert done.code == 2
    assert "has no weights" in done.err
