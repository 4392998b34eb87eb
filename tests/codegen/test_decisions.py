"""IR with decisions edited by hand: what selection could not have written is refused."""

import pytest

from secateur.codegen.decisions import check_decisions
from secateur.codegen.targets.rows import TARGETS
from secateur.compiler import prepare
from secateur.ir.errors import SecateurError
from secateur.ir.graph import Graph, Operator
from secateur.ir.onnx_reader import read_model
from secateur.ir.types import DType, Layout, TensorType
from secateur.passes.framework.manager import PassManager
from secateur.passes.registry import DEFAULT_PIPELINE
from secateur.tools.fuzz.seeds import SEEDS

TARGET = TARGETS["x86-64-v3"]


def placed(seed: int = 0, *without: str) -> Graph:
    """A small network as the compiler places it; of primitives, none called `without`."""
    graph = read_model(SEEDS[seed].model(), {"x": (2, 3)} if SEEDS[seed].name == "symbolic" else None)
    forbidden = "\\n".join(without)
    pipeline = (
        DEFAULT_PIPELINE.replace("select", f'select{{without="{forbidden}"}}')
        if without
        else DEFAULT_PIPELINE
    )
    return PassManager(prepare(pipeline, TARGET)).run(graph).graph


def convolution(graph: Graph) -> Operator:
    return next(op for op in graph.operators if op.name == "prim.conv")


@pytest.mark.parametrize("seed", range(len(SEEDS)), ids=lambda i: SEEDS[i].name)
def test_what_selection_wrote_is_accepted(seed: int) -> None:
    graph = placed(seed)
    users = {value: list(value.users) for value in graph.values()}
    check_decisions(graph, TARGET)
    assert {value: list(value.users) for value in graph.values()} == users


def test_an_unknown_primitive_is_refused() -> None:
    graph = placed()
    convolution(graph).attributes["primitive"] = "magic"
    with pytest.raises(SecateurError, match=r"no primitive 'magic'; known for it: .*direct"):
        check_decisions(graph, TARGET)


def test_a_primitive_that_does_not_apply_is_refused() -> None:
    graph = placed()
    convolution(graph).attributes["primitive"] = "pointwise"
    with pytest.raises(SecateurError, match="primitive 'pointwise': "):
        check_decisions(graph, TARGET)


def test_layouts_that_it_does_not_offer_are_refused() -> None:
    graph = placed()
    op = convolution(graph)
    op.result.type = op.result.type.with_layout(Layout("NCHW3c"))
    with pytest.raises(SecateurError, match="-> NCHW3c are none of those that it offers"):
        check_decisions(graph, TARGET)


def test_too_small_a_workspace_is_refused() -> None:
    graph = placed(4, "direct", "kn2row", "naive")
    op = next(op for op in graph.operators if op.name == "prim.conv" and op["workspace"])
    op.attributes["workspace"] = 1
    with pytest.raises(SecateurError, match=r"a workspace of \d+ bytes, it needs \d+"):
        check_decisions(graph, TARGET)


def test_a_tensor_that_int32_cannot_index_is_refused() -> None:
    """Of bytes, the types allow twice as many."""
    graph = placed()
    op = convolution(graph)
    op.result.type = TensorType((2, 1, 1 << 15, 1 << 15), DType.U8)
    with pytest.raises(SecateurError, match=r"has 2147483648 elements in memory, a kernel reaches"):
        check_decisions(graph, TARGET)
