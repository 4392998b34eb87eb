"""Measured costs: every primitive that may compute an operator is built, run on this machine and timed.

The answers are kept in the cache by the kernel's symbol, which stands for its
specification and the target, and by the compiler's fingerprint; a network's
second compilation measures nothing. A measured time is the shortest of several
runs in which every kernel finds its weights cold, as it does in a network.
"""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from secateur.codegen.artifact import write_artifact
from secateur.codegen.build import build_kernels
from secateur.codegen.cache import cache_folder, compiler_fingerprint, kernel_symbol
from secateur.codegen.costs import AnalyticCosts
from secateur.codegen.kernel import Kernel
from secateur.codegen.primitives.operator import Constant, Operand
from secateur.codegen.primitives.registry import find
from secateur.codegen.program import Call, Port, Program, Ref, Space
from secateur.codegen.targets import Target
from secateur.ir.choice import Choice
from secateur.ir.graph import Operator, Value
from secateur.ir.opdef import lookup
from secateur.ir.types import DType, Layout, TensorType
from secateur.runtime.session import Session, load

REPEATS = 7
HOPELESS = 4.0  # a choice estimated this many times slower than the best is not measured


@dataclass(frozen=True, eq=False)
class Candidate:
    """A choice as a kernel, with the types of its arguments (inputs, then result) as they lie in memory."""

    choice: Choice
    kernel: Kernel
    symbol: str
    arguments: tuple[TensorType, ...]


@dataclass
class MeasuredCosts:
    """Implements `secateur.ir.choice.CostTable` for the machine that compiles; `target` must run on it."""

    target: Target
    _analytic: AnalyticCosts = field(init=False, repr=False)
    _known: dict[Operator, tuple[Choice, ...]] = field(default_factory=dict, repr=False)

    def __post_init__(self) -> None:
        self._analytic = AnalyticCosts(self.target)

    def choices(self, op: Operator) -> tuple[Choice, ...]:
        if op not in self._known:
            self._known[op] = self._measured(op, self._analytic.choices(op))
        return self._known[op]

    def conversion(self, type: TensorType, source: Layout, destination: Layout) -> float:
        return self._analytic.conversion(type, source, destination)

    def _measured(self, op: Operator, choices: tuple[Choice, ...]) -> tuple[Choice, ...]:
        best = min(c.seconds for c in choices)
        worth = [c for c in choices if c.seconds <= HOPELESS * best]
        if len(worth) < 2:
            return tuple(worth)
        candidates = [_candidate(op, choice, self.target) for choice in worth]
        times = _times(candidates, self.target)
        return tuple(replace(c.choice, seconds=times[c.symbol]) for c in candidates)


def chosen_as(op: Operator, choice: Choice) -> Operator:
    """The operator under `choice`, on operands of its own that carry the layouts; constants stay."""
    operands = []
    for value, layout in zip(op.operands, choice.operand_layouts, strict=True):
        constant = value.producer is not None and value.producer.name == "nn.constant"
        operands.append(
            Value(value.type, producer=value.producer) if constant else Value(value.type.with_layout(layout))
        )
    attributes = {**op.attributes, "primitive": choice.primitive}
    results = [r.type.with_layout(choice.result_layout) for r in op.results]
    return Operator(lookup("prim." + op.name.split(".", 1)[1]), operands, attributes, results, op.loc)


def _candidate(op: Operator, choice: Choice, target: Target) -> Candidate:
    chosen = chosen_as(op, choice)
    return candidate(chosen, choice, find(chosen).kernel(chosen, target), target)


def candidate(chosen: Operator, choice: Choice, kernel: Kernel, target: Target) -> Candidate:
    """`kernel` on the arguments of `chosen`, a `prim.` operator."""
    primitive = find(chosen)
    types = [
        chosen.operands[a.index].type if isinstance(a, Operand) else _constant_type(a)
        for a in primitive.arguments(chosen, target)
    ]
    types += [r.type for r in chosen.results]
    return Candidate(choice, kernel, kernel_symbol(kernel, target), tuple(types))


