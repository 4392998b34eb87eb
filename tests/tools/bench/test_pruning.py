"""The comparison of pruning methods: its table, and methods that keep what they are asked for."""

from __future__ import annotations

from pathlib import Path

import pytest

pytest.importorskip("torch", reason="methods are compared where PyTorch is; make test-train installs it")

import secateur
from secateur.tools.bench.pruning.__main__ import UNPRUNED, Row, as_markdown
from secateur.tools.bench.pruning.fashion import MODEL
from secateur.tools.bench.pruning.methods import METHODS, macs


def test_the_table_has_a_line_for_each_method_and_the_mean_of_its_seeds() -> None:
    rows = [
        Row(UNPRUNED, 1, 0, 0, 0.94, 300),
        Row("ours", 2, 3, 0, 0.93, 150),
        Row("ours", 2, 3, 1, 0.95, 150),
        Row("ours", 1.5, 0, 0, 0.90, 200),
    ]
    lines = as_markdown(rows).splitlines()
    assert lines[2:] == [
        "| unpruned | 1.00x | 0 | 94.00% | 0.00 |",
        "| ours | 1.50x | 0 | 90.00% | 4.00 |",
        "| ours (2 seeds) | 2.00x | 3 | 94.00% | 0.00 |",
    ]


@pytest.mark.parametrize("method", [m for m in METHODS if not m.images and m.name != "DepGraph, one shot"])
def test_a_method_keeps_the_limit(method: object, tmp_path: Path) -> None:
    output = tmp_path / "pruned.onnx"
    method.make(MODEL, 0.5, output, "rpi4")  # type: ignore[attr-defined]
    assert macs(secateur.read(output)) <= 0.5 * macs(secateur.read(MODEL))
