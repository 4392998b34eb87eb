"""What a pass is: a frozen dataclass whose fields are its options."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar

from secateur.ir.graph import Graph
from secateur.ir.stages import ROAD, Stage

from ..stages import STAGES


@dataclass(frozen=True)
class Pass(ABC):
    """Graph in, graph out. A subclass's docstring says what it does; its fields are its options.

    `run` may change the graph it is given and returns the graph to go on with. The stages that it takes and
    gives are in the table `STAGES`, or attributes of a class that is not in the registry.
    """

    name: ClassVar[str]
    takes: ClassVar[Stage]
    gives: ClassVar[Stage]
    changes_ends: ClassVar[bool] = False  # takes and gives other arrays than before, so no answers compare

    def __init_subclass__(cls) -> None:
        name = cls.__dict__.get("name", "")
        if "takes" not in cls.__dict__ and name in STAGES:
            cls.takes, cls.gives = (ROAD[stage] for stage in STAGES[name])

    @property
    def tolerance(self) -> float:
        """How far the pass may move an output, as a share of the output's largest magnitude."""
        return 0.0

    def tolerance_on(self, _graph: Graph) -> float:
        """The tolerance where the pass is given this graph."""
        return self.tolerance

    @abstractmethod
    def run(self, graph: Graph) -> Graph: ...
