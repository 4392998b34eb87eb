"""From a recipe to a pruned network: ranked, decided, removed, repaired, judged."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from fnmatch import fnmatchcase
from functools import cached_property
from typing import NamedTuple

from secateur.ir.channels import Group, find_channels
from secateur.ir.choice import CostTable
from secateur.ir.errors import CheckError, SecateurError
from secateur.ir.graph import Graph, Operator
from secateur.ir.support.units import Share, duration_text
from secateur.ir.support.words import listed

from ..fuse.closing import close_sums, is_open
from ..fuse.fuse import fused_open
from ..fuse.opening import open_sums
from ..quantize.measure import Labelled, accuracy
from ..select.sweeps import TIES
from .branches import Bypassed
from .bypasses import is_within
from .criteria.branch_losses import JUDGES, branch_losses
from .criteria.branches import Branch, bypassed, find_branches
from .criteria.criterion import Evidence, Gradients, Ranking
from .criteria.registry import criterion, rankings
from .criteria.sensitivity import weighed
from .curves import Curve, transferred
from .figures import Compiled, compiled, layer_rows, least_arena
from .frozen import frozen_sentences
from .linear.moments import Data
from .open_costs import OpenCosts
from .optimize import Budget, CoupledError, Optimizer, Pruning
from .options import Recipe
from .problem import BudgetError
from .remove import Gone, kept_indices, remove
from .reordered import in_order
from .repair.changed import changed_layers
from .repair.repair import repair
from .report import BlockRow, GroupRow, Kept, PruningReport
from .sizes import SizedCosts, with_own_constants
from .streams import find_streams

TRIALS = 7
"""Networks that are tried for a limit on accuracy: the range of times is halved so often."""
COUNTS = (16, 8, 5, 3, 2)
"""Counts of each group that are weighed; fewer where too many groups depend on each other."""
FINE = frozenset({"macs", "weights"})
"""Limits that each channel counts for, in whatever block of a layout it lies."""
SLACK = 0.02
"""Of the importance lost, what more may be lost for time that no limit asks for."""
CLOSINGS = 4
"""Limits on the time with open sums that are tried for one on the time of what is compiled."""
TIGHTER = 0.99
NEAR = 0.97
"""Of the time that is allowed, what a network with closed sums takes at least, or more is asked for."""
SHOWN = 3
"""Reasons that are given where nothing can be pruned."""


@dataclass(frozen=True, eq=False)
class Material:
    """What the network will see, in batches; labelled, read anew each time, where it has labels; and the
    loss's gradients on that, where somebody can differentiate.
    """

    data: Data = field(default_factory=Data)
    labelled: Callable[[], Labelled] | None = None
    gradients: Gradients | None = None


class DropError(CheckError):
    """Accuracy that falls by more than is allowed."""


@dataclass(frozen=True, eq=False)
class Found:
    """A pruned network: the units gone of each group of the graph, the branches gone, what is left, and the
    layers repaired."""

    gone: Gone
    graph: Graph
    accuracy: float | None
    repaired: tuple[str, ...] = ()
    branches: tuple[Branch, ...] = ()

    @property
    def bypassed(self) -> Bypassed:
        """The branches as a decision."""
        return bypassed(self.branches)


class Decision(NamedTuple):
    """Units that go by group, branches that do, and the importance lost with both."""

    gone: dict[str, list[int]]
    branches: tuple[Branch, ...]
    loss: float


class Search:
    """Looks for the network that a recipe asks for, in a canonical float graph.

    What is costly is worked out once, when first wanted. SecateurError where nothing can be pruned.
    """

    def __init__(self, graph: Graph, recipe: Recipe, costs: CostTable, material: Material) -> None:
        recipe.check()
        self.whole, self.graph, self.recipe, self.material = graph, graph.clone(), recipe, material
        self._check_kept()
        self._coarser, self._most = iter(COUNTS[1:]), COUNTS[0]
        self._optimizers: dict[bool, Optimizer] = {}
        self.costs = SizedCosts(OpenCosts(costs))
        if recipe.space == "aggressive":
            open_sums(self.graph)
            self.graph.remove_dead()
        self.channels = find_channels(self.graph)
        self.streams = find_streams(self.graph, self.channels)
        self.groups = [g for g in self.streams.groups if g.size > 1 and not self._is_kept(g)]
        if not self.groups:
            raise SecateurError(f"there is nothing to prune: {self._why_nothing()}")

    def _is_kept(self, group: Group) -> bool:
        """Whether a node that is to be left whole has channels of the group in its result."""
        made = [m.value.producer for m in group.members if m.value.producer is not None]
        return self._names_any((*group.makers, *made))

    def _names_any(self, operators: Iterable[Operator]) -> bool:
        """Whether one of the operators is to be left whole."""
        nodes = {node for op in operators for node in op.loc.split("+")}
        return any(fnmatchcase(node, pattern) for node in nodes for pattern in self.recipe.keep)

    def _check_kept(self) -> None:
        """SecateurError for a name or pattern of no node, or of such as were folded away."""
        nodes = {node for op in self.whole.operators for node in op.loc.split("+")}
        unknown = [p for p in self.recipe.keep if not any(fnmatchcase(node, p) for node in nodes)]
        if unknown:
            raise SecateurError(f"keep: no operator comes from an ONNX node {listed(unknown, nodes)}")

    def _why_nothing(self) -> str:
        if any(map(self._is_kept, self.channels.groups)):
            return "every group of channels is to be kept"
        why = frozen_sentences(self.channels)
        return "; ".join(why[:SHOWN]) or "no operator has filters of its own"

    @property
    def _data(self) -> Data:
        return self.material.data

    @cached_property
    def criterion(self) -> str:
        """The name of the criterion that judges."""
        return self.recipe.criterion_with(bool(self._data.batches))

    @cached_property
    def _evidence(self) -> Evidence:
        evidence = Evidence(self.graph, self.channels.groups, self._data, self.material.gradients)
        if self._data.batches and criterion(self.criterion).needs:
            evidence = weighed(evidence)
        return evidence

    @cached_property
    def rankings(self) -> Mapping[str, Ranking]:
        """The units of each group of the graph, ranked."""
        return rankings(self.criterion, self._evidence)

    @cached_property
    def branches(self) -> dict[str, tuple[Branch, float]]:
        """The residual branches that may go whole and what that loses, by name; none where no data says."""
        judge = JUDGES.get(self.criterion)
        if judge is None or not self.recipe.blocks:
            return {}
        found = [b for b in find_branches(self.graph) if not self._names_any((*b.operators, b.sum))]
        losses = (judge if self.recipe.repair else branch_losses)(self._evidence, found)
        return {b.name: (b, losses[b.name]) for b in found}

    @cached_property
    def _ranked(self) -> dict[str, Curve]:
        """The curves of the groups that are pruned."""
        by_weights = not criterion(self.criterion).needs
        found = self.streams.curves(self.rankings, by_weights)
        return {g.name: found[g.name] for g in self.groups}

    @cached_property
    def curves(self) -> dict[str, Curve]:
        """For each group that is found again in the fused graph, its curve there."""
        channels = find_channels(self._fused)
        return transferred(tuple(self._ranked.values()), find_streams(self._fused, channels).groups)

    @cached_property
    def _fused(self) -> Graph:
        """The graph as fusion leaves it, but that sums stay open and readers share no constant."""
        return with_own_constants(fused_open(self.graph.clone()), refitted=self._repairs)

    @property
    def _repairs(self) -> bool:
        return bool(self._data.batches) and self.recipe.repair

    @property
    def optimizer(self) -> Optimizer:
        """Of as many counts of each group as could be weighed so far."""
        return self._optimizer(fine=False)

    def _optimizer(self, fine: bool) -> Optimizer:
        if fine not in self._optimizers:
            carried = list(self.streams.carried(self.rankings, self.curves))
            curves, branches = list(self.curves.values()), list(self.branches.values())
            self._optimizers[fine] = Optimizer(
                self._fused, curves, self.costs, self._most, carried, branches, fine
            )
        return self._optimizers[fine]

    def _optimized(self, budget: Budget) -> Pruning:
        """By counts that save what is limited; of fewer counts where too many groups depend on each other."""
        fine = bool(FINE.intersection(budget.given))
        while True:
            try:
                return self._optimizer(fine).within(budget, SLACK)
            except CoupledError:
                fewer = next(self._coarser, None)
                if fewer is None:
                    raise
                self._most = fewer
                self._optimizers.clear()

    # Networks --------------------------------------------------------------------------------------

    @property
    def is_open(self) -> bool:
        """Whether residual sums were taken apart."""
        return bool(self.streams.links)

    def decided(self) -> Decision:
        """What goes within the recipe's limits on cost; BudgetError as `best`."""
        return self._decided(self._budget())

    def best(self, decision: Decision | None = None) -> Found:
        """The network that the recipe asks for, by a decision where one is made.

        SecateurError where the limit cannot be kept (the message names the nearest), DropError where accuracy
        falls by more than is allowed.
        """
        if not self.recipe.budget:
            return self._smallest()
        found = self._made(decision or self.decided())
        if found.accuracy is not None and not self._may_fall_to(found.accuracy):
            raise DropError(
                f"accuracy falls from {self.accuracy:.2f} % to {found.accuracy:.2f} % "
                f"({self.recipe.max_drop:g} points allowed); allow a larger network, or more"
            )
        return found

    def _budget(self) -> Budget:
        recipe = self.recipe
        macs, lost = recipe.macs, recipe.loss
        return Budget(
            macs=None if macs is None else int(macs * sum(op.macs for op in self._fused.operators)),
            loss=None if lost is None else lost * sum(float(c.loss[1]) for c in self.curves.values()),
            arena=_bytes(recipe.memory, lambda: least_arena(self.whole, self.costs)),
            weights=_bytes(recipe.size, lambda: self._unpruned.figures.weights),
            seconds=_limit(recipe.latency, lambda: self._unpruned.figures.seconds),
        )

    @cached_property
    def _unpruned(self) -> Compiled:
        """The whole network as it is compiled."""
        return compiled(self.whole, self.costs)

    def _found(self, budget: Budget) -> Found:
        return self._made(self._decided(budget))

    def _made(self, decision: Decision) -> Found:
        gone, branches, _ = decision
        pruned, repaired = self.removed(decision), tuple[str, ...]()
        if self._repairs and (gone or branches):
            removed, pruned = pruned, repair(self.graph, pruned, gone, self._data, channels=self.channels)
            repaired = changed_layers(removed, pruned)
        close_sums(pruned)
        return Found(gone, pruned, self._accuracy_of(pruned), repaired, branches)

    def removed(self, decision: Decision) -> Graph:
        """The graph without what goes, its sums still open."""
        gone, branches, _ = decision
        return remove(self.graph, gone, self.channels, bypassed(branches))

    def _decided(self, budget: Budget) -> Decision:
        """What goes within a budget; where that is time, time is looked at again once sums are closed."""
        if budget.seconds is None:
            return self._within(budget)
        limit = asked = budget.seconds
        kept: tuple[float, Decision] | None = None
        for _ in range(CLOSINGS):
            decision = self._within(replace(budget, seconds=asked))
            closed = compiled(self.removed(decision), self.costs).figures.seconds
            if closed <= limit * (1 + TIES) and (kept is None or kept[0] < closed):
                kept = closed, decision
            if kept is not None and (self.recipe.space != "aggressive" or kept[0] >= limit * NEAR):
                break
            asked *= limit / closed * (TIGHTER if closed > limit else 1)
        if kept is not None:
            return kept[1]
        nearest = f"the nearest found take {duration_text(closed)}"
        raise BudgetError(f"no counts were found that keep {duration_text(limit)}; {nearest}", closed)

    def _within(self, budget: Budget) -> Decision:
        names = {c.group.name: name for name, c in self.curves.items()}
        found = self._optimized(budget)
        gone = self.channels.closure({names[name]: units for name, units in found.gone.items()})
        return Decision(gone, tuple(self.branches[name][0] for name in found.branches), found.loss)

    @cached_property
    def accuracy(self) -> float | None:
        """Of the whole network, in percent; None where it is not limited."""
        return self._accuracy_of(self.whole)

    def _accuracy_of(self, graph: Graph) -> float | None:
        if self.recipe.max_drop is None:
            return None
        if self.material.labelled is None:
            raise SecateurError("a limit on accuracy (max_drop) needs labelled data")
        return accuracy(graph, self.material.labelled(), self._data.execute)

    def _may_fall_to(self, accuracy: float) -> bool:
        assert self.recipe.max_drop is not None
        assert self.accuracy is not None
        return self.accuracy - accuracy <= self.recipe.max_drop + 1e-9

    def _smallest(self) -> Found:
        """The fastest network found whose accuracy falls by no more than is allowed."""
        low, high, best = self._least_seconds(), self.optimizer.before, None
        for number in range(TRIALS):
            self._data.progress("pruning: networks tried", number, TRIALS)
            middle = (low + high) / 2
            found = self._found(Budget(seconds=middle))
            if found.accuracy is not None and self._may_fall_to(found.accuracy):
                best, high = found, middle
            else:
                low = middle
        if best is None:
            raise DropError(
                f"no pruned network was found whose accuracy falls by at most {self.recipe.max_drop:g} points"
            )
        return best

    def _least_seconds(self) -> float:
        try:
            self._optimized(Budget(seconds=0.0))
        except BudgetError as error:
            return error.nearest
        return 0.0

    # What is said of it ----------------------------------------------------------------------------

    def report(self, found: Found) -> PruningReport:
        """What was done to make a network."""
        before, after = self._unpruned, compiled(found.graph, self.costs)
        rows = (
            _group_row(g, self._ranked[g.name], len(found.gone.get(g.name, ())), found.branches)
            for g in self.groups
        )
        blocks = (BlockRow(b.name, b.layers, self.branches[b.name][1]) for b in found.branches)
        pair = None
        if self.accuracy is not None and found.accuracy is not None:
            pair = (self.accuracy, found.accuracy)
        return PruningReport(
            self.criterion,
            tuple(rows),
            tuple(layer_rows(before, after)),
            before.figures,
            after.figures,
            self._kept(found),
            frozen_sentences(self.channels),
            pair,
            found.repaired,
            blocks=tuple(blocks),
        )

    def _kept(self, found: Found) -> Kept:
        """The indices of each initializer that stay, in the order in which they are written."""
        kept = kept_indices(self.graph, found.gone, self.channels, found.bypassed)
        removed = remove(self.graph, found.gone, self.channels, found.bypassed)
        return in_order(kept, removed) if is_open(removed) else kept


def _group_row(group: Group, curve: Curve, gone: int, branches: Iterable[Branch]) -> GroupRow:
    block = next((b.name for b in branches if is_within(group, b.operators, b.sum)), "")
    if block:
        return GroupRow(group.name, group.size, 0, 0.0, float(curve.loss[0]), block)
    left = group.size - gone
    return GroupRow(group.name, group.size, left, float(curve.loss[left]), float(curve.loss[0]))


def _limit(asked: float | str | None, whole: Callable[[], float]) -> float | None:
    """What is asked, a share as that of the whole."""
    assert not isinstance(asked, str), "a recipe reads texts"
    return float(asked) * whole() if isinstance(asked, Share) else asked


def _bytes(asked: float | str | None, whole: Callable[[], int]) -> int | None:
    limit = _limit(asked, whole)
    return None if limit is None else int(limit)
