"""Convolutions of one group that can be planned in several ways, each with its time and workspace."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any, Generic, Protocol, TypeVar, runtime_checkable

from ...targets.target import Target
from ..operator import Cost
from ..specs import ConvSpec
from .plan import cheapest, worth_offering

Spec = TypeVar("Spec", bound=ConvSpec)
Plan = TypeVar("Plan")


class Planned(ABC, Generic[Spec, Plan]):
    """A plan is how a convolution is cut into tiles and tasks. Any kernel, stride, dilation and padding."""

    @abstractmethod
    def layouts(self, spec: Spec, target: Target) -> tuple[tuple[str, str], ...]:
        """Names of the layouts of input and result, for each way to lay them out."""

    @abstractmethod
    def plans(self, spec: Spec, target: Target) -> Mapping[Plan, Cost]:
        """Every plan and what it costs, whatever the specification's limit on workspace."""

    @abstractmethod
    def plan_words(self, plan: Plan) -> dict[str, str]:
        """What a plan cuts the work into."""

    def tiling_words(self, spec: Spec, target: Target) -> dict[str, str]:
        """What cuts the work, in words (see `Primitive.tiling`)."""
        return self.plan_words(self.plan(spec, target))

    def plan(self, spec: Spec, target: Target) -> Plan:
        """The fastest plan within the limit."""
        return cheapest(self.plans(spec, target), spec.workspace_limit)

    def applicable(self, spec: Spec, target: Target) -> str | None:
        if spec.groups != 1:
            return f"{spec.groups} groups"
        if (spec.in_layout, spec.out_layout) not in self.layouts(spec, target):
            return f"layouts {spec.in_layout} -> {spec.out_layout}"
        return None

    def workspace(self, spec: Spec, target: Target) -> int:
        return self.plans(spec, target)[self.plan(spec, target)].workspace

    def estimate(self, spec: Spec, target: Target) -> float:
        return self.plans(spec, target)[self.plan(spec, target)].seconds


@runtime_checkable
class NamesAmounts(Protocol):
    """A convolution that says itself which amounts of workspace are worth offering, most first."""

    def workspaces(self, spec: Any, target: Target) -> tuple[int, ...]: ...


def costs_of(primitive: Any, specs: Sequence[ConvSpec], target: Target) -> tuple[Cost, ...]:
    """What a convolution may cost; `specs` are one in each layout that `primitive` offers for it.

    Without a limit on workspace these are the amounts worth offering in the first layout, each as a limit: by
    the plans of a `Planned` one, or as it names them.
    """
    if specs[0].workspace_limit is None and isinstance(primitive, Planned):
        offered, *others = (primitive.plans(spec, target) for spec in specs)
        each = ([cost, *_within(others, cost.workspace)] for cost in worth_offering(offered.values()))
        return tuple(map(_whatever, each))
    if specs[0].workspace_limit is None and isinstance(primitive, NamesAmounts):
        amounts = primitive.workspaces(specs[0], target)
        return tuple(
            _cost(primitive, [replace(s, workspace_limit=a) for s in specs], target) for a in amounts
        )
    return (_cost(primitive, specs, target),)


def _cost(primitive: Any, specs: Sequence[ConvSpec], target: Target) -> Cost:
    costs = (Cost(float(primitive.estimate(s, target)), int(primitive.workspace(s, target))) for s in specs)
    return _whatever(list(costs))


def _within(plans: Iterable[Mapping[Any, Cost]], limit: int) -> Iterator[Cost]:
    """The least cost of each of several kinds of plans within a limit on workspace."""
    return (costs[cheapest(costs, limit)] for costs in plans)


def _whatever(costs: Sequence[Cost]) -> Cost:
    """The time in the fastest layout, the workspace in whichever takes most."""
    return Cost(min(cost.seconds for cost in costs), max(cost.workspace for cost in costs))
