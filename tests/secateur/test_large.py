"""Graphs of hundreds and thousands of operators, from model to answers."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest

from secateur.codegen.backends.cpu.costs import AnalyticCosts
from secateur.codegen.targets.rows import TARGETS
from secateur.ir.onnx_reader import read_model
from secateur.passes.canonicalize.canonicalize import Canonicalize
from secateur.passes.framework.base import Pass
from secateur.passes.framework.manager import PassManager
from secateur.passes.fuse.fuse import Fuse
from secateur.passes.layout import InsertConversions
from secateur.passes.memory.memory import Memory
from secateur.passes.select.select import Select
from secateur.tools.fuzz import large
from secateur.tools.fuzz.compile_family import check_compiled
from tests.sampled import sampled

MODELS = [large.fan_out(1, 120), large.scaled_concat(1000), large.scaled_sum(1000), large.chain(1200, 3)]


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:selection may not be optimal:UserWarning")
@pytest.mark.parametrize(
    "model",
    sampled(MODELS, [MODELS[0], MODELS[3]]),
    ids=["fan-out", "concatenation", "sum", "chain"],
)
def test_large_graphs_compile_and_answer_as_the_interpreter_does(model: Any, tmp_path: Path) -> None:
    assert check_compiled(read_model(model), 1, tmp_path) == "agreed"


def calls(model: Any) -> int:
    """How many functions are entered on the way from the reader's graph to one whose values have places."""
    graph, count = read_model(model), 0

    def on_event(_frame: Any, event: str, _argument: Any) -> None:
        nonlocal count
        count += event == "call"

    passes: tuple[Pass, ...] = (
        Canonicalize(),
        Fuse(),
        Select(costs=AnalyticCosts(TARGETS["x86-64-v3"])),
        InsertConversions(),
        Memory(),
    )
    sys.setprofile(on_event)
    try:
        PassManager(passes).run(graph)
    finally:
        sys.setprofile(None)
    return count


@pytest.mark.slow
@pytest.mark.parametrize("make", [large.scaled_concat, large.scaled_sum, lambda n: large.chain(n, 3)])
def test_work_grows_as_the_graph_does(make: Any) -> None:
    """Four times the operators, four times the work and no more: no step looks at each pair of values."""
    calls(make(50))  # what is done once
    assert calls(make(240)) < 4.5 * calls(make(60))
