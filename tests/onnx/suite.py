"""ONNX's own tests of single operators, grouped by operator, and the table of exclusions."""

from __future__ import annotations

import re
import tomllib
import warnings
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import ModelProto
from onnx.backend.test.loader import load_node_model_tests
from onnx.backend.test.runner import Runner, _normalize_tensor

from secateur.ir.onnx_reader import OPERATORS
from secateur.tools.checks.onnx_backend import CompileGraph, SecateurBackend
from tests.kept import kept

FUNCTIONS = "functions"
"""The group of models of several nodes: bodies of ONNX functions."""


def group(model: ModelProto) -> str | None:
    """The operator that a test's model tests; None where one is outside the set."""
    found = {node.op_type for node in model.graph.node}
    if any(node.domain not in ("", "ai.onnx") for node in model.graph.node) or not found <= OPERATORS:
        return None
    return found.pop() if len(model.graph.node) == 1 else FUNCTIONS


@dataclass(frozen=True, eq=False)
class Case:
    """A test: a model, and inputs with the outputs expected of it within tolerances."""

    name: str
    model: ModelProto
    data_sets: Sequence[tuple[Sequence[Any], Sequence[Any]]]
    rtol: float
    atol: float


@cache
def loaded() -> list[Any]:
    """Every node test of the suite, as it is shipped."""
    return kept(f"onnx-{onnx.__version__}-numpy-{np.__version__}", computed)


def computed() -> list[Any]:
    """The suite as it makes itself: it computes its expected outputs in Python, which takes ten seconds."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of NumPy
        return list(load_node_model_tests())


@cache
def cases() -> dict[str, list[Case]]:
    """The suite's tests by group."""
    found: dict[str, list[Case]] = defaultdict(list)
    for case in loaded():
        key = group(case.model) if case.model is not None else None
        if key is not None and case.model is not None:
            found[key].append(Case(case.name, case.model, case.data_sets or (), case.rtol, case.atol))
    return found


@dataclass(frozen=True)
class Exclusion:
    """Tests that are not to pass, what must be said instead, and why."""

    names: str
    says: str
    reason: str

    def covers(self, name: str) -> bool:
        return re.fullmatch(self.names, name) is not None

    def expects(self, said: str) -> bool:
        return re.search(self.says, said) is not None


@cache
def exclusions(kind: str) -> tuple[Exclusion, ...]:
    table = tomllib.loads((Path(__file__).parent / "exclusions.toml").read_text())
    return tuple(Exclusion(**row) for row in table[kind])


def excluded(case: Case, kind: str) -> Exclusion | None:
    """The row of the table that covers a test."""
    return next((row for row in exclusions(kind) if row.covers(case.name)), None)


def arrays(tensors: Sequence[Any]) -> list[Any]:
    """A data set's tensors as arrays."""
    return [_normalize_tensor(t) for t in tensors]


def check(case: Case, rep: Any) -> None:
    """Runs a test's data sets; AssertionError where an output is not the expected one."""
    for inputs, wanted in case.data_sets:
        outputs = rep.run(arrays(inputs))
        Runner.assert_similar_outputs(arrays(wanted), outputs, rtol=case.rtol, atol=case.atol)


LIGHT = Path(onnx.__file__).parent / "backend" / "test" / "data" / "light"
LIGHT_MODELS = sorted(p.stem for p in LIGHT.glob("*.onnx"))
"""Whole networks with constant weights, shipped with their outputs in the onnx package."""


def _dummy(info: onnx.ValueInfoProto) -> Any:
    return Runner.generate_dummy_data(info, seed=0, name=info.name, random=False)


def check_light_model(name: str, compile_graph: CompileGraph) -> None:
    """Runs a light model; AssertionError where its output is not the one shipped beside it."""
    model = onnx.load(LIGHT / f"{name}.onnx")
    rep = SecateurBackend.prepare(model, compile_graph=compile_graph)
    inputs = [_dummy(info) for info in model.graph.input if info.name in rep.names]
    wanted = onnx.numpy_helper.to_array(onnx.load_tensor(LIGHT / f"{name}_output_0.pb"))
    Runner.assert_similar_outputs([wanted], rep.run(inputs), rtol=1e-3, atol=1e-7)
