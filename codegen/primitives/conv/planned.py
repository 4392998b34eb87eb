"""Convolutions of one group that can be planned in several ways, each with its time and workspace."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Generic, TypeVar

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

    def workspaces(self, spec: Spec, target: Target) -> tuple[int, ...]:
        """The amounts of workspace that are worth offering."""
        return tuple(cost.workspace for cost in worth_offering(self.plans(spec, target).values()))
