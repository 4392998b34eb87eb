"""Stages: one graph for each numbered rule, refused by the stages that forbid it and by no other."""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from secateur.ir import stages
from secateur.ir.graph import Graph
from secateur.ir.parser import parse_graph
from secateur.ir.stages import LAID_OUT, PLACED, QUANTIZED, READ, SELECTED, Stage
from secateur.ir.verifier import verify

STAGES = (READ, QUANTIZED, SELECTED, LAID_OUT, PLACED)
IMAGE = "tensor<1x8x4x4xf32>"
BLOCKED = "tensor<1x8x4x4xf32, NCHW8c>"
BYTES, OTHER = "tensor<4xu8, quant<0.5:3>>", "tensor<4xu8, quant<0.25:0>>"
SCALE, SCALE_OTHER = "scales = [0.5], zero_points = [3]", "scales = [0.25], zero_points = [0]"
PLACE = 'primitive = "map", operand_layouts = ["NCHW"], offset = [0]'
NO_LAYOUTS = 'primitive = "map", operand_layouts = [], offset = [0]'


@dataclass(frozen=True)
class Case:
    """A graph's inputs and operators (one gives `%y`), and the stages that refuse it, with what they say."""

    inputs: str
    body: str
    message: str
    forbidden_in: tuple[Stage, ...]

    def graph(self) -> Graph:
        return parse_graph(f'graph @main({self.inputs}) {{ {self.body} return %y as "y" }}')


def _table(name: str, of: str, where: str = "") -> str:
    table = f"%t{where}"
    return f"%{name} = q.table(%{of}, {table}) {{{SCALE}}} : {BYTES} "


_TABLE = f"%t = nn.constant() {{value = dense<256xu8: [{', '.join(['7'] * 256)}]>}} : tensor<256xu8> "
_ROUND_TRIP = "%r = q.dequantize(%x) : tensor<4xf32> "
_SETTLED = (SELECTED, LAID_OUT, PLACED)

REFUSED = {
    "S1 an operator without a primitive": Case(
        f"%x: {IMAGE}", f"%y = nn.relu(%x) : {IMAGE}", "S1: only prim operators are allowed here", _SETTLED
    ),
    "S1 a chosen operator": Case(
        f"%x: {IMAGE}",
        f"%y = prim.relu(%x) {{{PLACE}}} : {IMAGE}",
        "S1: only nn and q operators are allowed here",
        (READ, QUANTIZED),
    ),
    "S2 a layout": Case(
        f"%x: {IMAGE}", f"%y = nn.relu(%x) : {BLOCKED}", "S2: layout NCHW8c", (READ, QUANTIZED)
    ),
    **{
        f"S3 {name}": Case(
            f"%x: {IMAGE}",
            f"%y = nn.relu(%x) {{{name} = {value}}} : {IMAGE}",
            f"S3: {name} chosen before selection",
            (READ, QUANTIZED),
        )
        for name, value in {
            "primitive": '"map"',
            "operand_layouts": '["NCHW"]',
            "workspace": "64",
            "workspace_offset": "0",
            "offset": "[0]",
        }.items()
    },
    "S4 a dequantized constant": Case(
        "%x: tensor<2xf32>",
        "%c = nn.constant() {value = dense<2xu8: [1, 2]>} : tensor<2xu8, quant<0.5:3>> "
        "%r = q.dequantize(%c) : tensor<2xf32> %y = nn.add(%x, %r) : tensor<2xf32>",
        "S4: its operand is a constant",
        (QUANTIZED,),
    ),
    "S5 a round trip": Case(
        f"%x: {BYTES}",
        f"{_ROUND_TRIP} %y = q.quantize(%r) {{{SCALE}, dtype = u8}} : {BYTES}",
        "S5: it quantizes what was dequantized to what it was before",
        (QUANTIZED,),
    ),
    "S6 a table of a table": Case(
        f"%x: {BYTES}",
        _TABLE + _table("a", "x") + _table("y", "a"),
        "S6: it looks up what a table gave",
        (QUANTIZED,),
    ),
    "S7 no primitive": Case(
        f"%x: {IMAGE}", f"%y = prim.relu(%x) : {IMAGE}", "S7: no primitive has been chosen", _SETTLED
    ),
    "S10 channels to be pruned": Case(
        f"%x: {IMAGE}",
        f"%y = prim.relu(%x) {{pruned = [1], {PLACE}}} : {IMAGE}",
        "S10: its pruned channels have not been removed",
        _SETTLED,
    ),
    "S10 an operand to be bypassed": Case(
        f"%x: {IMAGE}",
        f"%y = prim.relu(%x) {{bypassed = 0, {PLACE}}} : {IMAGE}",
        "S10: its bypassed operand has not been removed",
        _SETTLED,
    ),
    "S8 another layout": Case(
        f"%x: {BLOCKED}",
        f"%y = prim.relu(%x) {{{PLACE}}} : {IMAGE}",
        "S8: an operand is laid out NCHW8c, its primitive wants NCHW",
        (LAID_OUT, PLACED),
    ),
    "S8 too few layouts": Case(
        f"%x: {IMAGE}",
        f"%y = prim.relu(%x) {{{NO_LAYOUTS}}} : {IMAGE}",
        "S8: 0 operand layouts for 1 operands",
        (LAID_OUT, PLACED),
    ),
    "S9 a result without a place": Case(
        f"%x: {IMAGE}",
        f'%y = prim.relu(%x) {{primitive = "map"}} : {IMAGE}',
        "S9: not every result has a place in the arena",
        (PLACED,),
    ),
    "S9 a workspace without a place": Case(
        f"%x: {IMAGE}",
        f"%y = prim.relu(%x) {{{PLACE}, workspace = 64}} : {IMAGE}",
        "S9: its workspace has no place in the arena",
        (PLACED,),
    ),
}

