"""Products that no result needs are not made by compiled kernels: counted as they run under qemu-user."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from secateur.codegen.artifact import write_artifact
from secateur.codegen.targets.rows import TARGETS
from secateur.tools.bench.arm.counting import snapshots
from tests.tools.bench.arm.test_counting import needs_tools

from ...cross_harness import Builder, Case
from ..test_float_cross import SAME, conv
from .test_linear_winograd import layer

SIDE, CHANNELS = 16, 32
LOWER = SIDE - 1  # of the image's rows or columns: in tiles of four the last of tiles is one lower
LEFT = (3 * 36 + 30) / (4 * 36)  # of the products, without those at infinity of its last rows or columns

pytestmark = pytest.mark.slow  # a link for ARM


@needs_tools
def test_tiles_that_are_lower_make_no_products_at_infinity(tmp_path: Path) -> None:
    """Answers are the same with them. Rows of bytes, columns of floats."""
    builder = Builder(TARGETS["rpi4"])
    for rows in (SIDE, LOWER):
        builder.add(Case("linear_winograd", *layer((1, CHANNELS, rows, SIDE), CHANNELS, (4, 4))))
    for columns in (SIDE, LOWER):
        builder.add(conv("winograd4", (1, CHANNELS, SIDE, columns), CHANNELS, 3, pads=SAME))
    bench = write_artifact(builder.program(), tmp_path / "model", "dir") / "bench"
    once = ("--threads", "1", "--warmup", "1", "--iterations", "1", "--json")
    marks, told = snapshots([bench, *once], "cortex-a72")
    timed = marks[-2 * len(json.loads(told)["operators"]) - 1 : -1]
    counts = [after - before for before, after in zip(timed[::2], timed[1::2], strict=True)]
    for kind, (whole, lower) in {"imlal": counts[:2], "fma32": counts[2:]}.items():
        made = lower.of(kind) / whole.of(kind)
        assert made == pytest.approx(LEFT, abs=(1 - LEFT) / 2), f"{kind}: {made:.3f} of the products"
