"""ONNX's own node tests: interpreted, and written back to ONNX and run by ONNX Runtime."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from onnxruntime.capi import onnxruntime_pybind11_state as ort_state

from secateur.ir.errors import SecateurError
from secateur.ir.graph import Graph
from secateur.ir.interpreter import run
from secateur.ir.onnx_reader import OPERATORS, read_model
from secateur.ir.onnx_writer import to_onnx
from secateur.ir.stages import READ
from secateur.ir.verifier import verify
from secateur.tools.checks.onnx_backend import Arrays, CompileGraph, SecateurBackend, interpret
from tests.onnx import suite
from tests.sampled import sampled

WITHOUT_TESTS = {"GlobalLpPool"}
"""Operators of the set that the suite has no test of."""

ORT_ERRORS = (ort_state.Fail, ort_state.NotImplemented, ort_state.RuntimeException, ort_state.InvalidGraph)

GROUPS = [*sorted(OPERATORS - WITHOUT_TESTS), suite.FUNCTIONS]


def _verified(graph: Graph) -> Callable[[Arrays], Arrays]:
    verify(graph, READ)
    return interpret(graph)


def _refusal(case: suite.Case, compile_graph: CompileGraph) -> str:
    """What is said where a test does not pass; empty where it does."""
    try:
        suite.check(case, SecateurBackend.prepare(case.model, compile_graph=compile_graph))
    except (SecateurError, AssertionError) as error:
        return str(error)
    return ""


def _complaint(case: suite.Case, kind: str, said: str) -> str:
    """What is wrong with a test's outcome, the table of exclusions considered."""
    row = suite.excluded(case, kind)
    if row is None:
        return f"{case.name}: {said}" if said else ""
    return "" if row.expects(said) else f"{case.name} is excluded ({row.reason}), but: {said or 'it passes'}"


def test_every_operator_of_the_set_is_tested() -> None:
    assert set(GROUPS) == set(suite.cases())


@pytest.mark.parametrize("group", GROUPS)
def test_interpreted(group: str) -> None:
    complaints = [_complaint(c, "refused", _refusal(c, _verified)) for c in suite.cases()[group]]
    assert [c for c in complaints if c] == []


def test_no_exclusion_is_left_over() -> None:
    names = [case.name for cases in suite.cases().values() for case in cases]
    for kind in ("refused", "onnxruntime"):
        unused = [row.names for row in suite.exclusions(kind) if not any(map(row.covers, names))]
        assert unused == []


def _written(graph: Graph) -> Callable[[Arrays], Arrays]:
    """The graph written as ONNX, run by ONNX Runtime; reading it back must change nothing."""
    model = to_onnx(graph)
    onnx.checker.check_model(model, full_check=True)
    back = read_model(model)

    def both(inputs: Arrays) -> Arrays:
        again = run(back, inputs)
        for name, wanted in run(graph, inputs).items():
            np.testing.assert_array_equal(again[name], wanted)
        return _onnxruntime(model, inputs)

    return both


def _onnxruntime(model: onnx.ModelProto, inputs: Arrays) -> Arrays:
    options = ort.SessionOptions()
    options.log_severity_level = 4
    session = ort.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]
    return dict(zip(names, session.run(names, dict(inputs)), strict=True))


def _difference(case: suite.Case) -> str:
    """What ONNX Runtime makes of the written model, where that is not what the suite expects."""
    try:
        suite.check(case, SecateurBackend.prepare(case.model, compile_graph=_written))
    except (AssertionError, SecateurError, *ORT_ERRORS) as error:
        return str(error)
    return ""


@pytest.mark.parametrize("group", sampled(GROUPS, {*GROUPS} - {suite.FUNCTIONS}))
def test_written(group: str) -> None:
    readable = [c for c in suite.cases()[group] if suite.excluded(c, "refused") is None]
    complaints = [_complaint(c, "onnxruntime", _difference(c)) for c in readable]
    assert [c for c in complaints if c] == []


def test_all_light_models_are_there() -> None:
    assert len(suite.LIGHT_MODELS) == 9


@pytest.mark.slow
@pytest.mark.parametrize("name", sampled(suite.LIGHT_MODELS, {*suite.LIGHT_MODELS} - {"light_vgg19"}))
def test_light_model(name: str) -> None:
    suite.check_light_model(name, interpret)


def test_a_wrong_answer_does_not_pass() -> None:
    case = suite.cases()["Relu"][0]

    def wrong(graph: Graph) -> Callable[[Arrays], Arrays]:
        return lambda inputs: {name: a * 1.01 for name, a in run(graph, inputs).items()}

    assert "Not equal to tolerance" in _refusal(case, wrong)


def test_other_devices_are_refused() -> None:
    with pytest.raises(ValueError, match="device CUDA is not supported"):
        SecateurBackend.prepare(suite.cases()["Relu"][0].model, "CUDA")
