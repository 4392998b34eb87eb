"""The whole pipeline on the benchmark's networks: operators left, arena against its bound, answers kept."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from secateur.codegen.targets.find import find
from secateur.ir.graph import Graph
from secateur.ir.onnx_reader import read_model
from secateur.passes.framework.manager import PassManager, operator_count
from secateur.passes.framework.pipeline import parse_pipeline
from secateur.passes.memory.memory import arena_report
from secateur.prepare import prepare
from secateur.tools.bench import models
from tests.sampled import sampled_rows

FRONT = "canonicalize,fuse,canonicalize"


def network(name: str, folder: Path) -> Graph:
    return read_model(models.save(name, folder))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "operators"),
    sampled_rows(
        [
            ("resnet18", 24),
            ("squeezenet1.1", 39),
            ("googlenet", 82),
            ("mobilenet-v2", 55),
            ("densenet121", 247),
        ],
        lambda name, _: name != "densenet121",
    ),
)
def test_operators_left_and_arena_within_five_percent(name: str, operators: int, tmp_path: Path) -> None:
    front = PassManager(parse_pipeline(FRONT)).run(network(name, tmp_path)).graph
    assert operator_count(front) == operators
    placed = PassManager(prepare("select,layout,memory", find("x86-64-v3"))).run(front).graph
    report = arena_report(placed)
    assert report.lower_bound <= report.peak <= 1.05 * report.lower_bound


def test_every_pass_keeps_the_answers_of_a_residual_network(tmp_path: Path) -> None:
    graph = network("resnet20", tmp_path)
    (image,) = graph.inputs
    array = np.random.default_rng(0).standard_normal(image.type.shape).astype(np.float32)
    passes = prepare(f"{FRONT},select,layout,memory", find("x86-64-v3"))
    records = PassManager(passes, inputs={image.name: array}).run(graph).records
    assert all(r.moved is not None and r.moved <= 1e-5 for r in records)
    assert (records[0].operators_before, records[2].operators_after) == (73, 24)
