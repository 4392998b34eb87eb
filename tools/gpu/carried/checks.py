"""Answers held against the interpreter's."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from .artifact import Model
from .driver import Array

TOLERANCE = {"fp32": 1e-4, "fp16": 2e-2}  # of an output's largest magnitude; in bytes there is none


def check(answers: Path, artifact: Path, case: dict[str, Any]) -> dict[str, Any]:
    """The case's row: by how much each output differs, and whether it may."""
    outputs = case["outputs"]
    with np.load(answers) as file:
        given = [np.ascontiguousarray(file[f"input{i}"]) for i in range(case["inputs"])]
        wanted = [file[f"output{i}"] for i in range(len(outputs))]
    model = Model(artifact)
    try:
        found = model.run(given)
    finally:
        model.close()
    pairs = zip(outputs, found, wanted, strict=True)
    worst = {name: _difference(raw.view(w.dtype).reshape(w.shape), w) for name, raw, w in pairs}
    tolerance = TOLERANCE.get(case["precision"], 0.0)
    ok = all(difference <= tolerance for difference in worst.values())
    return {"name": case["name"], "worst": worst, "tolerance": tolerance, "ok": ok}


def _difference(found: Array, wanted: Array) -> float:
    """Relative to the largest magnitude; infinite where one has no number."""
    found, wanted = found.astype(np.float64), wanted.astype(np.float64)
    if not np.isfinite(found).all():
        return float("inf")
    return float(np.abs(found - wanted).max(initial=0) / max(np.abs(wanted).max(initial=0), 1e-30))