ALLOWED = {
    "another quantization": Case(
        f"%x: {BYTES}",
        f"{_ROUND_TRIP} %y = q.quantize(%r) {{{SCALE_OTHER}, dtype = u8}} : {OTHER}",
        "",
        (),
    ),
    "one table": Case(f"%x: {BYTES}", _TABLE + _table("y", "x"), "", ()),
    "a table that is computed": Case(
        f"%x: {BYTES}, %tx: tensor<256xu8>", _TABLE + _table("a", "x", "x") + _table("y", "a"), "", ()
    ),
    "a dequantized value": Case(f"%x: {BYTES}", "%y = q.dequantize(%x) : tensor<4xf32>", "", ()),
}


def reason(graph: Graph, stage: Stage) -> str | None:
    return next(filter(None, map(stage.refuses, graph.operators)), None)


@pytest.mark.parametrize("name", REFUSED)
def test_what_must_be_gone(name: str) -> None:
    case = REFUSED[name]
    graph = case.graph()
    verify(graph)
    assert case.message.startswith(f"{name.split()[0]}: ")
    found = {stage.name for stage in STAGES if (reason(graph, stage) or "").startswith(case.message)}
    assert found == {stage.name for stage in case.forbidden_in}


@pytest.mark.parametrize("name", ALLOWED)
def test_what_may_stay_once_quantized(name: str) -> None:
    graph = ALLOWED[name].graph()
    verify(graph, QUANTIZED)


def test_a_constant_may_stand_anywhere() -> None:
    text = "%c = nn.constant() {value = dense<2xf32: [1.0, 2.0]>} : tensor<2xf32>"
    graph = parse_graph(f'graph @main() {{ {text} return %c as "y" }}')
    for stage in STAGES:
        verify(graph, stage)


def test_every_numbered_rule_has_a_case() -> None:
    documented = {line.split()[0] for line in (stages.__doc__ or "").splitlines() if line.startswith("  S")}
    assert documented == {name.split()[0] for name in REFUSED}
