"""ONNX's own node tests, compiled: from the model to an artifact, loaded and run."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from secateur.ir.errors import SecateurError
from secateur.ir.graph import Graph
from secateur.tools.checks.onnx_backend import Arrays, CompileGraph, SecateurBackend, compiled
from tests.onnx import suite

GROUPS = sorted(suite.cases())


def _complaints(group: str, compile_graph: CompileGraph) -> list[str]:
    complaints = []
    for case in suite.cases()[group]:
        try:
            suite.check(case, SecateurBackend.prepare(case.model, compile_graph=compile_graph))
            said = ""
        except (SecateurError, AssertionError) as error:
            said = str(error)
        row = suite.excluded(case, "refused")
        if said if row is None else not row.expects(said):
            complaints.append(f"{case.name}: {said or 'passes, but is excluded'}")
    return complaints


@pytest.mark.parametrize("group", GROUPS)
def test_compiled(group: str, tmp_path: Path) -> None:
    assert _complaints(group, compiled(tmp_path)) == []


@pytest.mark.slow
@pytest.mark.parametrize("name", suite.LIGHT_MODELS)
def test_light_model(name: str, tmp_path: Path) -> None:
    suite.check_light_model(name, compiled(tmp_path))


def test_a_wrong_answer_is_noticed(tmp_path: Path) -> None:
    honest = compiled(tmp_path)

    def liar(graph: Graph) -> Callable[[Arrays], Arrays]:
        run = honest(graph)
        return lambda inputs: {name: array + 1 for name, array in run(inputs).items()}

    assert _complaints("Relu", liar) != []
