"""The pass manager: stages, verification, records, observers, translation validation."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest

from secateur.ir.errors import SecateurError, VerifyError
from secateur.ir.files import read_graph
from secateur.ir.graph import Graph
from secateur.ir.printer import print_graph
from secateur.ir.stages import READ, SELECTED, Stage
from secateur.passes.canonicalize.canonicalize import Canonicalize
from secateur.passes.framework import manager
from secateur.passes.framework.base import Pass
from secateur.passes.framework.manager import DumpIR, Known, Outcome, PassManager, PrintIR
from secateur.passes.framework.pipeline import parse_pipeline
from secateur.passes.framework.validation import ValidationError, Validator
from secateur.passes.fuse.fuse import INTEGER_TOLERANCE, Fuse
from secateur.passes.memory.memory import Memory
from tests.passes.texts import body, build, cases, expanded, inputs, names, structure

X = "tensor<1x4x5x5xf32>"
BLOCK = body(
    X,
    f"""
  %w = const : tensor<4x4x3x3xf32>
  %dead = nn.exp(%z) : {X}
  %k = nn.conv(%x, %w) {{SAME}} : {X} loc("conv")
  %a = nn.add(%k, %z) : {X} loc("add")
  %y = nn.relu(%a) : {X} loc("relu")
  %q = nn.sigmoid(%y) : {X} loc("sigmoid")
  return %y as "y", %q as "q" """,
)


@dataclass(frozen=True)
class Wrong(Pass):
    """Forgets every addition: a rewrite that is simply wrong."""

    name: ClassVar[str] = "wrong"
    takes: ClassVar[Stage] = READ
    gives: ClassVar[Stage] = READ

    def run(self, graph: Graph) -> Graph:
        for op in list(graph.operators):
            if op.name == "nn.add":
                graph.replace_value(op.result, op.operands[0])
                graph.erase(op)
        return graph


@dataclass(frozen=True)
class Scale(Pass):
    """Scales every constant by 1 + `by`, and says it moves answers by `allowed`."""

    name: ClassVar[str] = "scale"
    takes: ClassVar[Stage] = READ
    gives: ClassVar[Stage] = READ

    by: float = 0.0
    allowed: float = 0.0

    @property
    def tolerance(self) -> float:
        return self.allowed

    def run(self, graph: Graph) -> Graph:
        for op in graph.operators:
            if op.name == "nn.constant":
                op.attributes["value"] = op["value"] * np.float32(1 + self.by)
        return graph


@dataclass(frozen=True)
class Breaks(Pass):
    """Leaves an operator that reads what is not defined yet."""

    name: ClassVar[str] = "breaks"
    takes: ClassVar[Stage] = READ
    gives: ClassVar[Stage] = READ

    def run(self, graph: Graph) -> Graph:
        graph.operators.reverse()
        return graph


@dataclass(frozen=True)
class Renames(Pass):
    """Drops the second output."""

    name: ClassVar[str] = "renames"
    takes: ClassVar[Stage] = READ
    gives: ClassVar[Stage] = READ

    def run(self, graph: Graph) -> Graph:
        graph.set_outputs(graph.outputs[:1], graph.output_names[:1])
        return graph


def test_runs_all_passes_and_leaves_the_given_graph_alone() -> None:
    graph = build(BLOCK)
    before = structure(graph), names(graph)
    outcome = PassManager((Canonicalize(), Fuse())).run(graph)
    assert (structure(graph), names(graph)) == before
    assert names(outcome.graph) == ["nn.conv", "nn.map"]


def test_records_say_what_each_pass_did() -> None:
    manager = PassManager((Canonicalize(), Fuse(level="conservative")), inputs=inputs(build(BLOCK)))
    records = manager.run(build(BLOCK)).records
    assert [r.text for r in records] == ["canonicalize", "fuse{level=conservative}"]
    assert [(r.operators_before, r.operators_after) for r in records] == [(5, 4), (4, 2)]
    assert [r.moved for r in records] == [0.0, 0.0]
    assert all(r.seconds >= 0 for r in records)


def test_a_pass_that_takes_another_stage_is_refused_before_anything_runs() -> None:
    told = "pass memory takes stage laid-out, but canonicalize before it gives read"
    with pytest.raises(SecateurError, match=told):
        PassManager((Canonicalize(), Memory())).run(build(BLOCK))


def test_a_graph_between_two_passes_is_verified_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the second takes the stage that the first gives."""
    seen: list[str] = []
    monkeypatch.setattr(manager, "_verify", lambda _, stage, when: seen.append(f"{when}: {stage.name}"))
    PassManager((Canonicalize(), Fuse())).run(build(BLOCK))
    assert seen == [
        "before pass canonicalize: read",
        "after pass canonicalize: read",
        "after pass fuse: read",
    ]


