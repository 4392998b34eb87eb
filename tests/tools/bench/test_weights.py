"""The table of what networks' weights take."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import numpy as np
import pytest

from secateur.ir.errors import SecateurError
from secateur.ir.parser import parse_graph
from secateur.tools.bench.peers.weights import innermost
from secateur.tools.bench.weights import (
    BEGIN,
    END,
    LESS,
    MANY,
    MOST,
    Lines,
    line_of,
    main,
    markdown,
    most_of,
    replaced,
)  # fmt: skip
from secateur.tools.bench.weights_speed import speeds
from secateur.tools.pages.weights import weights_of

TEXT = """
graph @small(%x: tensor<1x16x6x6xf32>) {
  %w = nn.constant() {value = dense_resource<"w">} : tensor<32x16x3x3xf32>
  %y = nn.conv(%x, %w) {strides = [1, 1], pads = [1, 1, 1, 1], dilations = [1, 1]} : tensor<1x32x6x6xf32>
  return %y as "y"
}
"""
WEIGHTS = np.random.default_rng(0).standard_normal((32, 16, 3, 3)).astype(np.float32)
SMALL = partial(weights_of, parse_graph(TEXT, {"w": WEIGHTS}))


def test_a_line_has_every_way_to_store_and_what_the_best_gains() -> None:
    line = line_of("small", SMALL, 4, 0.8)
    assert line.elements == WEIGHTS.size
    assert line.bytes["smallest"] is not None
    assert line.bytes["entropy"] is not None
    assert line.bytes["smallest"] < 1.1 * line.bytes["entropy"]
    cells = list(line.cells())
    assert cells[:3] == ["small", "4", "80%"]
    assert float(cells[-3]) == pytest.approx(WEIGHTS.size / 2 / line.bytes["smallest"], abs=0.001)
    assert line.bytes["best"] is not None
    assert line.bytes["smallest"] <= line.bytes["best"]
    rows = markdown([line]).splitlines()
    assert len(rows) == 3
    assert len({row.count("|") for row in rows}) == 1


def test_of_a_large_tensor_the_first_filters_are_taken() -> None:
    each = WEIGHTS[0].size
    assert line_of("small", SMALL, 8, 0.0, 3 * each + 1).elements == 3 * each
    assert line_of("small", SMALL, 8, 0.0, 1).elements == each


def test_of_a_network_of_many_weights_less_of_each_tensor_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    assert WEIGHTS.size < MANY
    assert most_of(SMALL) == MOST
    monkeypatch.setattr("secateur.tools.bench.weights.MANY", WEIGHTS.size - 1)
    assert most_of(SMALL) == LESS


def test_what_is_known_is_kept(tmp_path: Path) -> None:
    path = tmp_path / "lines.csv"
    line = Lines(path).line("small", SMALL, 8, 0.5, 1 << 16)
    assert Lines(path).line("small", lambda *_: (), 8, 0.5, 1 << 16) == line
    assert list(Lines(path)) == [line]


def test_what_peers_take_is_read_where_it_is_known(tmp_path: Path) -> None:
    path, others = tmp_path / "lines.csv", tmp_path / "peers.csv"
    peer = line_of("small", SMALL, 8, 0.5)
    peer.bytes.update(vela=7, nnc=9, mixed=1)
    others.write_text(Lines.text_of([peer]))
    line = Lines(path, others).line("small", SMALL, 8, 0.5, 1 << 16)
    assert (line.bytes["vela"], line.bytes["nnc"]) == (7, 9)
    assert line.bytes["mixed"] != 1
    assert Lines(None, others).line("small", SMALL, 8, 0.9, 1 << 16).bytes["nnc"] != 9


def test_what_is_known_makes_the_table(tmp_path: Path) -> None:
    path, page = tmp_path / "lines.csv", tmp_path / "page.md"
    line = Lines(path).line("small", SMALL, 4, 0.9, 1 << 16)
    page.write_text(f"{BEGIN}\n{END}\n")
    main(["--known", "--lines", str(path), "--write", str(page)])
    assert page.read_text() == f"{BEGIN}\n{markdown([line])}{END}\n"


def test_vela_gets_channels_innermost() -> None:
    values = np.arange(12, dtype=np.int8).reshape(1, 3, 2, 2)
    assert innermost(values)[:3] == [0, 4, 8]
    assert innermost(values.reshape(3, 4)) == list(range(12))


def test_what_decodes_to_other_weights_has_no_speed(monkeypatch: pytest.MonkeyPatch) -> None:
    values = (WEIGHTS * 20).astype(np.int8)
    (found,) = speeds([values], "raw", None, turns=1)
    assert (found.weights, found.bytes) == (values.size, values.size + 1)
    assert found.seconds > 0
    monkeypatch.setattr("secateur.tools.bench.weights_speed.encode", lambda a, _: bytes(a.size + 1))
    with pytest.raises(SecateurError, match="other weights"):
        speeds([values], "raw", None, turns=1)


def test_the_table_takes_the_place_of_the_last_one() -> None:
    page = f"before\n{BEGIN}\nold\n{END}\nafter\n"
    assert replaced(page, "new\n") == f"before\n{BEGIN}\nnew\n{END}\nafter\n"
    with pytest.raises(SecateurError, match="no lines"):
        replaced("nothing", "new\n")


def test_a_network_without_weights_is_refused() -> None:
    text = 'graph @g(%x: tensor<1x4xf32>) {\n  %y = nn.relu(%x) : tensor<1x4xf32>\n  return %y as "y"\n}\n'
    with pytest.raises(SecateurError, match="has no weights"):
        line_of("g", partial(weights_of, parse_graph(text, {})), 8, 0.0)


def test_what_is_no_file_is_one_error() -> None:
    with pytest.raises(SecateurError):
        main(["missing.onnx"])
