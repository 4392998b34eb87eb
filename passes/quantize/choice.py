"""Which operators compute in 8 bits where time decides: those, and only those, that make the network faster.

What an operator costs in float and in 8 bits, and what quantizing and
dequantizing between the two costs, is a minimum cut: operators on the source's
side compute in 8 bits. It leaves out how layouts match, so whole plans are then
compared as selection estimates them: all in 8 bits, the cut, all in float.
Ranges are made up: estimates depend on types and shapes.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from math import inf, isfinite
from typing import Any

from secateur.ir.choice import CostTable
from secateur.ir.errors import ModelError
from secateur.ir.graph import Graph, Operator, Value, constant_of
from secateur.ir.ops.quantize import quant_attributes
from secateur.ir.registry import create
from secateur.ir.rewrite import rewrite
from secateur.ir.types import DType, Quant

from ..fuse import epilogues
from ..integer.integer import make_integer
from ..select.graphs import problem_of
from ..select.solver import Solver
from ..winograd.winograd import Options as WinogradOptions
from .calibration.statistics import value_names
from .insert import QUANTIZED, insert
from .plan import kind_of, make_plan
from .split import CUT
from .tiles import Tile, Way, created, fitting, seconds_of, with_nothing, with_tiles

Indices = frozenset[int]
PAYS = 1.1
"""The least gain that is more than a cost model's own error: what gains less stays in float."""
_UNITS = 1e13  # of capacity a second: cuts are exact on whole numbers
_WIDER = 0.25  # of a conversion's time: what storing a float instead of a byte adds to a linear operator
_MADE_UP = Quant((1 / 255,), (0,))


def planned_seconds(graph: Graph, costs: CostTable) -> float:
    """What the fastest plan of a graph takes, conversions of layouts included."""
    return Solver(problem_of(graph, costs).problem).fastest().costs.seconds


def lower(graph: Graph) -> None:
    """Turns pairs of quantize and dequantize into integer operators; what stays float is fused again."""
    make_integer(graph)
    rewrite(graph, epilogues.RULES)
    graph.remove_dead()


@dataclass(frozen=True)
class Choice:
    """Operators of the prepared graph that stay in float, by number, and estimated seconds of the network.

    `seconds` are those of the mixed network, `float_seconds` those of the float one. Where `is_float`,
    nothing computes in 8 bits.
    """

    operators: Indices
    seconds: float
    float_seconds: float
    is_float: bool = False

    @property
    def pays(self) -> bool:
        """Whether 8 bits gain more than estimates are wrong by."""
        return self.seconds * PAYS <= self.float_seconds