def test_a_graph_of_another_stage_is_refused() -> None:
    with pytest.raises(VerifyError, match=r"before pass memory \(stage laid-out\): G5: nn.exp.*only prim"):
        PassManager((Memory(),)).run(build(BLOCK))
    assert SELECTED.refuses(build(BLOCK).operators[-1])


def test_a_pass_that_breaks_the_graph_is_named() -> None:
    with pytest.raises(VerifyError, match=r"after pass breaks \(stage read\): G1"):
        PassManager((Canonicalize(), Breaks())).run(build(BLOCK))


# Translation validation


def test_validation_catches_a_wrong_pass_and_names_it_with_the_first_output() -> None:
    graph = build(BLOCK)
    manager = PassManager((Canonicalize(), Wrong(), Fuse()), inputs=inputs(graph))
    told = r"pass wrong changed the answer: output 'y' moved by \d.*may move it by 0;"
    with pytest.raises(ValidationError, match=told):
        manager.run(graph)


def test_without_inputs_the_wrong_pass_goes_unnoticed() -> None:
    assert "nn.add" not in names(PassManager((Wrong(),)).run(build(BLOCK)).graph)


@pytest.mark.parametrize(
    ("by", "allowed", "caught"), [(1e-3, 1e-2, False), (1e-2, 1e-3, True), (float("nan"), 1.0, True)]
)
def test_each_pass_is_held_to_its_own_tolerance(by: float, allowed: float, caught: bool) -> None:
    graph = build(body(X, f'%c = const : tensor<4x1x1xf32> %y = nn.mul(%x, %c) : {X} return %y as "y"'))
    manager = PassManager((Scale(by=by, allowed=allowed),), inputs=inputs(graph))
    if caught:
        with pytest.raises(ValidationError, match="pass scale"):
            manager.run(graph)
    else:
        (record,) = manager.run(graph).records
        assert record.moved == pytest.approx(by, rel=1e-2)


def test_an_output_that_disappears_is_caught() -> None:
    with pytest.raises(ValidationError, match="output 'q' is gone"):
        PassManager((Renames(),), inputs=inputs(build(BLOCK))).run(build(BLOCK))


def test_inputs_that_do_not_fit_are_refused() -> None:
    with pytest.raises(SecateurError, match="no array for input 'z'"):
        PassManager((Canonicalize(),), inputs={"x": np.zeros((1, 4, 5, 5), np.float32)}).run(build(BLOCK))


def test_real_passes_keep_every_rule_case_within_their_tolerance() -> None:
    for case in cases("fuse.rules"):
        graph = build(body(X, case.before))
        PassManager((Canonicalize(), Fuse(), Canonicalize()), inputs=inputs(graph)).run(graph)


FEW_STEPS = """
%q = bytes %x 1x4x5x5 0.7:125
%d = real %q 1x4x5x5
%w = weights 4x4x1x1 0.1
%c = nn.conv(%d, %w) {SAME0} : tensor<1x4x5x5xf32>
%o = bytes %c 1x4x5x5 20.3:3
%r = real %o 1x4x5x5
%m = nn.relu(%r) : tensor<1x4x5x5xf32>
%f = nn.reshape(%m) {shape = [1, 100]} : tensor<1x100xf32>
return %o as "stored", %r as "y", %f as "moved" """.replace(
    "SAME0", "strides = [1, 1], pads = [0, 0, 0, 0], dilations = [1, 1]"
)


