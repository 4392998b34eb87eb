"""What pruning asks of a cost table: the layers of a network at the counts of channels worth keeping.

The optimizer looks at the right edges of each group's steps and at their combinations, layer by layer
(`passes/prune/candidates.py`); here a cost table notes what it is asked. Of the ways to compute a layer at
other counts those are measured that cost little more than the best, in an order in which the first ones tell
most, so that a part of them is of use: next comes always the kernel that weighs most by its time and by how
far its extents are from those that went before.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from secateur.codegen.backends.registry import backend_of
from secateur.codegen.targets.target import Target
from secateur.ir.choice import Choice, CostTable
from secateur.ir.graph import Graph
from secateur.passes.canonicalize.canonicalize import Canonicalize
from secateur.passes.prune.options import Recipe, Space
from secateur.passes.prune.search import Material, Search

from .candidates import Asked, Candidate, of_choice, unique
from .kin import kin_of
from .measured import TableCosts

WORTH_MEASURED, WORTH_ESTIMATED = 1.1, 1.25
"""A way that costs this many times the best at other counts is not measured: where times of the network as
it is have calibrated the costs, and where they are estimates."""
_SPACES: tuple[Space, ...] = ("standard", "aggressive")


def at_counts(
    graph: Graph, target: Target, own: Sequence[Candidate], costs: CostTable, space: Space = "standard"
) -> list[Candidate]:
    """The kernels that pruning a graph as read would ask for beyond `own`, those that tell most first.

    `costs` tells which counts and ways are worth it; the space `auto` asks in both. SecateurError where
    nothing can be pruned.
    """
    asked = Asked(costs, target)
    whole = Canonicalize(share=False).run(graph.clone())
    for each in _SPACES if space == "auto" else (space,):
        search = Search(whole, Recipe(loss=1.0, space=each), asked, Material())
        search.optimizer.problem.times  # noqa: B018  (asks for all)
    known = {kernel.symbol for kernel in own}
    limit = WORTH_MEASURED if isinstance(costs, TableCosts) else WORTH_ESTIMATED
    found = [kernel for kernel in unique(_kernels(asked, limit)) if kernel.symbol not in known]
    return in_order(found, own)


def _kernels(asked: Asked, limit: float) -> Iterator[Candidate]:
    analytic = backend_of(asked.target).costs(asked.target)
    for op in asked.operators:
        for estimated in worth(analytic.choices(op), asked.choices(op), limit):
            kernel = of_choice(op, estimated, asked.target)
            if kernel is not None:
                yield kernel


def worth(estimated: Sequence[Choice], costs: Sequence[Choice], limit: float) -> list[Choice]:
    """The choices, as estimated, that cost at most `limit` times the best; none where the best is free."""
    best = min(choice.seconds for choice in costs)
    pairs = zip(estimated, costs, strict=True)
    return [e for e, c in pairs if best > 0 and c.seconds <= limit * best]


def in_order(kernels: Iterable[Candidate], own: Iterable[Candidate]) -> list[Candidate]:
    """The kernels, those that tell most first, where those of the network as it is are known."""
    families: dict[tuple[str, str], list[Candidate]] = defaultdict(list)
    before: dict[tuple[str, str], list[tuple[int, ...]]] = defaultdict(list)
    for kernel in own:
        kin = kin_of(kernel)
        before[kin.kind, kin.variant].append(kin.extents)
    for kernel in kernels:
        kin = kin_of(kernel)
        families[kin.kind, kin.variant].append(kernel)
    ranked = [pair for key, found in families.items() for pair in _ranked(found, before[key])]
    ranked.sort(key=lambda pair: -pair[0])
    return [kernel for _, kernel in ranked]


_UNKNOWN = 8.0
"""How far (as a power of two) the first kernel of a variant is from what is known of it."""


def _ranked(
    kernels: Sequence[Candidate], known: Sequence[tuple[int, ...]]
) -> Iterator[tuple[float, Candidate]]:
    """The kernels of a variant with what each weighs when its turn comes, falling."""
    places = _logarithms([kin_of(kernel).extents for kernel in kernels])
    seconds = np.array([kernel.estimate for kernel in kernels])
    apart = np.full(len(kernels), _UNKNOWN)
    for extents in known:
        apart = np.minimum(apart, np.abs(places - _logarithms([extents])).max(axis=1))
    weighs = np.inf
    for _ in kernels:
        at = int(np.argmax(apart * seconds))
        weighs = min(weighs, float(apart[at] * seconds[at]))
        yield weighs, kernels[at]
        apart = np.minimum(apart, np.abs(places - places[at]).max(axis=1))
        apart[at] = -1.0


def _logarithms(extents: Sequence[tuple[int, ...]]) -> NDArray[np.float64]:
    found: NDArray[np.float64] = np.log2(np.maximum(np.array(extents, np.float64), 1))
    return found
