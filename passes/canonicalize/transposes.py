"""Transposes moved through operators that compute the same in any order of axes, to where they cancel.

Models from frameworks that lay channels last hold transposes around each convolution, and additions,
activations, concatenations and reductions in between. Which of these operators should have their axes in
the convolutions' order is a minimum cut: a value that is wanted in both orders costs a transpose of its
elements, everything else is free. One cut is made for each permutation and each connected set of operators.
It is taken where the transposes then move strictly fewer elements, which is why this comes to rest.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from secateur.ir.graph import Graph, Operator, Value
from secateur.ir.registry import create

from .axes import Perm, data_of, drops_axes, inverse, is_elementwise, permuted

_PERMUTED, _PLAIN = "permuted", "plain"
Node = Operator | str
START = 1024
"""Elements in whose time a transpose starts: few large ones are better than many small ones."""
APART = 2
"""In passes over what is between two operators: it is written and read again where a transpose keeps them
from being fused."""
SUMMING = ("nn.conv", "nn.conv_transpose", "nn.matmul")
"""What fuses with an element-wise operator that reads it."""


def move_transposes(graph: Graph) -> int:
    """Puts operators between transposes into the order of axes in which fewest elements are transposed.

    Returns how many operators changed. Transposes that cancel are left to the rules that merge them.
    """
    changed = 0
    for perm in dict.fromkeys(op["perm"] for op in graph.operators if op.name == "nn.transpose"):
        for region in _regions(graph, perm):
            chosen = _Cut(graph, region, perm).chosen()
            if chosen:
                _permute(graph, chosen, perm)
                graph.remove_dead()  # a transpose that nobody reads would seem to want its order
            changed += len(chosen)
    return changed


def _regions(graph: Graph, perm: Perm) -> list[list[Operator]]:
    """Connected operators that may be permuted, of which one reads a value transposed so."""
    able = {op for op in graph.operators if op.name != "nn.constant" and permuted(op, perm) is not None}
    seen: set[Operator] = set()
    found = []
    for op in graph.operators:
        if op.name != "nn.transpose" or op["perm"] != perm:
            continue
        region: dict[Operator, None] = {}
        stack = [user for user in op.result.users if user in able]
        while stack:
            at = stack.pop()
            if at not in seen:
                seen.add(at)
                region[at] = None
                stack += [near for near in _neighbours(at, len(perm)) if near in able]
        if region:
            found.append(list(region))
    return found


def _neighbours(op: Operator, rank: int) -> Iterator[Operator]:
    for value in (*op.operands, op.result):
        if value.type.rank == rank:
            yield from value.users
            if value.producer is not None:
                yield value.producer


def _known(value: Value) -> bool:
    """Whether the value is a constant, dequantized or transposed: it is transposed at compile time."""
    op = value.producer
    while op is not None and op.name in ("nn.transpose", "q.dequantize"):
        op = op.operands[0].producer
    return op is not None and op.name == "nn.constant"


def _transposed(op: Operator | None, rank: int) -> bool:
    return op is not None and op.name == "nn.transpose" and len(op["perm"]) == rank


def _shape(value: Value, rank: int) -> tuple[int, ...]:
    """The value's shape with axes of one element in front, as broadcasting adds them."""
    return (1,) * (rank - value.type.rank) + value.type.shape


