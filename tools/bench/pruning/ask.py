"""What a pruned network is asked to be: so many times fewer multiplications, or so many times faster."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from secateur.ir.graph import Graph
from secateur.passes.canonicalize.canonicalize import Canonicalize
from secateur.passes.fuse.fuse import Fuse

Measure = Literal["macs", "time"]


@dataclass(frozen=True)
class Ask:
    """The share of the whole network's multiplications, or of its time on `target`, that may be left.

    `costs` is a table of times that were measured; None stands for the target's estimates.
    """

    share: float
    measure: Measure
    target: str = "host"
    costs: Path | None = None


Make = Callable[[Path, Ask, Path], object]
"""Prunes a model as asked and writes what is left. Where time is asked, a method without a model of time
keeps that share of multiplications: the comparison measures, and asks again."""


def macs(graph: Graph) -> int:
    """Multiply-accumulates as the network is compiled."""
    return sum(op.macs for op in Fuse().run(Canonicalize().run(graph.clone())).operators)
