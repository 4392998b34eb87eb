"""The one list of passes and rules: where each is; a pass is imported when it is asked for."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from importlib import import_module
from typing import TYPE_CHECKING, Any

from secateur.ir.errors import SecateurError
from secateur.ir.support.words import listed

if TYPE_CHECKING:  # a wrong name is refused before NumPy is imported
    from secateur.ir.rewrite import Rule

    from .framework.base import Pass

PASSES: Mapping[str, str] = {
    "widen": "widen.Widen",
    "narrow": "narrow.Narrow",
    "canonicalize": "canonicalize.canonicalize.Canonicalize",
    "open": "fuse.opening.Open",
    "prune": "prune.prune.Prune",
    "remove": "prune.removal.Remove",
    "fuse": "fuse.fuse.Fuse",
    "half": "half.half.Half",
    "equalize": "quantize.equalize.Equalize",
    "quantize": "quantize.quantize.Quantize",
    "tflite": "tflite.tflite.ToTflite",
    "select": "select.select.Select",
    "layout": "layout.InsertConversions",
    "memory": "memory.memory.Memory",
    "store": "store.Store",
}
"""The module and class of each pass by its name, in the order of the road."""

OPTIONS: Mapping[str, str] = {
    "widen": "options.Nothing",
    "narrow": "options.Nothing",
    "canonicalize": "options.CanonicalizeOptions",
    "open": "options.OpenOptions",
    "prune": "prune.options.Options",
    "remove": "options.Nothing",
    "fuse": "options.FuseOptions",
    "half": "half.options.HalfRecipe",
    "equalize": "options.Nothing",
    "quantize": "quantize.options.Options",
    "tflite": "options.TfliteOptions",
    "select": "options.SelectOptions",
    "layout": "options.Nothing",
    "memory": "options.MemoryOptions",
    "store": "options.StoreOptions",
}
"""Where a pass inherits its options from that imports less than the pass: a wrong one is refused at once."""

RULES = (
    "canonicalize.canonicalize",
    "fuse.opening",
    "fuse.merging",
    "fuse.fuse",
    "fuse.closing",
    "quantize.equalize",
    "integer.integer",
    "tflite.kernels",
    "tflite.last",
    "tflite.shaping",
    "tflite.weights",
)
"""Modules whose `RULES` are those of a pass."""


def _found(place: str) -> Any:
    module, _, cls = place.rpartition(".")
    return getattr(import_module(f".{module}", __package__), cls)


class _ByName(Mapping[str, "type[Pass]"]):
    """The passes by name."""

    def __getitem__(self, name: str) -> type[Pass]:
        found: type[Pass] = _found(PASSES[name])
        return found

    def __contains__(self, name: object) -> bool:
        return name in PASSES

    def __iter__(self) -> Iterator[str]:
        return iter(PASSES)

    def __len__(self) -> int:
        return len(PASSES)


BY_NAME: Mapping[str, type[Pass]] = _ByName()


def declaration(name: str) -> type | None:
    """The class of a pass's options, where there is one apart from the pass."""
    return _found(OPTIONS[name]) if name in OPTIONS else None


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
