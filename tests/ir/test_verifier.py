"""The verifier: one refusal for each numbered rule, with the operator shown in its place."""

from __future__ import annotations

import pytest

from secateur.ir.errors import VerifyError
from secateur.ir.graph import Graph
from secateur.ir.parser import parse_graph
from secateur.ir.registry import create
from secateur.ir.stages import READ, SELECTED, Stage
from secateur.ir.types import DType, TensorType
from secateur.ir.verifier import verify

TEXT = """graph @main(%x: tensor<1x3x4x4xf32>) {
  %a = nn.abs(%x) : tensor<1x3x4x4xf32> loc("first")
  %b = nn.relu(%a) : tensor<1x3x4x4xf32> loc("second")
  %c = nn.add(%a, %b) : tensor<1x3x4x4xf32> loc("third")
  return %c as "y"
}
"""


@pytest.fixture
def graph() -> Graph:
    found = parse_graph(TEXT)
    verify(found)
    return found


def refusal(graph: Graph, stage: Stage | None = None) -> str:
    with pytest.raises(VerifyError) as caught:
        verify(graph, stage)
    return str(caught.value)


def test_g1_an_operand_is_defined_before_its_use(graph: Graph) -> None:
    graph.operators.reverse()
    assert refusal(graph).startswith("G1: nn.add (ONNX node third): operand %a")


def test_g1_an_operand_of_another_graph(graph: Graph) -> None:
    graph.operators[1].operands = [parse_graph(TEXT).inputs[0]]
    assert refusal(graph).startswith("G1: nn.relu (ONNX node second)")


def test_g1_nothing_is_defined_twice(graph: Graph) -> None:
    graph.operators.append(graph.operators[0])
    assert "a result is defined twice" in refusal(graph)


def test_g2_operand_count(graph: Graph) -> None:
    add = graph.operators[2]
    add.operands = add.operands[:1]
    assert "G2: nn.add (ONNX node third): nn.add takes 2 operands, got 1" in refusal(graph)


def test_g2_attributes(graph: Graph) -> None:
    graph.operators[1].attributes["alpha"] = 1.0
    assert "G2: nn.relu (ONNX node second): nn.relu has no attribute alpha" in refusal(graph)


@pytest.mark.parametrize(
    "type", [TensorType((1, 3, 4, 5)), TensorType((1, 3, 4, 4), DType.F16), TensorType((1, 3, 16))]
)
def test_g2_result_types(graph: Graph, type: TensorType) -> None:
    graph.operators[2].result.type = type
    assert "G2: nn.add (ONNX node third): result is" in refusal(graph)


def test_g2_a_quantized_result_keeps_the_scale_it_was_given() -> None:
    graph = parse_graph("""graph @main(%x: tensor<2xf32>) {
      %q = q.quantize(%x) {scales = [0.5], zero_points = [0], dtype = i8} : tensor<2xi8, quant<0.5:0>>
      return %q as "q"
    }""")
    graph.operators[0].result.type = TensorType((2,), DType.I8)
    expected = "result is tensor<2xi8>, the operator's rule gives tensor<2xi8, quant<0.5:0>>"
    assert f"G2: q.quantize: {expected}" in refusal(graph)


def test_g3_outputs_are_values_of_the_graph(graph: Graph) -> None:
    graph.set_outputs(parse_graph(TEXT).outputs, ["y"])
    assert refusal(graph) == "G3: output 'y' is not a value of the graph"


@pytest.mark.parametrize("names", [[], ["y", "z"]])
def test_g3_every_output_has_a_name(graph: Graph, names: list[str]) -> None:
    graph.output_names = names
    assert refusal(graph) == "G3: the graph needs outputs, each with a name"


def test_g3_output_names_are_unique(graph: Graph) -> None:
    graph.set_outputs([graph.outputs[0], graph.inputs[0]], ["y", "y"])
    assert refusal(graph) == "G3: output name y is used twice"


def test_g3_input_names_are_unique(graph: Graph) -> None:
    graph.add_input(TensorType((1,)), "x")
    assert refusal(graph) == "G3: input name x is used twice"


def test_g4_uses_agree(graph: Graph) -> None:
    graph.inputs[0].uses.clear()
    assert "G4: nn.abs (ONNX node first): uses of %x" in refusal(graph)


def test_g4_a_use_that_is_no_operand(graph: Graph) -> None:
    first, last = graph.operators[0], graph.operators[-1]
    first.result.uses[last, 7] = None
    assert "G4: nn.abs (ONNX node first): a use of its result is no operand" in refusal(graph)


def test_g5_the_stage_allows_the_operator(graph: Graph) -> None:
    verify(graph, READ)
    assert refusal(graph, SELECTED).startswith("G5: nn.abs (ONNX node first): S1: ")


def test_the_error_shows_the_operator_between_its_neighbours(graph: Graph) -> None:
    graph.operators[1].attributes["alpha"] = 1.0
    lines = refusal(graph).splitlines()[1:]
    assert [line[:2] for line in lines] == ["  ", "->", "  "]
    assert "nn.relu(%a)" in lines[1]


def test_only_unused_operators_can_be_erased(graph: Graph) -> None:
    with pytest.raises(ValueError, match="still has users"):
        graph.erase(graph.operators[0])
    graph.append(create("nn.neg", [graph.inputs[0]]))
    graph.erase(graph.operators[-1])
    verify(graph)
    assert len(graph.operators) == 3
