"""The table of what networks' weights take."""

from __future__ import annotations

import numpy as np
import pytest

from secateur.ir.errors import SecateurError
from secateur.ir.parser import parse_graph
from secateur.tools.bench.weights import BEGIN, END, _innermost, line_of, main, markdown, replaced

TEXT = """
graph @small(%x: tensor<1x16x6x6xf32>) {
  %w = nn.constant() {value = dense_resource<"w">} : tensor<32x16x3x3xf32>
  %y = nn.conv(%x, %w) {strides = [1, 1], pads = [1, 1, 1, 1], dilations = [1, 1]} : tensor<1x32x6x6xf32>
  return %y as "y"
}
"""
WEIGHTS = np.random.default_rng(0).standard_normal((32, 16, 3, 3)).astype(np.float32)


def test_a_line_has_every_way_to_store_and_what_the_best_gains() -> None:
    line = line_of("small", parse_graph(TEXT, {"w": WEIGHTS}), 4, 0.8)
    assert line.elements == WEIGHTS.size
    assert line.bytes["smallest"] is not None
    assert line.bytes["entropy"] is not None
    assert line.bytes["smallest"] < 1.1 * line.bytes["entropy"]
    cells = list(line.cells())
    assert cells[:3] == ["small", "4", "80%"]
    assert float(cells[-2]) == pytest.approx(WEIGHTS.size / 2 / line.bytes["smallest"], abs=0.01)
    rows = markdown([line]).splitlines()
    assert len(rows) == 3
    assert len({row.count("|") for row in rows}) == 1


def test_vela_gets_channels_innermost() -> None:
    values = np.arange(12, dtype=np.int8).reshape(1, 3, 2, 2)
    assert _innermost(values)[:3] == [0, 4, 8]
    assert _innermost(values.reshape(3, 4)) == list(range(12))


def test_the_table_takes_the_place_of_the_last_one() -> None:
    page = f"before\n{BEGIN}\nold\n{END}\nafter\n"
    assert replaced(page, "new\n") == f"before\n{BEGIN}\nnew\n{END}\nafter\n"
    with pytest.raises(SecateurError, match="no lines"):
        replaced("nothing", "new\n")


def test_a_network_without_weights_is_refused() -> None:
    text = 'graph @g(%x: tensor<1x4xf32>) {\n  %y = nn.relu(%x) : tensor<1x4xf32>\n  return %y as "y"\n}\n'
    with pytest.raises(SecateurError, match="has no weights"):
        line_of("g", parse_graph(text, {}), 8, 0.0)


def test_what_is_no_file_is_one_error() -> None:
    with pytest.raises(SecateurError):
        main(["missing.onnx"])
