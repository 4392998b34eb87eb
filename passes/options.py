"""Options of the passes that have few, apart from the passes: what is wrong with one is said before NumPy is
imported. Those of `prune` and `quantize` are declared in their folders, for the command line as well."""

from __future__ import annotations

from dataclasses import dataclass, field

from secateur.ir.errors import SecateurError
from secateur.ir.support.words import known_names

LEVELS = ("none", "conservative", "standard", "aggressive")
ENDS = ("int8", "uint8", "float32")


@dataclass(frozen=True, kw_only=True)
class Nothing:
    """Of a pass that has no option."""


@dataclass(frozen=True, kw_only=True)
class CanonicalizeOptions:
    fold: int = field(default=16 << 20, metadata={"unit": "bytes"})
    share: bool = True


@dataclass(frozen=True, kw_only=True)
class OpenOptions:
    blocks: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class FuseOptions:
    level: str = "standard"
    blocks: tuple[str, ...] = ()
    spread: bool = True

    def __post_init__(self) -> None:
        if self.level not in LEVELS:
            raise SecateurError(f"pass fuse: unknown level '{self.level}'{known_names(self.level, LEVELS)}")
        if self.blocks and self.level != "aggressive":
            raise SecateurError("pass fuse: blocks are for level=aggressive, which opens their additions")


@dataclass(frozen=True, kw_only=True)
class TfliteOptions:
    io: str = "int8"
    keep_nchw: bool = False

    def __post_init__(self) -> None:
        if self.io not in ENDS:
            raise SecateurError(f"pass tflite: unknown io '{self.io}'{known_names(self.io, ENDS)}")


@dataclass(frozen=True, kw_only=True)
class SelectOptions:
    memory: int | None = field(default=None, metadata={"unit": "bytes"})
    seconds: float | None = None
    sqnr: float | None = None
    weights: int | None = field(default=None, metadata={"unit": "bytes"})
    kept: int | None = field(default=None, metadata={"unit": "bytes"})
    codec: str = ""
    without: str = ""
    strict: bool = False

    def __post_init__(self) -> None:
        for option in ("memory", "seconds", "sqnr", "weights", "kept"):
            limit = getattr(self, option)
            if limit is not None and not limit >= 0:
                raise SecateurError(f"pass select: {option} must not be negative, is {limit}")
        sums = [name for name in ("sqnr", "weights", "kept") if getattr(self, name) is not None]
        if len(sums) > 1:
            both = " and ".join(sums)
            raise SecateurError(f"pass select: {both} cannot both have a limit; give one of them")
        if self.kept is not None and not self.codec:
            raise SecateurError("pass select: weights that are not kept are decoded; name their codec")


@dataclass(frozen=True, kw_only=True)
class MemoryOptions:
    in_place: bool = True


@dataclass(frozen=True, kw_only=True)
class StoreOptions:
    codec: str = "best"
