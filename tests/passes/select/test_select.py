"""Selection and layout conversions, against a cost table made for the test."""

from __future__ import annotations

import dataclasses
import itertools
from dataclasses import dataclass
from functools import partial

import pytest

from secateur.ir.choice import Choice
from secateur.ir.errors import SecateurError
from secateur.ir.graph import Graph, Operator
from secateur.ir.parser import parse_graph
from secateur.ir.stages import LAID_OUT, SELECTED
from secateur.ir.support.units import read_duration, size_text
from secateur.ir.types import ROW_MAJOR, Layout, TensorType, blocked
from secateur.ir.verifier import verify
from secateur.passes.framework.pipeline import format_pass, parse_pipeline
from secateur.passes.layout import insert_conversions
from secateur.passes.memory.memory import Memory, Report, arena_report
from secateur.passes.select import select as select_module
from secateur.passes.select.select import Select, select
from secateur.passes.select.solver import Solver

CHAIN = """
graph @chain(%x: tensor<1x8x4x4xf32>) {
  %a = nn.relu(%x) : tensor<1x8x4x4xf32> loc("first")
  %b = nn.relu(%a) : tensor<1x8x4x4xf32> loc("second")
  %c = nn.relu(%a) : tensor<1x8x4x4xf32> loc("third")
  %d = nn.add(%b, %c) : tensor<1x8x4x4xf32> loc("last")
  return %d as "y"
}
"""
BLOCKED = blocked(8)


@dataclass
class Table:
    """Blocked computation costs `fast`, row-major `slow`, a conversion `convert` seconds."""

    fast: float
    slow: float
    convert: float

    def choices(self, op: Operator) -> tuple[Choice, ...]:
        count = len(op.operands)
        return (
            Choice("plain", (ROW_MAJOR,) * count, ROW_MAJOR, 0, self.slow),
            Choice("blocked", (BLOCKED,) * count, BLOCKED, 64, self.fast),
        )

    def conversion(self, _type: TensorType, source: Layout, destination: Layout) -> float:
        return 0.0 if source == destination else self.convert

    def weight_bytes(self, _op: Operator, choice: Choice) -> int:
        return {"plain": 100, "blocked": 350}[choice.primitive]


def primitives(graph: Graph) -> list[str]:
    return [op["primitive"] for op in graph.operators]


def test_cheap_conversions_let_every_operator_be_fast() -> None:
    graph = select(parse_graph(CHAIN), Table(fast=1, slow=3, convert=0.1))
    verify(graph, SELECTED)
    assert primitives(graph) == ["blocked"] * 4
    assert [op.get("workspace") for op in graph.operators] == [64] * 4


def test_dear_conversions_keep_the_network_row_major() -> None:
    assert primitives(select(parse_graph(CHAIN), Table(fast=1, slow=1.2, convert=9))) == ["plain"] * 4


def test_the_operand_graph_is_left_alone() -> None:
    graph = parse_graph(CHAIN)
    select(graph, Table(1, 3, 0.1))
    assert {op.name for op in graph.operators} == {"nn.relu", "nn.add"}


def test_conversions_stand_at_the_borders_only() -> None:
    graph = insert_conversions(select(parse_graph(CHAIN), Table(1, 3, 0.1)))
    verify(graph, LAID_OUT)
    assert primitives(graph) == ["relayout", "blocked", "blocked", "blocked", "blocked", "relayout"]
    assert graph.outputs[0].type.layout == ROW_MAJOR


def test_a_value_wanted_twice_in_a_layout_is_converted_once() -> None:
    graph = select(parse_graph(CHAIN), Table(1, 3, 0.1))
    first = graph.operators[0]
    first.result.type = first.result.type.with_layout(ROW_MAJOR)
    first.attributes.update(primitive="plain", operand_layouts=("NCHW",))
    assert primitives(insert_conversions(graph)).count("relayout") == 2


def test_a_graph_without_conversions_is_refused_as_laid_out() -> None:
    with pytest.raises(ValueError, match=r"G5: prim\.relu .*first.*its primitive wants NCHW8c"):
        verify(select(parse_graph(CHAIN), Table(1, 3, 0.1)), LAID_OUT)


def _total(graph: Graph, table: Table) -> float:
    converted = insert_conversions(graph)
    return sum(
        table.convert if p == "relayout" else table.fast if p == "blocked" else table.slow
        for p in primitives(converted)
    )


@pytest.mark.parametrize("table", [Table(1, 2, c) for c in (0.1, 0.5, 1.5, 3.0)])
def test_the_plan_of_a_small_graph_is_no_worse_than_brute_force(table: Table) -> None:
    best = float("inf")
    for forced in itertools.product(range(2), repeat=4):
        picks = iter(forced)

        class Forced(Table):
            def choices(self, op: Operator) -> tuple[Choice, ...]:
                return (super().choices(op)[next(picks)],)  # noqa: B023

        best = min(
            best, _total(select(parse_graph(CHAIN), Forced(table.fast, table.slow, table.convert)), table)
        )
    assert _total(select(parse_graph(CHAIN), table), table) == pytest.approx(best)


