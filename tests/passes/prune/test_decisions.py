"""Decisions as attributes: written, printed, read, edited, carried out, and refused where they contradict."""

from __future__ import annotations

import re

import pytest

from secateur.ir.channels import find_channels
from secateur.ir.errors import SecateurError
from secateur.ir.graph import Graph
from secateur.ir.parser import parse_graph
from secateur.ir.printer import print_graph
from secateur.ir.stages import READ
from secateur.ir.verifier import verify
from secateur.passes.framework.manager import PassManager
from secateur.passes.framework.pipeline import parse_pipeline
from secateur.passes.prune.decisions import decide, decided
from secateur.passes.prune.remove import remove
from secateur.tools.checks.pruned import noise
from tests.passes.prune.test_remove import CONCAT, RESIDUAL
from tests.passes.texts import answers, build, structure

GONE = {"stem": [1, 4], "conv1": [0]}


def annotated(text: str = RESIDUAL, gone: dict[str, list[int]] = GONE) -> Graph:
    graph = build(text)
    decide(graph, gone)
    return graph


def edited(graph: Graph, *changes: tuple[str, str]) -> Graph:
    """The graph printed, its text edited, and parsed."""
    text, constants = print_graph(graph)
    for before, after in changes:
        assert before in text
        text = text.replace(before, after)
    return parse_graph(text, constants)


def test_every_maker_says_what_goes() -> None:
    said = {op.loc: op["pruned"] for op in annotated().operators if "pruned" in op.attributes}
    assert said == {"stem": (1, 4), "conv2": (1, 4), "conv1": (0,)}


def test_a_decision_prints_parses_and_is_read() -> None:
    graph = edited(annotated())
    verify(graph, READ)
    assert decided(graph) == GONE


def test_a_decision_is_written_over_the_one_before() -> None:
    graph = annotated()
    decide(graph, {"conv1": [2]})
    assert decided(graph) == {"conv1": [2]}


def test_the_pass_removes_what_the_attributes_say() -> None:
    outcome = PassManager(parse_pipeline("remove"), inputs=noise(build(RESIDUAL))).run(annotated())
    assert structure(outcome.graph) == structure(remove(build(RESIDUAL), GONE))
    assert not any("pruned" in op.attributes for op in outcome.graph.operators)


def test_without_decisions_the_pass_does_nothing() -> None:
    graph = build(RESIDUAL)
    outcome = PassManager(parse_pipeline("remove"), inputs=noise(graph)).run(graph)
    assert print_graph(outcome.graph)[0] == print_graph(graph)[0]


def test_an_edited_decision_counts() -> None:
    graph = edited(annotated(), ("pruned = [1, 4]", "pruned = [0, 7, 3]"))
    assert decided(graph) == {"stem": [0, 3, 7], "conv1": [0]}


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (
            ("pruned = [0]}", "pruned = [6]}"),
            "'conv1' (nn.conv): channel 6 cannot be pruned: it makes no such channel",
        ),
        (
            (': tensor<1x5xf32> loc("fc")', '{pruned = [2]} : tensor<1x5xf32> loc("fc")'),
            "'fc' (nn.matmul): channel 2 cannot be pruned: it is part of the graph output 'logits'",
        ),
        (
            (': tensor<1x8x8x8xf32> loc("relu")', '{pruned = [2]} : tensor<1x8x8x8xf32> loc("relu")'),
            "'relu' (nn.relu): channel 2 cannot be pruned: it makes no such channel",
        ),
    ],
)
def test_a_channel_that_cannot_be_pruned(change: tuple[str, str], says: str) -> None:
    with pytest.raises(SecateurError, match=re.escape(says)):
        decided(edited(annotated(), change))


def test_makers_that_disagree_are_both_named() -> None:
    graph = annotated()
    next(op for op in graph.operators if op.loc == "conv2").attributes["pruned"] = (1, 5)
    says = (
        "group 'stem': 'stem' (nn.conv) prunes channel 4, which go together with channel 4 of "
        "'conv2' (nn.conv); mark all of them, or none"
    )
    with pytest.raises(SecateurError, match=re.escape(says)):
        decided(graph)


def test_not_every_channel_may_go() -> None:
    graph = annotated(gone={"conv1": list(range(6))})
    with pytest.raises(SecateurError, match="nothing would be left of axis 0 of %w2"):
        PassManager(parse_pipeline("remove")).run(graph)


def test_channels_of_two_groups_of_one_maker() -> None:
    """A slice makes two groups of one convolution's channels; its attribute lists both."""
    graph = build(CONCAT)
    names = [g.name for g in find_channels(graph).groups]
    decide(graph, {name: [0] for name in names})
    assert decided(graph) == {name: [0] for name in names}
    assert answers(remove(graph, decided(graph))).keys() == {"logits"}
