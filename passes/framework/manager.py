"""Runs a pipeline: verifies around every pass, times it, counts operators, and lets observers look on."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from secateur.ir.errors import VerifyError
from secateur.ir.files import write_graph
from secateur.ir.graph import Graph
from secateur.ir.printer import print_graph
from secateur.ir.stages import Stage
from secateur.ir.support.ir_text import SUFFIX
from secateur.ir.support.road import check_order
from secateur.ir.verifier import verify

from .base import Pass
from .pipeline import format_pass
from .validation import Validator

ALL = "all"


class Observer(Protocol):
    """Looks at the graph before and after each pass; `index` counts passes from 1."""

    def before(self, index: int, step: Pass, graph: Graph) -> None: ...

    def after(self, index: int, step: Pass, graph: Graph) -> None: ...


@dataclass(frozen=True)
class Record:
    """One pass that ran; `moved` is how far it moved an output (None where that was not asked)."""

    text: str
    seconds: float
    operators_before: int
    operators_after: int
    moved: float | None = None


@dataclass(frozen=True)
class Outcome:
    """The graph after the last pass, and what each pass took; its answers where passes were validated."""

    graph: Graph
    records: tuple[Record, ...]
    answers: Mapping[str, np.ndarray[Any, Any]] | None = None


def operator_count(graph: Graph) -> int:
    """Operators other than constants."""
    return sum(op.name != "nn.constant" for op in graph.operators)


def _verify(graph: Graph, stage: Stage, when: str) -> None:
    try:
        verify(graph, stage)
    except VerifyError as error:
        raise VerifyError(f"{when} (stage {stage.name}): {error}") from None


def check_stages(passes: Sequence[Pass]) -> None:
    """SecateurError where a pass takes another stage than the one before it gives."""
    check_order((step.name, step.takes.name, step.gives.name) for step in passes)


Begun = tuple[Graph, tuple[Record, ...]]


@dataclass(frozen=True)
class Known:
    """Graphs that passes made of one graph, for runs of pipelines that begin with the same passes.

    Those have the same text, and what does not print (costs, data) is taken to be the same too.
    """

    _after: dict[tuple[str, ...], Begun] = field(default_factory=dict)

    def begin(self, graph: Graph, texts: Sequence[str]) -> Begun:
        """The graph after as many of the passes as ran before, and their records."""
        for count in range(len(texts), 0, -1):
            if found := self._after.get(tuple(texts[:count])):
                return found[0].clone(), found[1]
        return graph.clone(), ()

    def keep(self, graph: Graph, records: Sequence[Record]) -> None:
        self._after[tuple(record.text for record in records)] = graph.clone(), tuple(records)


@dataclass(frozen=True)
class PassManager:
    """`passes` in order. With `inputs` (arrays by name), validates every pass against the interpreter.

    Passes that are `known` are not run again, nor observed, but where they are validated.
    """

    passes: tuple[Pass, ...]
    observers: tuple[Observer, ...] = ()
    inputs: Mapping[str, np.ndarray[Any, Any]] | None = None
    known: Known | None = None

    def run(self, graph: Graph) -> Outcome:
        """The graph after all passes; `graph` itself stays as it was.

        Raises VerifyError where a pass leaves a graph that breaks a rule of
        the IR or of its stage, and ValidationError at the first pass that
        moved an answer further than its tolerance.
        """
        check_stages(self.passes)
        validator, known = self._validator(graph), self.known if self.inputs is None else None
        graph, ran = (known or Known()).begin(graph, [format_pass(step) for step in self.passes])
        records = list(ran)
        verified: Stage | None = None
        for index, step in enumerate(self.passes[len(ran) :], 1 + len(ran)):
            if step.takes != verified:  # else it was, behind the pass before
                _verify(graph, step.takes, f"before pass {format_pass(step)}")
            graph, record = self._run_pass(index, step, graph, validator)
            verified = step.gives
            records.append(record)
            if known is not None:
                known.keep(graph, records)
        return Outcome(graph, tuple(records), validator.answers if validator else None)

    def _validator(self, graph: Graph) -> Validator | None:
        if self.inputs is None:
            return None
        validator = Validator(self.inputs)
        validator.start(graph)
        return validator

    def _run_pass(
        self, index: int, step: Pass, graph: Graph, validator: Validator | None
    ) -> tuple[Graph, Record]:
        text, before = format_pass(step), operator_count(graph)
        for observer in self.observers:
            observer.before(index, step, graph)
        tolerance, start = step.tolerance_on(graph), time.perf_counter()
        graph = step.run(graph)
        seconds = time.perf_counter() - start
        _verify(graph, step.gives, f"after pass {text}")
        for observer in self.observers:
            observer.after(index, step, graph)
        comparable = validator is not None and not step.changes_ends
        moved = validator.check(text, tolerance, graph) if validator and comparable else None
        return graph, Record(text, seconds, before, operator_count(graph), moved)


# Observers -----------------------------------------------------------------------------------------


def _wants(chosen: Collection[str], step: Pass) -> bool:
    return ALL in chosen or step.name in chosen


@dataclass(frozen=True)
class PrintIR:
    """Writes the IR around passes, `--print-ir-before` and so on; each set holds pass names, or "all"."""

    write: Callable[[str], object]
    before_passes: Collection[str] = ()
    after_passes: Collection[str] = ()
    after_change: Collection[str] = ()
    _last: dict[str, _Picture] = field(default_factory=dict)

    def before(self, index: int, step: Pass, graph: Graph) -> None:
        if _wants(self.before_passes, step):
            self._show(f"before pass {index} {format_pass(step)}", graph)
        if _wants(self.after_change, step):
            self._last["before"] = _picture(graph)

    def after(self, index: int, step: Pass, graph: Graph) -> None:
        changed = _wants(self.after_change, step) and not _same_picture(self._last["before"], _picture(graph))
        if changed or _wants(self.after_passes, step):
            self._show(f"after pass {index} {format_pass(step)}", graph)

    def _show(self, title: str, graph: Graph) -> None:
        self.write(f"// IR {title}\n{print_graph(graph)[0]}")


_Picture = tuple[str, Mapping[str, np.ndarray[Any, Any]]]


def _picture(graph: Graph) -> _Picture:
    return print_graph(graph)


def _same_picture(a: _Picture, b: _Picture) -> bool:
    same_text = a[0] == b[0] and a[1].keys() == b[1].keys()
    return same_text and all(v is b[1][k] or v.tobytes() == b[1][k].tobytes() for k, v in a[1].items())


@dataclass(frozen=True)
class DumpIR:
    """Writes numbered files into `folder`: `00-input.sir`, `01-canonicalize.sir`, ... (`--dump-ir`)."""

    folder: Path

    def before(self, index: int, _step: Pass, graph: Graph) -> None:
        if index == 1:
            self.folder.mkdir(parents=True, exist_ok=True)
            write_graph(graph, self.folder / f"00-input{SUFFIX}")

    def after(self, index: int, step: Pass, graph: Graph) -> None:
        write_graph(graph, self.folder / f"{index:02}-{step.name}{SUFFIX}")
