"""What it takes to hold an operator's constants coded: `secateur.ir.choice.Storage` for one target."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np

from secateur.ir.choice import Choice
from secateur.ir.graph import Operator

from .primitives.chosen import chosen_as
from .primitives.operator import Array, Constant, Operand, Primitive, constant_of
from .primitives.registry import Primitives
from .program import ALIGNMENT
from .targets.target import Target
from .weights.decoding import TRANSFORMED, most_room, pace_seconds, typical_seconds
from .weights.registry import HOLDING_FILTERS
from .weights.streams import size

_PADDED = 1.1  # times an operand's bytes, which its packed form may take and still be the same numbers


@dataclass(frozen=True, eq=False)
class _Packed:
    """What an artifact holds of an operator's constants; of filters among them `made` numbers are made."""

    arrays: tuple[Array, ...]
    made: int = 0

    @property
    def bytes(self) -> int:
        return sum(array.nbytes for array in self.arrays)


@dataclass
class CodedConstants:
    """Sizes are of streams that are made for the purpose, times those of what most tensors get.

    A constant that is only laid out otherwise is taken to code as it does in the model, so that it is coded
    once for all layouts; what is shared by operators counts for each.
    """

    target: Target
    primitives: Primitives
    _numbers: dict[tuple[str, Operator, Choice, str], float] = field(default_factory=dict, repr=False)
    _sizes: dict[tuple[str, str, bytes], int] = field(default_factory=dict, repr=False)

    def coded_bytes(self, op: Operator, choice: Choice, codec: str) -> int:
        def found() -> float:
            given = [a for v in op.operands if (a := constant_of(v)) is not None]
            packed = self._pack(op, choice, codec in HOLDING_FILTERS).arrays
            return sum(self._size(_as_given(array, given), codec) for array in packed)

        return int(self._known("bytes", op, choice, codec, found))

    def seconds(self, op: Operator, choice: Choice, codec: str) -> float:
        def found() -> float:
            packed = self._pack(op, choice, codec in HOLDING_FILTERS and not choice.streamed)
            made = pace_seconds(TRANSFORMED, packed.made, self.target)
            return typical_seconds(codec, packed.bytes, self.target) + made

        return self._known("seconds", op, choice, codec, found)

    def region_bytes(self, op: Operator, choice: Choice, codec: str) -> int:
        def found() -> float:
            arrays = self._pack(op, choice, False).arrays
            taken = sum(-(-max(a.nbytes, 1) // ALIGNMENT) * ALIGNMENT for a in arrays)
            return taken + most_room(codec) if arrays else 0

        return int(self._known("region", op, choice, codec, found))

    def _known(self, what: str, op: Operator, choice: Choice, codec: str, find: Callable[[], float]) -> float:
        key = (what, op, choice, codec)
        if key not in self._numbers:
            self._numbers[key] = find()
        return self._numbers[key]

    def _pack(self, op: Operator, choice: Choice, filters: bool) -> _Packed:
        chosen = chosen_as(op, choice)
        primitive = self.primitives.find(chosen)
        given = _arguments(primitive, chosen, self.target)
        arrays = [(i, a.array) for i, a in enumerate(given) if isinstance(a, Constant)]
        origin = primitive.origin(chosen, self.target) if filters else None
        if origin is None:
            return _Packed(tuple(array for _, array in arrays))
        rest = (array for i, array in arrays if i not in origin.made)
        made = sum(array.size for i, array in arrays if i in origin.made)
        return _Packed((*origin.sources, *rest), made)

    def _size(self, array: Array, codec: str) -> int:
        plain = np.ascontiguousarray(array)
        key = (codec, f"{array.dtype} {array.shape}", hashlib.sha256(plain.data).digest())
        if key not in self._sizes:
            self._sizes[key] = size(plain, codec)
        return self._sizes[key]


def _arguments(primitive: Primitive, op: Operator, target: Target) -> list[Operand | Constant]:
    """What an origin's numbers count."""
    stages = primitive.stages(op, target)
    return [a for stage in stages for a in stage.arguments if isinstance(a, (Operand, Constant))]


def _as_given(array: Array, given: Sequence[Array]) -> Array:
    """The operator's own constant that an array lays out, at most filled up; else the array."""
    same = (a for a in given if a.dtype == array.dtype and a.nbytes <= array.nbytes <= _PADDED * a.nbytes)
    return next(same, array)
