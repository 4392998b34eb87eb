"""ONNX's own node tests, compiled: from the model to an artifact, loaded and run."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import chain
from pathlib import Path

import pytest

from secateur.ir.errors import SecateurError
from secateur.ir.graph import Graph
from secateur.tools.checks.onnx_backend import Arrays, CompileGraph, SecateurBackend, compiled
from tests.onnx import suite
from tests.onnx.together import Postponed, Together
from tests.sampled import sampled

TOGETHER = 50  # graphs in one artifact
OTHERS = "others"
FUNCTIONS_OF_A_FAMILY, CASES_OF_AN_OPERATOR = 16, 2
SHUFFLENET = ("light_shufflenet",)
"""Groups, normalization, sums, shuffles and concatenations."""


def _groups() -> dict[str, list[suite.Case]]:
    """The suite's: of functions' bodies one in 16 of each family, of others every second; the rest apart."""
    groups: dict[str, list[suite.Case]] = {OTHERS: []}
    for name, cases in suite.cases().items():
        groups[name], seen = [], Counter[str]()
        for case in cases:
            bodies = name == suite.FUNCTIONS
            family = case.name.split("_")[1] if bodies else str(suite.excluded(case, "refused"))
            few = FUNCTIONS_OF_A_FAMILY if bodies else CASES_OF_AN_OPERATOR
            groups[OTHERS if seen[family] % few else name].append(case)
            seen[family] += 1
    return groups


GROUPS = _groups()


def _said(case: suite.Case, compile_graph: CompileGraph) -> str:
    """What is wrong with a case, or nothing."""
    try:
        suite.check(case, SecateurBackend.prepare(case.model, compile_graph=compile_graph))
    except (SecateurError, AssertionError) as error:
        return str(error)
    return ""


def _of_answer(answer: Arrays) -> CompileGraph:
    return lambda _: lambda _: answer


def _said_together(runs: Sequence[suite.Case], compile_graph: CompileGraph) -> list[tuple[str, str]]:
    """What is wrong with runs that should pass, by name; one artifact computes all that can be read."""
    together, waiting, found = Together(), [], []
    for run in runs:
        try:
            found.append((run.name, _said(run, together.collect)))
        except Postponed:
            waiting.append(run)
    try:
        answers = together.answers(compile_graph)
    except SecateurError as error:
        alone = [(run.name, _said(run, compile_graph)) for run in waiting]
        return [*found, *alone, ("together", str(error))]
    return [*found, *((run.name, _said(run, _of_answer(a))) for run, a in zip(waiting, answers, strict=True))]


def _complaints(group: str | Sequence[str], compile_graph: CompileGraph) -> list[str]:
    complaints, runs = [], []
    groups = [group] if isinstance(group, str) else group
    for case in chain.from_iterable(GROUPS[name] for name in groups):
        row = suite.excluded(case, "refused")
        if row is None:
            runs += [replace(case, data_sets=[data]) for data in case.data_sets]
        elif not row.expects(said := _said(case, compile_graph)):
            complaints.append(f"{case.name}: {said or 'passes, but is excluded'}")
    for start in range(0, len(runs), TOGETHER):
        found = _said_together(runs[start : start + TOGETHER], compile_graph)
        complaints += [f"{name}: {said}" for name, said in found if said]
    return complaints


OPERATORS = sorted(GROUPS.keys() - {suite.FUNCTIONS, OTHERS})
BUNDLES = [tuple(OPERATORS[start : start + 8]) for start in range(0, len(OPERATORS), 8)]


@pytest.mark.parametrize("operators", BUNDLES, ids=lambda names: f"{names[0]} to {names[-1]}")
def test_compiled(operators: Sequence[str], tmp_path: Path) -> None:
    assert _complaints(operators, compiled(tmp_path)) == []


@pytest.mark.parametrize("group", sampled([suite.FUNCTIONS, OTHERS], [suite.FUNCTIONS]))
def test_functions_compiled(group: str, tmp_path: Path) -> None:
    assert _complaints(group, compiled(tmp_path)) == []


@pytest.mark.slow
@pytest.mark.parametrize("name", sampled(suite.LIGHT_MODELS, SHUFFLENET))
def test_light_model(name: str, tmp_path: Path) -> None:
    suite.check_light_model(name, compiled(tmp_path))


def test_a_wrong_answer_is_noticed(tmp_path: Path) -> None:
    honest = compiled(tmp_path)

    def liar(graph: Graph) -> Callable[[Arrays], Arrays]:
        run = honest(graph)
        return lambda inputs: {name: array + 1 for name, array in run(inputs).items()}

    assert _complaints("Relu", liar) != []


def test_each_of_many_is_held_against_its_own_answer(tmp_path: Path) -> None:
    honest = compiled(tmp_path)

    def spoiler(graph: Graph) -> Callable[[Arrays], Arrays]:
        run, spoilt = honest(graph), f"1/{graph.output_names[1].split('/', 1)[1]}"
        return lambda inputs: {n: a + 1 if n == spoilt else a for n, a in run(inputs).items()}

    (complaint,) = _complaints("Abs", honest) + _complaints("Sub", spoiler)
    assert complaint.startswith(f"{GROUPS['Sub'][1].name}: ")