def _constant_type(constant: Constant) -> TensorType:
    return TensorType(tuple(constant.array.shape), DType.of(constant.array.dtype))


def _path(symbol: str) -> Path:
    return cache_folder() / "costs" / f"{symbol}-{compiler_fingerprint()[:24]}.json"


def _times(candidates: Sequence[Candidate], target: Target) -> Mapping[str, float]:
    """Seconds by symbol, from the cache or measured now."""
    unknown = {c.symbol: c for c in candidates if _recall(c.symbol) is None}
    if unknown:
        for symbol, seconds in _measure(list(unknown.values()), target).items():
            _remember(symbol, seconds)
    return {c.symbol: _recall(c.symbol) or c.choice.seconds for c in candidates}


def _recall(symbol: str) -> float | None:
    try:
        return float(json.loads(_path(symbol).read_text())["seconds"])
    except (OSError, ValueError, KeyError):
        return None


def _remember(symbol: str, seconds: float) -> None:
    path = _path(symbol)
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(f"{path.name}.{os.getpid()}")
    beside.write_text(json.dumps({"seconds": seconds}))
    beside.replace(path)


def _measure(candidates: Sequence[Candidate], target: Target) -> dict[str, float]:
    """Runs all candidates in one artifact whose operators they are."""
    with artifact_of(candidates, target) as (session, feeds):
        runs = [[row.ns for row in session.profile(feeds)] for _ in range(REPEATS)]
    best = np.array(runs).min(axis=0) * 1e-9
    return {c.symbol: float(seconds) for c, seconds in zip(candidates, best, strict=True)}


@contextmanager
def artifact_of(
    candidates: Sequence[Candidate], target: Target
) -> Iterator[tuple[Session, dict[str, NDArray[Any]]]]:
    """The candidates as operators of one artifact, and arrays of ones to run it on."""
    program = _program(candidates, target)
    with tempfile.TemporaryDirectory(prefix="secateur-tuning-") as folder:
        path = write_artifact(program, Path(folder) / "candidates.so", "so", {}, cache_folder())
        with load(path) as session:
            yield session, {p.name: _aligned(p) for p in program.inputs}


def _program(candidates: Sequence[Candidate], target: Target) -> Program:
    inputs: list[Port] = []
    outputs: list[Port] = []
    calls: list[Call] = []
    for number, candidate in enumerate(candidates):
        *given, result = candidate.arguments
        places = [Ref(Space.INPUT, index=len(inputs) + i) for i in range(len(given))]
        inputs += [_port(f"in{number}_{i}", t) for i, t in enumerate(given)]
        places.append(Ref(Space.OUTPUT, index=len(outputs)))
        outputs.append(_port(f"out{number}", result))
        workspace = 0 if candidate.kernel.workspace else -1
        calls.append(Call(candidate.symbol, tuple(places), candidate.kernel.tasks, candidate.symbol,
                          candidate.choice.primitive, workspace))  # fmt: skip
    most = max(c.kernel.workspace for c in candidates)
    kernels = build_kernels({c.symbol: c.kernel for c in candidates}, target)
    return Program(
        "candidates", target, tuple(inputs), tuple(outputs), tuple(calls), kernels, (), (), most, most
    )


def _port(name: str, type: TensorType) -> Port:
    return Port(name, type.dtype.value, type.layout.physical_shape(type.shape))


def _aligned(port: Port) -> NDArray[Any]:
    """Ones, 64-byte aligned as the arena and the weights are."""
    dtype = DType(port.dtype).numpy
    count = int(np.prod(port.shape))
    memory = np.ones(count + 64 // dtype.itemsize, dtype)
    start = -memory.ctypes.data % 64 // dtype.itemsize
    return memory[start : start + count].reshape(port.shape)
