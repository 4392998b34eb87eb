"""What dense layers of binary16 have in common, however they are multiplied."""

from __future__ import annotations

from secateur.ir.graph import Operator
from secateur.ir.types import DType

from ....primitives.conv.half import PREFIX
from ....primitives.conv.operators import Dense
from ....primitives.specs import HalfDenseSpec
from ....targets.target import Target


class InHalf(Dense):
    """A primitive of floats, for binary16 with sums in it; comes before that among the bases."""

    dtype = DType.F16
    kind = HalfDenseSpec

    def __init__(self) -> None:
        super().__init__()  # type: ignore[call-arg]  # the primitive's, which takes nothing
        self.name = PREFIX + self.name

    def applicable(self, op: Operator, target: Target) -> str | None:
        if not target.cuda.architecture.half2:
            return "no fast arithmetic in binary16"
        return super().applicable(op, target)