def test_a_graph_too_wide_is_solved_as_well_as_can_be_and_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(select_module, "Solver", partial(Solver, largest_layer=1, largest_table=1))
    expected = r"may not be optimal: .* this plan needs 4\.2 s, no plan needs less than \d"
    with pytest.warns(UserWarning, match=expected):
        graph = select(parse_graph(CHAIN), Table(fast=1, slow=3, convert=0.1))
    verify(insert_conversions(graph), LAID_OUT)
    assert primitives(graph) == ["blocked"] * 4


def arena(graph: Graph) -> int:
    return arena_report(Memory().run(insert_conversions(graph))).peak


def test_a_limit_on_memory_is_kept_by_slower_primitives() -> None:
    """Blocked operators need a workspace of 64 bytes beside two tensors of 512 bytes; plain ones do not."""
    fast = select(parse_graph(CHAIN), Table(1, 3, 0.1))
    need = arena(fast)
    slower = select(parse_graph(CHAIN), Table(1, 3, 0.1), memory=need - 1)
    assert arena(slower) < need
    assert "plain" in primitives(slower)
    assert primitives(select(parse_graph(CHAIN), Table(1, 3, 0.1), memory=need)) == primitives(fast)


def test_a_limit_on_time_leaves_the_least_memory() -> None:
    table = Table(1, 3, 0.1)
    fast = _total(select(parse_graph(CHAIN), table), table)
    lean = select(parse_graph(CHAIN), table, seconds=1000)
    assert arena(lean) == arena(select(parse_graph(CHAIN), table, memory=arena(lean)))
    assert arena(lean) < arena(select(parse_graph(CHAIN), table, seconds=fast))


def test_memory_that_no_plan_fits_names_the_least() -> None:
    table = Table(1, 3, 0.1)
    least = arena(select(parse_graph(CHAIN), table, seconds=1000))
    with pytest.raises(
        SecateurError,
        match=f"nothing fits in {size_text(least - 1)}; the least possible is {size_text(least)}",
    ):
        select(parse_graph(CHAIN), table, memory=least - 1)


def test_seconds_that_no_plan_keeps_name_the_least() -> None:
    with pytest.raises(SecateurError, match=r"nothing fits in 4s; the least possible is 4\.2s"):
        select(parse_graph(CHAIN), Table(1, 3, 0.1), seconds=4)


def wasteful(graph: Graph) -> Report:
    """As if every placement left a gap of 64 bytes."""
    report = arena_report(graph)
    return dataclasses.replace(report, peak=report.peak + 64)


def test_a_plan_whose_buffers_leave_gaps_gives_way_to_one_that_fits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(select_module, "arena_report", wasteful)
    table = Table(1, 3, 0.1)
    need = arena(select(parse_graph(CHAIN), table))
    assert arena(select(parse_graph(CHAIN), table, memory=need)) <= need - 64


def test_where_gaps_leave_nothing_that_fits_the_smallest_arena_is_named(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    table = Table(1, 3, 0.1)
    least = arena(select(parse_graph(CHAIN), table, seconds=1000))
    monkeypatch.setattr(select_module, "arena_report", wasteful)
    expected = (
        f"nothing could be placed in {size_text(least)}; the smallest arena found has {least + 64} bytes"
    )
    with pytest.raises(SecateurError, match=expected):
        select(parse_graph(CHAIN), table, memory=least)


def test_both_limits_together_are_refused_where_the_fastest_that_fits_is_too_slow() -> None:
    table = Table(1, 3, 0.1)
    least = arena(select(parse_graph(CHAIN), table, seconds=1000))
    with pytest.raises(
        SecateurError, match=rf"within {size_text(least)} the fastest plan takes .* more than 4\.2s"
    ):
        select(parse_graph(CHAIN), table, memory=least, seconds=4.2)


def test_the_limits_that_a_refusal_names_are_kept() -> None:
    table = Table(1 / 3, 2 / 3, 1 / 70)
    with pytest.raises(SecateurError) as refused:
        select(parse_graph(CHAIN), table, memory=10**6, seconds=1e-3)
    nearest = read_duration(str(refused.value).partition("takes ")[2].partition(",")[0])
    assert nearest is not None
    assert primitives(select(parse_graph(CHAIN), table, memory=10**6, seconds=nearest))


def test_the_pass_takes_its_limits_from_text() -> None:
    (step,) = parse_pipeline("select{memory=4MiB,seconds=0.02}")
    assert (step.memory, step.seconds) == (4 << 20, 0.02)  # type: ignore[attr-defined]
    assert format_pass(step) == "select{memory=4MiB,seconds=0.02}"


@pytest.mark.parametrize("limit", ["memory", "seconds"])
def test_a_negative_limit_is_refused(limit: str) -> None:
    with pytest.raises(SecateurError, match=f"pass select: {limit} must not be negative, is -1"):
        Select(costs=Table(1, 3, 0.1), **{limit: -1}).run(parse_graph(CHAIN))  # type: ignore[arg-type]


def test_of_two_primitives_with_the_same_layouts_the_slower_is_never_chosen() -> None:
    class Twice(Table):
        def choices(self, op: Operator) -> tuple[Choice, ...]:
            slower = [
                dataclasses.replace(c, primitive="worse", seconds=c.seconds * 2) for c in super().choices(op)
            ]
            return (*slower, *super().choices(op))

    assert "worse" not in primitives(select(parse_graph(CHAIN), Twice(1, 3, 0.1)))