class _Cut:
    """Which operators of a region are computed permuted, the others plain, at the least cost."""

    def __init__(self, graph: Graph, region: list[Operator], perm: Perm) -> None:
        self.graph, self.region, self.perm = graph, dict.fromkeys(region), perm
        self.back = inverse(perm)
        self.ends: list[tuple[int, set[Node]]] = []
        for value in self._values():
            weight, ends = self._wanted(value)
            if weight:
                within: set[Node] = {op for op in ends if isinstance(op, Operator)}
                self.ends += [(weight, ends), (APART * weight, within), (APART * weight, self._fed(value))]

    def chosen(self) -> list[Operator]:
        """The fewest operators that are to be permuted; none where that saves nothing."""
        if not any(_PERMUTED in ends for _, ends in self.ends):
            return []
        import networkx  # takes longer to import than most graphs, which have no transposes, need
        from networkx.algorithms.flow import boykov_kolmogorov  # thrice as fast here as what is the default

        network = networkx.DiGraph()
        network.add_nodes_from([_PERMUTED, _PLAIN])
        for at, (weight, ends) in enumerate(self.ends):
            network.add_edge(("in", at), ("out", at), capacity=weight)
            for node in ends:
                network.add_edge(node, ("in", at))
                network.add_edge(("out", at), node)
        cost, (_, sink) = networkx.minimum_cut(network, _PLAIN, _PERMUTED, flow_func=boykov_kolmogorov)
        if cost >= sum(weight for weight, ends in self.ends if _PERMUTED in ends):
            return []
        return [op for op in self.region if op in sink]

    def _values(self) -> Iterable[Value]:
        values = (v for op in self.region for v in (*(op.operands[i] for i in data_of(op)), op.result))
        return dict.fromkeys(values)

    def _wanted(self, value: Value) -> tuple[int, set[Node]]:
        """How many elements a transpose of the value moves, and who must agree that there is none."""
        rank = len(self.perm)
        if _known(value) or value.type.rank > rank or value.type.elements == 1:
            return 0, set()
        ends: set[Node] = {op if op in self.region else self._user(op) for op in value.users}
        if self.graph.is_output(value):
            ends.add(_PLAIN)
        ends.add(self._producer(value))
        ends.discard("")
        return value.type.elements + START, ends

    def _fed(self, value: Value) -> set[Node]:
        """The order of a sum of products, and what would be fused with it."""
        end, op = self._producer(value), value.producer
        source = op.operands[0].producer if op is not None and _transposed(op, len(self.perm)) else op
        if not isinstance(end, str) or not end or source is None or source.name not in SUMMING:
            return set()
        fused: set[Node] = {op for op in value.users if op in self.region and is_elementwise(op)}
        return {end, *fused} if fused else set()

    def _user(self, op: Operator) -> str:
        """Which form an operator outside of the region wants; a transpose with its own cost wants none."""
        if not _transposed(op, len(self.perm)):
            return _PLAIN
        return _PERMUTED if op["perm"] == self.back else ""

    def _producer(self, value: Value) -> Node:
        op = value.producer
        if op in self.region and op is not None and not drops_axes(op):
            return op
        if op is None or not _transposed(op, len(self.perm)):
            return _PLAIN
        return _PERMUTED if op["perm"] == self.perm else ""


def _permute(graph: Graph, chosen: list[Operator], perm: Perm) -> None:
    """f(transpose(x) {p}, ...)   ->   transpose(f'(x, ...)) {p}; see `axes`."""
    replacements: dict[Operator, list[Operator]] = {}
    wanted = set(chosen)
    for op in [op for op in graph.operators if op in wanted]:
        changed = permuted(op, perm)
        assert changed is not None, "the region holds what can be permuted"
        made: list[Operator] = []
        data = data_of(op)
        operands = [_moved(v, perm, made) if i in data else v for i, v in enumerate(op.operands)]
        made.append(create(op.name, operands, {**op.attributes, **changed}, op.loc))
        if not drops_axes(op):
            made.append(create("nn.transpose", [made[-1].result], {"perm": perm}, op.loc))
        graph.replace_value(op.result, made[-1].result)
        replacements[op] = made
        _join_readers(graph, made[-1])
    graph.replace_operators(replacements)


def _join_readers(graph: Graph, made: Operator) -> None:
    """transpose(transpose(x) {p}) {q}   ->   transpose(x) {p[q[i]]}, or x, for all that read a transpose."""
    if made.name != "nn.transpose":
        return
    (x,), perm = made.operands, made["perm"]
    for reader in [op for op in made.result.users if op.name == "nn.transpose"]:
        through = tuple(perm[q] for q in reader["perm"])
        reader.attributes["perm"] = through
        reader.set_operand(0, x)
        if through == tuple(range(len(through))):
            graph.replace_value(reader.result, x)


def _moved(value: Value, perm: Perm, made: list[Operator]) -> Value:
    """The value permuted: what it is the transpose of, or a transpose of it."""
    rank, op, back = len(perm), value.producer, inverse(perm)
    if value.type.elements == 1 and value.type.rank < rank:
        return value
    if op is not None and _transposed(op, rank):
        value, back = op.operands[0], tuple(op["perm"][b] for b in back)
    if value.type.rank < rank:
        made.append(create("nn.reshape", [value], {"shape": _shape(value, rank)}))
        value = made[-1].result
    if back == tuple(range(rank)):
        return value
    made.append(create("nn.transpose", [value], {"perm": back}))
    return made[-1].result