@pytest.mark.parametrize("seed", [8, 19, 34, 47])
def test_a_step_at_a_tie_is_no_fault_where_an_output_spans_few(seed: int) -> None:
    """Sums in float32 and exact ones fall to different sides of a tie: up to all of the largest magnitude."""
    graph = build(body(X, expanded(FEW_STEPS)), seed)
    _, fused = PassManager((Canonicalize(), Fuse()), inputs=inputs(graph, seed)).run(graph).records
    assert fused.moved is not None
    assert fused.moved > INTEGER_TOLERANCE


@pytest.mark.parametrize(("output", "step"), [("stored", 1), ("y", 20.3), ("moved", 20.3)])
@pytest.mark.parametrize(("count", "caught"), [(1, False), (-1, False), (2, True)])
def test_one_step_of_an_output_is_allowed_and_two_are_not(
    output: str, step: float, count: int, caught: bool
) -> None:
    graph = build(body(X, expanded(FEW_STEPS)), 34)
    validator = Validator(inputs(graph, 34))
    validator.start(graph)
    assert validator.answers is not None
    was = validator.answers[output]
    moved = (was.astype(np.float64) + count * step * (was == was.max())).astype(was.dtype)
    validator.answers = {**validator.answers, output: moved}
    if caught:
        with pytest.raises(ValidationError, match=f"output '{output}' moved"):
            validator.check("some", 1e-6, graph)
    else:
        validator.check("some", 1e-6, graph)
        validator.answers = {**validator.answers, output: moved}
        with pytest.raises(ValidationError, match="may move it by 0"):
            validator.check("exact", 0.0, graph)


# Observers


def test_ir_is_printed_before_and_after_the_passes_asked_for() -> None:
    lines: list[str] = []
    observer = PrintIR(lines.append, before_passes={"fuse"}, after_passes={"canonicalize"})
    PassManager((Canonicalize(), Fuse()), (observer,)).run(build(BLOCK))
    titles = [text.splitlines()[0] for text in lines]
    assert titles == ["// IR after pass 1 canonicalize", "// IR before pass 2 fuse"]
    assert "nn.exp" not in lines[0]


def test_after_change_prints_only_what_changed() -> None:
    lines: list[str] = []
    observer = PrintIR(lines.append, after_change={"all"})
    PassManager((Canonicalize(), Canonicalize(), Scale(), Scale(by=1.0)), (observer,)).run(build(BLOCK))
    titles = [text.splitlines()[0] for text in lines]
    assert titles == ["// IR after pass 1 canonicalize", "// IR after pass 4 scale{by=1.0}"]


def test_dump_writes_numbered_files_that_read_back(tmp_path: Path) -> None:
    outcome = PassManager((Canonicalize(), Fuse()), (DumpIR(tmp_path / "ir"),)).run(build(BLOCK))
    files = sorted(p.name for p in (tmp_path / "ir").glob("*.sir"))
    assert files == ["00-input.sir", "01-canonicalize.sir", "02-fuse.sir"]
    assert structure(read_graph(tmp_path / "ir" / "00-input.sir")) == structure(build(BLOCK))
    assert structure(read_graph(tmp_path / "ir" / "02-fuse.sir")) == structure(outcome.graph)


def test_known_passes_are_not_run_again() -> None:
    """Not the ones before that stood otherwise; the graphs are each run's own."""
    known, ran = Known(), list[str]()

    class Seen:
        def before(self, index: int, step: Pass, _graph: Graph) -> None:
            ran.append(f"{index} {step.name}")

        def after(self, _index: int, _step: Pass, _graph: Graph) -> None: ...

    def run(text: str) -> Outcome:
        return PassManager(parse_pipeline(text), (Seen(),), known=known).run(given)

    given = build(BLOCK)
    first, second = run("canonicalize,fuse"), run("canonicalize,fuse{level=none}")
    assert ran == ["1 canonicalize", "2 fuse", "2 fuse"]
    again = run("canonicalize,fuse")
    assert len(ran) == 3
    assert (again.records, len(second.records)) == (first.records, 2)
    assert again.graph is not first.graph
    assert print_graph(again.graph)[0] == print_graph(first.graph)[0]
