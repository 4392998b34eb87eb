"""The one list of passes."""

from __future__ import annotations

from secateur.ir.errors import SecateurError
from secateur.ir.rewrite import Rule
from secateur.ir.support.words import listed

from .canonicalize import canonicalize
from .canonicalize.canonicalize import Canonicalize
from .framework.base import Pass
from .fuse import closing, fuse, merging, opening
from .fuse.fuse import Fuse
from .fuse.opening import Open
from .integer import integer
from .layout import InsertConversions
from .memory.memory import Memory
from .prune.prune import Prune
from .prune.removal import Remove
from .quantize import equalize
from .quantize.equalize import Equalize
from .quantize.quantize import Quantize
from .select.select import Select

PASSES: tuple[type[Pass], ...] = (
    Canonicalize,
    Open,
    Prune,
    Remove,
    Fuse,
    Equalize,
    Quantize,
    Select,
    InsertConversions,
    Memory,
)

BY_NAME: dict[str, type[Pass]] = {p.name: p for p in PASSES}


def rules() -> dict[str, tuple[Rule, ...]]:
    """Every rewriting rule of every pass, for `--explain`; rows that differ in pattern alone share a name."""
    table: dict[str, tuple[Rule, ...]] = {}
    for rule in (
        *canonicalize.RULES,
        *opening.RULES,
        *merging.RULES,
        *fuse.RULES,
        *closing.RULES,
        *equalize.RULES,
        *integer.RULES,
    ):
        table[rule.name] = (*table.get(rule.name, ()), rule)
    return table


def check_rule(name: str) -> str:
    """`name` where it is a rule; else SecateurError with the known ones."""
    if name not in rules():
        raise SecateurError(f"there is no rule {listed([name], rules())}")
    return name
