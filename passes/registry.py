"""The one list of passes and rules: where each is; a pass is imported when it is asked for."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from importlib import import_module
from typing import TYPE_CHECKING

from secateur.ir.errors import SecateurError
from secateur.ir.support.words import listed

if TYPE_CHECKING:  # a wrong name is refused before NumPy is imported
    from secateur.ir.rewrite import Rule

    from .framework.base import Pass

PASSES: Mapping[str, str] = {
    "canonicalize": "canonicalize.canonicalize.Canonicalize",
    "open": "fuse.opening.Open",
    "prune": "prune.prune.Prune",
    "remove": "prune.removal.Remove",
    "fuse": "fuse.fuse.Fuse",
    "equalize": "quantize.equalize.Equalize",
    "quantize": "quantize.quantize.Quantize",
    "tflite": "tflite.tflite.ToTflite",
    "select": "select.select.Select",
    "layout": "layout.InsertConversions",
    "memory": "memory.memory.Memory",
    "store": "store.Store",
}
"""The module and class of each pass by its name, in the order of the road."""

RULES = (
    "canonicalize.canonicalize",
    "fuse.opening",
    "fuse.merging",
    "fuse.fuse",
    "fuse.closing",
    "quantize.equalize",
    "integer.integer",
)
"""Modules whose `RULES` are those of a pass."""


class _ByName(Mapping[str, "type[Pass]"]):
    """The passes by name."""

    def __getitem__(self, name: str) -> type[Pass]:
        module, _, cls = PASSES[name].rpartition(".")
        found: type[Pass] = getattr(import_module(f".{module}", __package__), cls)
        return found

    def __contains__(self, name: object) -> bool:
        return name in PASSES

    def __iter__(self) -> Iterator[str]:
        return iter(PASSES)

    def __len__(self) -> int:
        return len(PASSES)


BY_NAME: Mapping[str, type[Pass]] = _ByName()


def rules() -> dict[str, tuple[Rule, ...]]:
    """Every rewriting rule of every pass, for `--explain`; rows that differ in pattern alone share a name."""
    table: dict[str, tuple[Rule, ...]] = {}
    for module in RULES:
        for rule in import_module(f".{module}", __package__).RULES:
            table[rule.name] = (*table.get(rule.name, ()), rule)
    return table


def check_rule(name: str) -> str:
    """`name` where it is a rule; else SecateurError with the known ones."""
    if name not in rules():
        raise SecateurError(f"there is no rule {listed([name], rules())}")
    return name
