"""Stages of a model on its road, each with a spec that also forbids what must be gone.

A pass declares the stage it takes and the stage it gives; the pass manager
checks the spec at each boundary. The numbered rules:

  S1 operators are of the stage's prefixes; `nn.constant` may stand anywhere
  S2 before selection every value is laid out row-major
  S3 before selection no operator carries a decision of selection or of the passes after it
  S4 once quantized, no constant is dequantized: it is stored as the reals that its users read
  S5 once quantized, nothing is dequantized and quantized again to what it was
  S6 once quantized, no byte is looked up in one constant table after another, but where they name functions
  S7 from selection on, every operator has a primitive
  S8 once laid out, operands have the layouts that the primitive wants
  S9 once placed, every result, every workspace and every region for constants has its place in the arena
  S10 from selection on, no operator has channels or an operand that are decided to go
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from .graph import Operator, Value
from .opdef import BYPASSED, PRUNED, SETTLED_ATTRIBUTES
from .support import road
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


def _made_by(value: Value, name: str) -> Operator | None:
    """The operator called `name` that computes a value; None where something else does."""
    op = value.producer
    return op if op is not None and op.name == name else None


def _dialects(*prefixes: str) -> Check:
    def check(op: Operator) -> str | None:
        if op.name == "nn.constant" or op.name.split(".")[0] in prefixes:
            return None
        return f"S1: only {' and '.join(prefixes)} operators are allowed here"

    return check


def _row_major(op: Operator) -> str | None:
    strange = [r.type.layout.name for r in op.results if r.type.layout != ROW_MAJOR]
    return f"S2: layout {strange[0]} before layouts are chosen" if strange else None


def _no_decision(op: Operator) -> str | None:
    made = [name for name in SETTLED_ATTRIBUTES if name in op.attributes]
    return f"S3: {made[0]} chosen before selection" if made else None


def _no_dequantized_constant(op: Operator) -> str | None:
    dequantized = op.name == "q.dequantize" and op.operands[0].is_constant
    return "S4: its operand is a constant, which nobody needs as integers any more" if dequantized else None


def _no_round_trip(op: Operator) -> str | None:
    inner = _made_by(op.operands[0], "q.dequantize") if op.name == "q.quantize" else None
    same = inner is not None and inner.operands[0].type == op.result.type
    return "S5: it quantizes what was dequantized to what it was before" if same else None


def _no_table_of_table(op: Operator) -> str | None:
    inner = _made_by(op.operands[0], "q.table") if op.name == "q.table" else None
    tables = [op, inner] if inner is not None else []
    composed = bool(tables) and all(t.operands[1].is_constant and not t["function"] for t in tables)
    return "S6: it looks up what a table gave, one table would do" if composed else None


def _chosen(op: Operator) -> str | None:
    needed = op.name.startswith("prim.") and "primitive" not in op.attributes
    return "S7: no primitive has been chosen" if needed else None


def _not_pruned(op: Operator) -> str | None:
    if PRUNED in op.attributes:
        return "S10: its pruned channels have not been removed; run the pass remove"
    left = BYPASSED in op.attributes
    return "S10: its bypassed operand has not been removed; run the pass remove" if left else None


def _layouts_agree(op: Operator) -> str | None:
    wanted = op.get("operand_layouts")
    if wanted is None:
        return None
    if len(wanted) != len(op.operands):
        return f"S8: {len(wanted)} operand layouts for {len(op.operands)} operands"
    for value, layout in zip(op.operands, wanted, strict=True):
        if not value.is_constant and value.type.layout.name != layout:
            return f"S8: an operand is laid out {value.type.layout.name}, its primitive wants {layout}"
    return None


def _placed(op: Operator) -> str | None:
    if not op.name.startswith("prim."):
        return None
    if len(op.get("offset", ())) != len(op.results):
        return "S9: not every result has a place in the arena"
    for what, name in (("workspace", "workspace"), ("region for constants", "streamed")):
        if op.get(name, 0) and f"{name}_offset" not in op.attributes:
            return f"S9: its {what} has no place in the arena"
    return None


_BEFORE_SELECTION = (_dialects("nn", "q"), _row_major, _no_decision)
_AFTER_SELECTION = (_dialects("prim"), _chosen, _not_pruned)

READ = Stage(road.READ, _BEFORE_SELECTION)
QUANTIZED = Stage(
    road.QUANTIZED, (*_BEFORE_SELECTION, _no_dequantized_constant, _no_round_trip, _no_table_of_table)
)
SELECTED = Stage(road.SELECTED, _AFTER_SELECTION)
LAID_OUT = Stage(road.LAID_OUT, (*_AFTER_SELECTION, _layouts_agree))
PLACED = Stage(road.PLACED, (*_AFTER_SELECTION, _layouts_agree, _placed))
ROAD = {stage.name: stage for stage in (READ, QUANTIZED, SELECTED, LAID_OUT, PLACED)}
