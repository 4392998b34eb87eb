"""IR with decisions edited by hand: what selection could not have written is refused."""

import re

import pytest

from secateur.codegen.backends.cpu.backend import BACKEND
from secateur.codegen.backends.cpu.primitives import PRIMITIVES
from secateur.codegen.decisions import check_decisions
from secateur.codegen.targets.rows import TARGETS
from secateur.ir.errors import SecateurError
from secateur.ir.graph import Graph, Operator
from secateur.ir.onnx_reader import read_model
from secateur.ir.parser import parse_graph
from secateur.ir.types import DType, Layout, TensorType
from secateur.passes.framework.manager import PassManager
from secateur.prepare import prepare
from secateur.tools.fuzz.seeds import SEEDS

TARGET = TARGETS["x86-64-v3"]
T = "tensor<1x4x4x4xf32>"
LOOSE = f"""graph @g(%x: {T}) {{
  %a = nn.exp(%x) : {T}
  %b = nn.relu(%a) : {T}
  %c = nn.neg(%b) : {T}
  return %c as "y" }}"""
CHAIN = LOOSE
for _name, _offset in (("exp", 0), ("relu", 0), ("neg", -1)):
    _decision = f'{{primitive = "elementwise", operand_layouts = ["NCHW"], offset = [{_offset}]}}'
    CHAIN = re.sub(rf"nn.{_name}(\(%.\))", rf"prim.{_name}\1 {_decision}", CHAIN)


def placed(seed: int = 0, *without: str) -> Graph:
    """A small network as the compiler places it; of primitives, none called `without`."""
    graph = read_model(SEEDS[seed].model(), {"x": (2, 3)} if SEEDS[seed].name == "symbolic" else None)
    forbidden = "\\n".join(without)
    pipeline = (
        BACKEND.pipeline.replace("select", f'select{{without="{forbidden}"}}')
        if without
        else BACKEND.pipeline
    )
    return PassManager(prepare(pipeline, TARGET)).run(graph).graph


def convolution(graph: Graph) -> Operator:
    return next(op for op in graph.operators if op.name == "prim.conv")


@pytest.mark.parametrize("seed", range(len(SEEDS)), ids=lambda i: SEEDS[i].name)
def test_what_selection_wrote_is_accepted(seed: int) -> None:
    graph = placed(seed)
    users = {value: list(value.users) for value in graph.values()}
    check_decisions(graph, TARGET, PRIMITIVES)
    assert {value: list(value.users) for value in graph.values()} == users


def test_an_unknown_primitive_is_refused() -> None:
    graph = placed()
    convolution(graph).attributes["primitive"] = "magic"
    with pytest.raises(SecateurError, match=r"no primitive 'magic'; known for it: .*direct"):
        check_decisions(graph, TARGET, PRIMITIVES)


def test_a_primitive_that_does_not_apply_is_refused() -> None:
    graph = placed()
    convolution(graph).attributes["primitive"] = "pointwise"
    with pytest.raises(SecateurError, match="primitive 'pointwise': "):
        check_decisions(graph, TARGET, PRIMITIVES)


def test_layouts_that_it_does_not_offer_are_refused() -> None:
    graph = placed()
    op = convolution(graph)
    op.result.type = op.result.type.with_layout(Layout("NCHW3c"))
    with pytest.raises(SecateurError, match="-> NCHW3c are none of those that it offers"):
        check_decisions(graph, TARGET, PRIMITIVES)


def test_too_small_a_workspace_is_refused() -> None:
    graph = placed(4, "direct", "kn2row", "naive")
    op = next(op for op in graph.operators if op.name == "prim.conv" and op["workspace"])
    op.attributes["workspace"] = 1
    with pytest.raises(SecateurError, match=r"a workspace of \d+ bytes, it needs \d+"):
        check_decisions(graph, TARGET, PRIMITIVES)


def test_an_operand_that_the_primitive_keeps_must_be_named(monkeypatch: pytest.MonkeyPatch) -> None:
    graph = parse_graph(CHAIN)
    monkeypatch.setattr(type(PRIMITIVES.find(graph.operators[1])), "keeps", lambda *_: (0,))
    with pytest.raises(SecateurError, match=r"it reads operand 0 until .*: 'keeps' must name it"):
        check_decisions(graph, TARGET, PRIMITIVES)
    for op in graph.operators:
        op.attributes["keeps"] = (0,)
    check_decisions(graph, TARGET, PRIMITIVES)
    with pytest.raises(SecateurError, match="may not write its result where it lies, over an operand"):
        BACKEND.emit(graph, TARGET)


def test_what_the_primitive_keeps_is_written_by_selection(monkeypatch: pytest.MonkeyPatch) -> None:
    plain = PassManager(prepare("select,layout,memory", TARGET)).run(parse_graph(LOOSE)).graph
    assert plain.operators[1]["offset"] == plain.operators[0]["offset"]
    monkeypatch.setattr(type(PRIMITIVES.find(plain.operators[1])), "keeps", lambda *_: (0,))
    kept = PassManager(prepare("select,layout,memory", TARGET)).run(parse_graph(LOOSE)).graph
    assert [op["keeps"] for op in kept.operators] == [(0,)] * 3
    assert kept.operators[1]["offset"] != kept.operators[0]["offset"]
    check_decisions(kept, TARGET, PRIMITIVES)


def test_a_tensor_that_int32_cannot_index_is_refused() -> None:
    """Of bytes, the types allow twice as many."""
    graph = placed()
    op = convolution(graph)
    op.result.type = TensorType((2, 1, 1 << 15, 1 << 15), DType.U8)
    with pytest.raises(SecateurError, match=r"has 2147483648 elements in memory, a kernel reaches"):
        check_decisions(graph, TARGET, PRIMITIVES)
