"""One-way dependencies that operators declare: a structured sum, and channels that are carried."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import pytest

from secateur.ir.axes import OUT, Axes, Axis, Follow, Ports, Relation, Summed, Tie
from secateur.ir.channels import Channels, Cut, find_channels
from secateur.ir.graph import Graph, Operator, Value
from secateur.ir.opdef import OpDef, Signature
from secateur.ir.registry import create
from secateur.ir.types import TensorType

WIDTH = 4


def _first(sig: Signature) -> Sequence[TensorType]:
    return [sig.types[0]]


def _sum(ports: Ports) -> Iterator[Relation]:
    """Each operand is a term: without one of them the sum is there, without both it is not."""
    for port in range(len(ports.types)):
        yield Tie(Axis(port, 0), Axis(OUT, 0))
        yield Summed(Axis(port, 1))
        yield Follow("zero", Axis(port, 1), Axis(OUT, 1))
        yield Follow("useless", Axis(OUT, 1), Axis(port, 1))


def _carry(_ports: Ports) -> Iterator[Relation]:
    """Channels 1 and 2 are copied."""
    yield Tie(Axis(0, 0), Axis(OUT, 0))
    yield Follow("needs", Axis(0, 1), Axis(OUT, 1), np.array([1, 2]), np.array([0, 1]))


def _carried(_sig: Signature) -> Sequence[TensorType]:
    return [TensorType((1, 2))]


SUM = OpDef("nn.toy_sum", "", ("a", "b"), _first, axes=Axes(_sum, ""))
CARRY = OpDef("nn.toy_carry", "", ("x",), _carried, axes=Axes(_carry, ""))


class Network:
    """Matrix products around the toys; outputs are what is asked for."""

    def __init__(self) -> None:
        self.graph = Graph()
        self.x = self.graph.add_input(TensorType((1, 3)), "x")

    def product(self, x: Value, columns: int, name: str) -> Value:
        w = self.graph.append(
            create("nn.constant", [], {"value": np.ones((x.type.shape[1], columns), np.float32)})
        )
        return self.graph.append(create("nn.matmul", [x, w.result], {}, name)).result

    def toy(self, definition: OpDef, *operands: Value) -> Value:
        types = definition.result_types([v.type for v in operands], {})
        return self.graph.append(Operator(definition, operands, {}, types, definition.name[7:])).result

    def channels(self, *outputs: Value) -> Channels:
        self.graph.set_outputs(outputs, [f"y{k}" for k in range(len(outputs))])
        return find_channels(self.graph)


def summed(*more_uses: str) -> tuple[Channels, Value]:
    """last(a + b), where more products read a or b."""
    n = Network()
    terms = {name: n.product(n.x, WIDTH, name) for name in ("a", "b")}
    total = n.toy(SUM, *terms.values())
    outputs = [n.product(total, 5, "last")]
    outputs += [n.product(terms[name], 5, f"of {name}") for name in more_uses]
    return n.channels(*outputs), total


def test_terms_and_sum_are_groups_of_their_own() -> None:
    channels, _ = summed()
    assert [(g.name, g.size) for g in channels.groups] == [("a", WIDTH), ("b", WIDTH), ("sum", WIDTH)]


@pytest.mark.parametrize(
    ("gone", "all_gone"),
    [
        ({"a": [0, 1]}, {"a": [0, 1]}),
        ({"a": [0, 1], "b": [1, 2]}, {"a": [0, 1], "b": [1, 2], "sum": [1]}),
        ({"sum": [3]}, {"a": [3], "b": [3], "sum": [3]}),
    ],
)
def test_what_goes_with_terms_and_sums(gone: dict[str, list[int]], all_gone: dict[str, list[int]]) -> None:
    assert summed()[0].closure(gone) == all_gone


def test_a_term_that_is_read_elsewhere_stays() -> None:
    assert summed("a")[0].closure({"sum": [3]}) == {"b": [3], "sum": [3]}


def test_a_cut_holds_what_follows() -> None:
    channels, total = summed()
    assert Cut(channels, {"a": [0], "b": [0]}).kept(total, 1).tolist() == [1, 2, 3]


def carried(read_too: bool) -> Channels:
    n = Network()
    a = n.product(n.x, WIDTH, "a")
    outputs = [n.product(n.toy(CARRY, a), 5, "last")]
    return n.channels(*outputs, *([n.product(a, 5, "too")] if read_too else []))


def test_a_carried_channel_needs_its_source() -> None:
    assert carried(True).closure({"a": [0, 2]}) == {"a": [0, 2], "carry": [1]}


def test_a_source_that_is_carried_only_goes_with_the_copy() -> None:
    channels = carried(False)
    copies = next(g.name for g in channels.groups if "carry" in g.name)
    assert len(channels.closure({copies: [0]})) == 2
    assert len(carried(True).closure({copies: [0]})) == 1


def test_a_source_of_what_must_stay_must_stay() -> None:
    n = Network()
    a = n.product(n.x, WIDTH, "a")
    channels = n.channels(n.toy(CARRY, a), n.product(a, 5, "last"))
    (frozen,) = (f for f in channels.frozen if f.value is a)
    assert frozen.indices.tolist() == [1, 2]
    assert frozen.reason == "it is part of the graph output 'y0'"


def test_a_unit_that_is_all_of_an_axis_stays() -> None:
    """One filter is all that there is."""
    n = Network()
    a = n.product(n.x, 2, "a")
    both = n.graph.append(create("nn.reduce_sum", [a], {"axes": (1,)}, "sum")).result
    widened = n.graph.append(create("nn.add", [a, both], {}, "add")).result
    single = n.product(widened, 1, "one")
    channels = n.channels(n.product(single, 5, "last"))
    assert [g.name for g in channels.groups] == ["a"]


def test_why_the_last_one_stays_names_the_operator() -> None:
    """Two groups of which each loses the same place: with k = 1 a place is all there is."""
    graph = Graph()
    x = graph.add_input(TensorType((1, 2, 1, 1)), "x")
    window = {"strides": (1, 1), "pads": (0, 0, 0, 0), "dilations": (1, 1)}
    for name, shape, groups in (
        ("first", (4, 2, 1, 1), 1),
        ("grouped", (2, 2, 1, 1), 2),
        ("last", (3, 2, 1, 1), 1),
    ):
        w = graph.append(create("nn.constant", [], {"value": np.ones(shape, np.float32)})).result
        w.name = f"{name}.weight"
        x = graph.append(create("nn.conv", [x, w], {**window, "groups": groups}, name)).result
    graph.set_outputs([x], ["y"])
    frozen = {f.value.producer: f.reason for f in find_channels(graph).frozen}
    (reason,) = (r for op, r in frozen.items() if op is not None and op.loc == "grouped")
    assert reason == (
        "nothing would be left of axis 0 of 'grouped.weight', which 'grouped' (nn.conv) reads as operand 1"
    )