@dataclass(frozen=True, eq=False)
class Chooser:
    """Chooses for a prepared graph (see `maker.prepare`), by the costs of a target.

    `tiles` are the Winograd tiles that convolutions may have, by `options`; `given` the operators in float
    anyway.
    """

    prepared: Graph
    costs: CostTable
    tiles: tuple[Tile, ...]
    given: Indices = frozenset()
    options: WinogradOptions = field(default_factory=WinogradOptions)
    _known: dict[Indices, Choice] = field(default_factory=dict)

    def everything(self) -> Choice:
        """8 bits wherever there are operators for them."""
        return self._choice(self.given)

    def fastest(self) -> Choice:
        """The faster of everything and a minimum cut; the float network where neither pays."""
        plans = [self._choice(self.given), self._choice(self.given | self.cut())]
        found = min(plans, key=lambda choice: choice.seconds)
        return found if found.pays else Choice(self._all, self.float_seconds, self.float_seconds, True)

    def _choice(self, operators: Indices) -> Choice:
        if operators not in self._known:
            graph = self.integer(operators)
            is_float = not any(op.name.startswith(("q.linear", "q.winograd")) for op in graph.operators)
            seconds = planned_seconds(graph, self.costs)
            self._known[operators] = Choice(operators, seconds, self.float_seconds, is_float)
        return self._known[operators]

    @property
    def _all(self) -> Indices:
        return frozenset(range(len(self.prepared.operators)))

    # Networks --------------------------------------------------------------------------------------

    @cached_property
    def names(self) -> list[str]:
        """Of each operator's result."""
        names = value_names(self.prepared)
        return [names[op.results[0]] for op in self.prepared.operators]

    @cached_property
    def real(self) -> Graph:
        """The float network, fused."""
        graph = self._named()
        rewrite(graph, epilogues.RULES)
        graph.remove_dead()
        return graph

    @cached_property
    def float_seconds(self) -> float:
        return planned_seconds(self.real, self.costs)

    def _named(self) -> Graph:
        graph = self.prepared.clone()
        for op, name in zip(graph.operators, self.names, strict=True):
            op.results[0].name = name
        return graph

    def integer(self, operators: Indices) -> Graph:
        """The network in 8 bits but for `operators`, with the fastest tiles that there are."""
        graph = self._named()
        plan = make_plan(graph, {op for i, op in enumerate(graph.operators) if i in operators})
        insert(graph, plan, dict.fromkeys(plan.values, _MADE_UP), {}, value_names(graph))
        lower(graph)
        return with_tiles(graph, {op: way for op in graph.operators if (way := self._tile(op)) is not None})

    def _tile(self, op: Operator) -> Way | None:
        """The fastest tile of a convolution that is faster with one."""
        empty = [with_nothing(op, tile, self.options) for tile in fitting(op, self.tiles)]
        if not empty:
            return None
        ways = [Way(None, seconds_of(op, self.costs), inf)]
        ways += [replace(way, seconds=seconds_of(created(op, way)[-1], self.costs)) for way in empty]
        found = min(ways, key=lambda way: way.seconds)
        return found if found.tile is not None else None

    # The cut ---------------------------------------------------------------------------------------

    def cut(self) -> Indices:
        """The operators on the float side of a minimum cut."""
        import networkx

        network = networkx.DiGraph()
        for source, sink, seconds in self._edges():
            capacity = {"capacity": round(seconds * _UNITS)} if isfinite(seconds) else {}
            if not network.has_edge(source, sink):
                network.add_edge(source, sink, **capacity)
            elif capacity and "capacity" in network[source][sink]:
                network[source][sink]["capacity"] += capacity["capacity"]
            else:
                network[source][sink].pop("capacity", None)
        _, (_, real) = networkx.minimum_cut(network, "int8", "float")
        return frozenset(i for i, head in enumerate(self.heads) if head in real)

    @cached_property
    def heads(self) -> list[int]:
        """For each operator the first one of those that are one operator in float: they go together."""
        heads, numbers = list[int](), {op: i for i, op in enumerate(self.prepared.operators)}
        for i, op in enumerate(self.prepared.operators):
            before = op.operands[0].producer if op.operands else None
            joined = before is not None and _is_rest(op, before, self.prepared)
            heads.append(heads[numbers[before]] if joined and before is not None else i)
        return heads

    def _edges(self) -> Iterator[tuple[Any, Any, float]]:
        """(source, sink, seconds) of every decision: what it costs to have them on different sides."""
        yield "int8", "float", 0.0
        for head, (integer, real) in self._unary().items():
            yield head, "float", integer
            yield "int8", head, real
        numbers = {op: i for i, op in enumerate(self.prepared.operators)}
        outputs = set(self.prepared.outputs)
        for value in self.prepared.values():
            if constant_of(value) is not None or value.type.dtype != DType.F32:
                continue
            producer = value.producer
            made = "float" if producer is None else self.heads[numbers[producer]]
            users = {self.heads[numbers[user]] for user in value.users} - {made}
            if users or value in outputs:
                yield from self._borders(value, made, users, value in outputs)

    def _borders(self, value: Value, made: Any, users: Collection[int], kept: bool) -> Iterator[Any]:
        """A quantization where a float is read in 8 bits, and the reverse; each once for all readers."""
        quantize, dequantize = self._conversions(value)
        into, out = ("quantize", value), ("dequantize", value)
        yield into, made, quantize
        for user in users:
            yield user, into, inf
            yield out, user, inf
        if kept:
            yield out, "float", inf
        linear = value.producer is not None and kind_of(value.producer) in ("linear", "average")
        yield made, out, dequantize * (_WIDER if linear else 1.0)

    def _conversions(self, value: Value) -> tuple[float, float]:
        """Seconds of quantizing and of dequantizing a value."""
        attributes = {"dtype": DType.U8, **quant_attributes(_MADE_UP)}
        stored = create("q.quantize", [Value(value.type)], attributes)
        back = create("q.dequantize", [Value(stored.result.type)])
        return seconds_of(stored, self.costs), seconds_of(back, self.costs)

    def _unary(self) -> dict[int, tuple[float, float]]:
        """Of each head: seconds of its operators in 8 bits (inf: there is no such form), and in float."""
        integer = _by_result(self.integer(self.given).operators)
        real = _by_result(self.real.operators)
        found: dict[int, tuple[float, float]] = {}
        for i, op in enumerate(self.prepared.operators):
            if op.name == "nn.constant":
                continue
            name = self.names[i]
            small = PAYS * self._seconds(integer, (name + QUANTIZED, name)) if self._may(i, op) else inf
            large = self._seconds(real, (name,))
            before = found.get(self.heads[i], (0.0, 0.0))
            found[self.heads[i]] = (before[0] + small, before[1] + large)
        return found

    def _may(self, index: int, op: Operator) -> bool:
        return index not in self.given and kind_of(op) is not None

    def _seconds(self, operators: Mapping[str, Operator], names: Sequence[str]) -> float:
        """Of the operator whose result has the first known name; nothing where it has become part of one."""
        op = next((operators[name] for name in names if name in operators), None)
        if op is None:
            return 0.0
        try:
            return seconds_of(op, self.costs)
        except ModelError:
            return inf


def _by_result(operators: Iterable[Operator]) -> dict[str, Operator]:
    return {op.results[0].name: op for op in operators if op.name != "nn.constant"}


def _is_rest(op: Operator, before: Operator, graph: Graph) -> bool:
    """Whether `op` is what `split_epilogues` has cut off `before`: in float the two are one operator."""
    same = op.name == "nn.map" and before.name in CUT and op.loc == before.loc
    return same and graph.use_count(before.result) == 1
