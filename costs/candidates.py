"""What selection may choose for a network, as kernels that can be timed: operators and conversions."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from secateur.codegen.backends.registry import backend_of, kernels_of
from secateur.codegen.cache import kernel_symbol
from secateur.codegen.kernel import Kernel
from secateur.codegen.primitives.chosen import chosen_as
from secateur.codegen.primitives.operator import Result, Stage, constant_of
from secateur.codegen.targets.target import Target
from secateur.ir.choice import Choice, CostTable
from secateur.ir.graph import Graph, Operator, Value
from secateur.ir.registry import create
from secateur.ir.types import DType, Layout, TensorType
from secateur.passes.select.graphs import problem_of

from .labels import label_of

HOPELESS = 4.0  # a choice estimated this many times slower than the best is not measured
_INDICES = (DType.I16, DType.U16, DType.I32, DType.U32, DType.I64, DType.U64)


@dataclass(frozen=True, eq=False)
class Candidate:
    """What selection may choose for `chosen`, an operator with layouts in its types.

    That is a kernel, or several that work one after another. `symbol` names them: the only one's own, or all
    of theirs in one. `estimate` is in seconds on one core.
    """

    label: str
    kernels: Mapping[str, Kernel]
    symbol: str
    chosen: Operator
    target: Target
    estimate: float

    def stages(self) -> tuple[Stage, ...]:
        """The kernels with all their pointers. Packing constants takes time and memory; none is kept here."""
        primitive = kernels_of(self.target).primitives.find(self.chosen)
        if len(self.kernels) > 1:
            return primitive.stages(self.chosen, self.target)
        (kernel,), results = self.kernels.values(), map(Result, range(len(self.results)))
        return (Stage(kernel, (*primitive.arguments(self.chosen, self.target), *results)),)

    @property
    def workspace(self) -> int:
        """Bytes of the arena that its kernels use besides operands and results."""
        own = (kernel.workspace for kernel in self.kernels.values() if not kernel.threads)
        return max(int(self.chosen.get("workspace", 0)), *own, 0)

    @property
    def results(self) -> tuple[TensorType, ...]:
        return tuple(r.type for r in self.chosen.results)


def candidate(
    chosen: Operator, target: Target, estimate: float = 0.0, kernel: Kernel | None = None
) -> Candidate:
    """The kernels of `chosen`, a `prim.` operator, or another one with the same arguments."""
    own = (kernel,) if kernel else kernels_of(target).primitives.find(chosen).kernels(chosen, target)
    kernels = {kernel_symbol(k, target): k for k in own}
    return Candidate(label_of(chosen), kernels, _symbol_of(chosen, kernels), chosen, target, estimate)


def _symbol_of(chosen: Operator, kernels: Collection[str]) -> str:
    """A name for all of them."""
    first, *others = kernels
    if not others:
        return first
    return f"{chosen['primitive']}_{hashlib.sha256(' '.join(kernels).encode()).hexdigest()[:12]}"


def kernels_in(candidates: Iterable[Candidate]) -> dict[str, Kernel]:
    """All kernels of some candidates, each once, by symbol."""
    return {symbol: kernel for c in candidates for symbol, kernel in c.kernels.items()}


def data_apart(op: Operator) -> bool:
    """Whether its kernel does the same whatever its operands hold; whole numbers may be indices."""
    return not any(v.type.dtype in _INDICES for v in op.operands if constant_of(v) is None)


def of_choice(op: Operator, choice: Choice, target: Target) -> Candidate | None:
    """The kernels that compute `op` as chosen; None where that costs nothing, or data decide what is read."""
    if choice.seconds <= 0 or not data_apart(op):
        return None
    return candidate(chosen_as(op, choice), target, choice.seconds)


def of_conversion(
    type: TensorType, source: Layout, destination: Layout, target: Target, estimate: float = 0.0
) -> Candidate | None:
    """The kernel that converts a tensor between two layouts; None where there is none."""
    attributes = {"primitive": "relayout", "operand_layouts": (source.name,)}
    chosen = create("prim.relayout", [Value(type.with_layout(source))], attributes)
    primitive = kernels_of(target).primitives.find(chosen)
    offered = primitive.layouts(chosen, target)
    if primitive.applicable(chosen, target) is not None or ((source,), destination) not in offered:
        return None
    chosen.result.type = type.with_layout(destination)
    return candidate(chosen, target, estimate)


def worth_measuring(choices: Sequence[Choice]) -> list[Choice]:
    """The choices that cost something, but for those that are hopeless by the estimate."""
    best = min((c.seconds for c in choices if c.seconds > 0), default=math.inf)
    return [c for c in choices if 0 < c.seconds <= HOPELESS * best]


@dataclass(frozen=True)
class Network:
    """What selection asks of a cost table for one graph: `kernels`, each once; bytes of its constants."""

    name: str
    target: Target
    kernels: tuple[Candidate, ...]
    weight_bytes: int


def network_of(graph: Graph, target: Target) -> Network:
    """Every kernel that selection could choose for a fused graph on `target`, but for the hopeless."""
    asked = Asked(backend_of(target).costs(target), target)
    problem_of(graph, asked)
    return Network(graph.name, target, tuple(unique(asked.kernels())), weight_bytes_of(graph))


def unique(kernels: Iterable[Candidate]) -> list[Candidate]:
    """Each kernel once."""
    return list({kernel.symbol: kernel for kernel in kernels}.values())


def weight_bytes_of(graph: Graph) -> int:
    """Bytes of all constants, unpacked."""
    return sum(op["value"].nbytes for op in graph.operators if op.name == "nn.constant")


@dataclass
class Asked:
    """A cost table that notes what it was asked."""

    costs: CostTable
    target: Target
    _operators: dict[Operator, tuple[Choice, ...]] = field(default_factory=dict)
    _conversions: dict[tuple[TensorType, Layout, Layout], float] = field(default_factory=dict)

    def choices(self, op: Operator) -> tuple[Choice, ...]:
        return self._operators.setdefault(op, self.costs.choices(op))

    def conversion(self, type: TensorType, source: Layout, destination: Layout) -> float:
        seconds = self.costs.conversion(type, source, destination)
        self._conversions[type, source, destination] = seconds
        return seconds

    def weight_bytes(self, op: Operator, choice: Choice) -> int:
        return self.costs.weight_bytes(op, choice)

    @property
    def operators(self) -> tuple[Operator, ...]:
        """Each that was asked for."""
        return tuple(self._operators)

    def kernels(self) -> Iterator[Candidate]:
        target = self.target
        for op, choices in self._operators.items():
            found = (of_choice(op, choice, target) for choice in worth_measuring(choices))
            yield from (kernel for kernel in found if kernel)
        for asked, seconds in self._conversions.items():
            if kernel := of_conversion(*asked, target, seconds):
                yield kernel
