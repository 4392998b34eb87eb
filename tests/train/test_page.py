"""The examples of docs/training.md, one after the other, on the tiny network."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

from . import tiny

pytest.importorskip("torch", reason="PyTorch is not installed: make test-train installs it")

PAGE = Path(__file__).resolve().parents[2] / "docs" / "training.md"


def test_the_pages_examples_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    onnx.save(tiny.model(), "model.onnx")
    images, labels = tiny.images(600)
    np.savez("data.npz", input=images, labels=labels)
    blocks = re.findall(r"^```text\n(.*?)^```$", PAGE.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
    assert len(blocks) == 3
    names: dict[str, Any] = {}
    for block in blocks:
        exec(block, names)
    assert 0 < float(capsys.readouterr().out) <= 1  # the accuracy
    assert (tmp_path / "model.pt").exists()
    assert names["eight"].outputs
