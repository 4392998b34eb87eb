"""Stages of a model on its road, each with a spec that also forbids what must be gone.

A pass declares the stage it takes and the stage it gives; the pass manager
checks the spec at each boundary.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from .graph import Operator
from .types import ROW_MAJOR

Check = Callable[[Operator], str | None]


@dataclass(frozen=True)
class Stage:
    """A name and the checks every operator must pass; a check returns the reason it refuses, or None."""

    name: str
    checks: tuple[Check, ...]

    def refuses(self, op: Operator) -> str | None:
        """Why `op` must not stand in this stage, or None."""
        return next((reason for check in self.checks if (reason := check(op))), None)


def _dialects(*prefixes: str) -> Check:
    def check(op: Operator) -> str | None:
        if op.name == "nn.constant" or op.name.split(".")[0] in prefixes:
            return None
        return f"only {' and '.join(prefixes)} operators are allowed here"

    return check


def _row_major(op: Operator) -> str | None:
    strange = [r.type.layout.name for r in op.results if r.type.layout != ROW_MAJOR]
    return f"layout {strange[0]} before layouts are chosen" if strange else None


def _no_decision(op: Operator) -> str | None:
    return "primitive chosen before selection" if "primitive" in op.attributes else None


def _chosen(op: Operator) -> str | None:
    needed = op.name.startswith("prim.") and "primitive" not in op.attributes
    return "no primitive has been chosen" if needed else None


def _layouts_agree(op: Operator) -> str | None:
    wanted = op.get("operand_layouts")
    if wanted is None:
        return None
    if len(wanted) != len(op.operands):
        return f"{len(wanted)} operand layouts for {len(op.operands)} operands"
    for value, layout in zip(op.operands, wanted, strict=True):
        constant = value.producer is not None and value.producer.name == "nn.constant"
        if not constant and value.type.layout.name != layout:
            return f"an operand is laid out {value.type.layout.name}, its primitive wants {layout}"
    return None


def _placed(op: Operator) -> str | None:
    if not op.name.startswith("prim."):
        return None
    if len(op.get("offset", ())) != len(op.results):
        return "not every result has a place in the arena"
    needed = op.get("workspace", 0) and "workspace_offset" not in op.attributes
    return "its workspace has no place in the arena" if needed else None


READ = Stage("read", (_dialects("nn", "q"), _row_major, _no_decision))
QUANTIZED = Stage("quantized", (_dialects("nn", "q"), _row_major, _no_decision))
SELECTED = Stage("selected", (_dialects("prim"), _chosen))
LAID_OUT = Stage("laid-out", (_dialects("prim"), _chosen, _layouts_agree))
PLACED = Stage("placed", (_dialects("prim"), _chosen, _layouts_agree, _placed))

STAGES: dict[str, Stage] = {s.name: s for s in (READ, QUANTIZED, SELECTED, LAID_OUT, PLACED)}


def follows(given: Stage, taken: Stage) -> bool:
    """Whether a pass that takes `taken` may follow one that gives `given`; quantized is also as read."""
    return given == taken or (given == QUANTIZED and taken == READ)
