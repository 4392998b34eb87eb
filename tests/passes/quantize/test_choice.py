"""What computes in 8 bits where time decides: cuts against all labellings, and whole plans."""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import product

import numpy as np
import pytest

from secateur.ir.choice import Choice as Way
from secateur.ir.graph import Operator
from secateur.ir.types import ROW_MAJOR, Layout, TensorType
from secateur.passes.framework.pipeline import parse_pipeline
from secateur.passes.quantize.calibrate import CalibrationData
from secateur.passes.quantize.choice import PAYS, Chooser
from secateur.passes.quantize.maker import chooser, prepare
from secateur.passes.quantize.options import Options
from secateur.passes.quantize.quantize import quantize_graph
from tests.passes.quantize.test_quantize import CONV, DIRECT, LAST, X, images, network
from tests.passes.texts import names


@dataclass
class Table:
    """Seconds by operator name, of one way each; of a convolution by what its first ONNX node says."""

    seconds: dict[str, float]
    asked: list[str] = field(default_factory=list)

    def choices(self, op: Operator) -> tuple[Way, ...]:
        self.asked.append(op.name)
        known = self.seconds.get(f"{op.name} {op.result.name.split('_')[0]}", self.seconds.get(op.name, 0.0))
        return (Way("only", (ROW_MAJOR,) * len(op.operands), ROW_MAJOR, 0, known),)

    def conversion(self, _type: TensorType, _source: Layout, _destination: Layout) -> float:
        return 0.0

    def weight_bytes(self, _op: Operator, _choice: Way) -> int:
        return 0


CHAIN = (
    CONV.replace("%c", "%s")
    + f"%t = nn.conv(%s, %v) {{SAME}} : {X}\n"
    + f'%y = nn.conv(%t, %w) {{SAME}} : {X}\nreturn %y as "y"'
)


def choosing(seconds: dict[str, float], text: str = CHAIN) -> Chooser:
    return chooser(prepare(network(text), Options()), Table(seconds), DIRECT)


def convolutions(found: Chooser, in_float: frozenset[int]) -> list[str]:
    """Names of the results of convolutions that stay in float."""
    operators = found.prepared.operators
    return [operators[i].result.name for i in sorted(in_float) if operators[i].name == "nn.conv"]


FASTER = {"nn.conv": 10.0, "q.linear_conv": 4.0, "q.quantize": 1.0, "q.dequantize": 1.0}


def test_everything_computes_in_8_bits_where_that_is_faster() -> None:
    found = choosing(FASTER).fastest()
    assert (found.float_seconds, found.seconds, found.is_float) == (30.0, 13.0, False)
    assert found.operators == choosing(FASTER).everything().operators


def test_a_layer_that_is_slower_stays_in_float_with_conversions_around_it() -> None:
    found = choosing({**FASTER, "q.linear_conv t": 30.0})
    assert convolutions(found, found.fastest().operators) == ["t"]
    assert found.fastest().seconds == 4.0 + 10.0 + 4.0 + 1.0 + 1.0  # the first result is real


def test_conversions_that_cost_more_than_8_bits_gain_keep_neighbours_together() -> None:
    found = choosing({**FASTER, "q.linear_conv t": 11.0, "q.quantize": 6.0})
    assert found.fastest().operators == found.everything().operators


@pytest.mark.parametrize("share", [0.9, 0.96, 1.5])
def test_what_gains_too_little_stays_in_float(share: float) -> None:
    found = choosing({**FASTER, "q.linear_conv": 10.0 * share, "q.quantize": 0.0}).fastest()
    assert found.is_float == (share * PAYS > 1)
    assert found.seconds == (30.0 if found.is_float else pytest.approx(30 * share))


@pytest.mark.parametrize("seed", range(8))
def test_a_cut_is_the_least_of_all_labellings(seed: int) -> None:
    text = f"{CONV.replace('%c', '%s')}%t = nn.conv(%s, %v) {{SAME, epilogue = [silu]}} : {X}\n" + (
        f"%u = nn.map(%s, %t) {{epilogue = [add]}} : {X}\n%y = nn.conv(%u, %w) {{SAME}} : {X}\n"
        'return %y as "y"'
    )
    choose = np.random.default_rng(seed)
    kinds = ("nn.conv", "nn.map", "q.linear_conv", "q.linear_add", "q.table", "q.quantize", "q.dequantize")
    found = choosing({kind: float(choose.integers(1, 20)) for kind in kinds}, text)
    heads = sorted({h for h, op in zip(found.heads, found.prepared.operators, strict=True) if op.operands})
    labellings = [
        dict(zip(heads, labels, strict=True)) for labels in product((False, True), repeat=len(heads))
    ]
    cut = {head: head in found.cut() for head in heads}
    assert price(found, cut) == pytest.approx(min(price(found, labels) for labels in labellings))


