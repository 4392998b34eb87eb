"""What it takes to hold an operator's constants coded: `secateur.ir.choice.Storage` for one target."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

from secateur.ir.choice import Choice
from secateur.ir.graph import Operator
from secateur.ir.types import Layout

from .alignment import aligned
from .primitives.chosen import chosen_as
from .primitives.operator import Array, Constant, Operand, Primitive, constant_of
from .primitives.registry import Primitives
from .targets.target import Target
from .weights.decoding import TRANSFORMED, most_room, pace_seconds, room_of, typical_seconds
from .weights.pacing import Offer, foreseen, is_paced
from .weights.registry import holds_filters
from .weights.sizes import estimate

_Asked = tuple[str, Operator, str, tuple[Layout, ...], bool, str]
"""What is asked of constants; their operator, its primitive and layouts; whether streamed, and the codec."""

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
    """Sizes are estimates (`weights/sizes.py`), times those of what most tensors get.

    Where `best` is paced, an operator's constants are taken to keep up with a card by themselves. All that is
    loaded shares the card's time, so that the artifact holds no more, about. A constant that is only laid out
    otherwise is taken to code as it does in the model, so that it is coded once for all layouts; what is
    shared by operators counts for each.
    """

    target: Target
    primitives: Primitives
    _numbers: dict[_Asked, float] = field(default_factory=dict, repr=False)
    _offers: dict[_Asked, list[Offer]] = field(default_factory=dict, repr=False)

    def coded_bytes(self, op: Operator, choice: Choice, codec: str) -> int:
        def found() -> float:
            if is_paced(codec, self.target):
                return sum(offer.bytes for offer in self._foreseen(op, choice, codec))
            return sum(estimate(array, codec, quick) for array, quick in self._plain(op, choice, codec))

        return int(self._known("bytes", op, choice, codec, found))

    def seconds(self, op: Operator, choice: Choice, codec: str) -> float:
        def found() -> float:
            packed = self._pack(op, choice, codec)
            made = pace_seconds(TRANSFORMED, packed.made, self.target)
            if is_paced(codec, self.target):
                return sum(offer.seconds for offer in self._foreseen(op, choice, codec)) + made
            return typical_seconds(codec, packed.bytes, self.target) + made

        return self._known("seconds", op, choice, codec, found)

    def region_bytes(self, op: Operator, choice: Choice, codec: str) -> int:
        choice = replace(choice, streamed=1)

        def found() -> float:
            arrays = self._pack(op, choice, codec).arrays
            taken = sum(aligned(max(a.nbytes, 1)) for a in arrays)
            if arrays and is_paced(codec, self.target):
                return taken + room_of({"raw", *(o.codec for o in self._foreseen(op, choice, codec))})
            return taken + most_room(codec) if arrays else 0

        return int(self._known("region", op, choice, codec, found))

    def _foreseen(self, op: Operator, choice: Choice, codec: str) -> list[Offer]:
        """By what a codec that is paced stands for, of these constants alone."""
        key = _asked("offers", op, choice, codec)
        if key not in self._offers:
            arrays, quick = zip(*self._plain(op, choice, codec), strict=True)
            self._offers[key] = foreseen(arrays, quick, self.target)
        return self._offers[key]

    def _plain(self, op: Operator, choice: Choice, codec: str) -> list[tuple[Array, bool]]:
        """What is held, as the model has it where that is the same; whether neighbours are not alike, as of
        what is made of the model's own and larger."""
        given = [a for v in op.operands if (a := constant_of(v)) is not None]
        most = max((a.nbytes for a in given), default=0)
        found = ((array, _as_given(array, given)) for array in self._pack(op, choice, codec).arrays)
        return [(plain, plain is array and array.nbytes > most) for array, plain in found]

    def _known(self, what: str, op: Operator, choice: Choice, codec: str, find: Callable[[], float]) -> float:
        key = _asked(what, op, choice, codec)
        if key not in self._numbers:
            self._numbers[key] = find()
        return self._numbers[key]

    def _pack(self, op: Operator, choice: Choice, codec: str) -> _Packed:
        chosen = chosen_as(op, choice)
        primitive = self.primitives.find(chosen)
        given = _arguments(primitive, chosen, self.target)
        arrays = [(i, a.array) for i, a in enumerate(given) if isinstance(a, Constant)]
        filters = holds_filters(codec) and not choice.streamed
        origin = primitive.origin(chosen, self.target) if filters else None
        if origin is None:
            return _Packed(tuple({id(array): array for _, array in arrays}.values()))  # kernels share some
        rest = (array for i, array in arrays if i not in origin.made)
        made = sum(array.size for i, array in arrays if i in origin.made)
        return _Packed((*origin.sources, *rest), made)


def _asked(what: str, op: Operator, choice: Choice, codec: str) -> _Asked:
    layouts = (*choice.operand_layouts, choice.result_layout)
    return (what, op, choice.primitive, layouts, bool(choice.streamed), codec)


def _arguments(primitive: Primitive, op: Operator, target: Target) -> list[Operand | Constant]:
    """What an origin's numbers count."""
    stages = primitive.stages(op, target)
    return [a for stage in stages for a in stage.arguments if isinstance(a, (Operand, Constant))]


def _as_given(array: Array, given: Sequence[Array]) -> Array:
    """The operator's own constant that an array lays out, at most filled up; else the array."""
    same = (a for a in given if a.dtype == array.dtype and a.nbytes <= array.nbytes <= _PADDED * a.nbytes)
    return next(same, array)
