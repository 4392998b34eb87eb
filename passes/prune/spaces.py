"""Pruning the model as it is, or with its residual sums taken apart: whichever loses less."""

from __future__ import annotations

from dataclasses import replace

from secateur.ir.choice import CostTable
from secateur.ir.graph import Graph

from .figures import compiled
from .options import Recipe
from .problem import BudgetError
from .report import SpaceRow
from .search import Decision, Found, Material, Search
from .sizes import SizedCosts


def best(
    graph: Graph, recipe: Recipe, costs: CostTable, material: Material
) -> tuple[Search, Found, tuple[SpaceRow, ...]]:
    """The network that a recipe asks for, its search, and what each space would have lost if both were tried.

    Errors as `Search.best`; where no space keeps the limit, that of the one that comes nearest.
    """
    costs = SizedCosts(costs)  # what one search asks for, the other does not wait for
    plain = Search(graph, recipe, costs, material)
    if recipe.space != "auto" or not recipe.budget:
        return plain, plain.best(), ()
    opened = Search(graph, replace(recipe, space="aggressive"), costs, material)
    if not opened.is_open:
        return plain, plain.best(), ()
    tried = [_Tried("standard", plain), _Tried("aggressive", opened)]
    kept = [t for t in tried if t.decision is not None]
    if not kept:
        raise min((t.error for t in tried if t.error is not None), key=lambda error: error.nearest)
    chosen = min(kept, key=lambda t: t.cost)
    rows = tuple(t.row(chosen) for t in tried)
    return chosen.search, chosen.search.best(chosen.decision), rows


class _Tried:
    """A space's decision, or why there is none."""

    def __init__(self, name: str, search: Search) -> None:
        self.name, self.search = name, search
        self.decision: Decision | None = None
        self.error: BudgetError | None = None
        try:
            self.decision = search.decided()
        except BudgetError as error:
            self.error = error

    def row(self, chosen: _Tried) -> SpaceRow:
        """What is said of it."""
        return SpaceRow(self.name, None if self.decision is None else self.decision.loss, self is chosen)

    @property
    def cost(self) -> float:
        """The importance lost; with a limit on that, the time."""
        assert self.decision is not None, "those without are left out"
        if "loss" not in self.search.recipe.budget:
            return self.decision.loss
        return compiled(self.search.removed(self.decision), self.search.costs).figures.seconds