def price(found: Chooser, in_float: dict[int, bool]) -> float:
    """What the cut's edges say of a labelling: operators, then conversions where one reader wants each."""
    numbers = {op: i for i, op in enumerate(found.prepared.operators)}
    total = sum(real if in_float[head] else integer for head, (integer, real) in found._unary().items())
    for value in found.prepared.values():
        if value.producer is not None and value.producer.name == "nn.constant":
            continue
        made = True if value.producer is None else in_float[found.heads[numbers[value.producer]]]
        owner = None if value.producer is None else found.heads[numbers[value.producer]]
        read = {found.heads[numbers[user]] for user in value.users} - {owner}
        labels = {in_float[head] for head in read} | ({True} if value in found.prepared.outputs else set())
        quantize, dequantize = found._conversions(value)
        linear = value.producer is not None and value.producer.name == "nn.conv"
        total += quantize if made and False in labels else 0.0
        total += dequantize * (0.25 if linear else 1.0) if not made and True in labels else 0.0
    return total


# The pass ------------------------------------------------------------------------------------------


def test_the_pass_keeps_slower_layers_in_float_and_says_which() -> None:
    graph, report = quantize_graph(
        network(CHAIN), CalibrationData(images()), DIRECT, Table({**FASTER, "q.linear_conv t": 30.0})
    )
    assert names(graph).count("nn.conv") == 1
    assert report.slower == ("t",)
    assert report.estimate == (30.0, 20.0)


def test_the_pass_gives_the_float_network_where_nothing_is_faster() -> None:
    graph, report = quantize_graph(
        network(CHAIN), CalibrationData(images()), DIRECT, Table({**FASTER, "q.linear_conv": 20.0})
    )
    assert not [name for name in names(graph) if name.startswith("q.")]
    assert report.sqnr == float("inf")
    assert len(report.slower) == 3


def test_all_layers_are_taken_where_they_are_asked_for() -> None:
    options = Options(winograd="off", layers="all")
    graph, report = quantize_graph(
        network(CHAIN), CalibrationData(images()), options, Table({**FASTER, "q.linear_conv": 20.0})
    )
    assert names(graph).count("q.linear_conv") == 3
    assert report.slower == ()
    assert report.estimate == (30.0, 61.0)
    assert not report.pays


def test_without_costs_all_layers_are_taken() -> None:
    graph, report = quantize_graph(network(CHAIN), CalibrationData(images()), DIRECT)
    assert names(graph).count("q.linear_conv") == 3
    assert report.estimate is None


def test_numbers_are_part_of_a_table() -> None:
    text = "%two = nn.constant() {value = dense<f32: [2.0]>} : tensor<f32>\n" + (
        f"{CONV.replace('relu', 'hard_swish, mul').replace('%b)', '%b, %two)').replace('%c', '%s')}{LAST}"
    )
    graph, _ = quantize_graph(network(text), CalibrationData(images()), DIRECT)
    assert names(graph) == ["q.quantize", "q.linear_conv", "q.table", "q.linear_conv"]


def test_an_unknown_choice_of_layers_is_refused() -> None:
    with pytest.raises(Exception, match="unknown layers 'some'; known: auto, all"):
        parse_pipeline("quantize{layers=some}")


def test_a_table_of_costs_reaches_layers_and_tiles() -> None:
    table = Table({**FASTER, "q.linear_conv": 4.0, "q.winograd_conv": 1.0})
    graph, report = quantize_graph(
        network(CHAIN), CalibrationData(images()), Options(layer_sqnr=0.0, layers="all"), table
    )
    assert names(graph).count("q.winograd_conv") == 3
    assert report.estimate == (30.0, 3 * 1.0 + 1.0)
    assert {"nn.conv", "q.winograd_conv"} <= set(table.asked)
