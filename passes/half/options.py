"""How a network is computed in binary16: each option declared once, for the pass and Python."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Literal

from secateur.ir.support.options import Help, documented, settle

Sums = Literal["f16", "f32"]


@documented
@dataclass(frozen=True, kw_only=True)
class HalfRecipe:
    """How a network is computed in binary16, whatever its data."""

    sums: Annotated[
        Sums, Help("Type that sums of products may be rounded to on the way; f32 has no fast kernels.")
    ] = "f16"
    keep_float: Annotated[Sequence[str], Help("ONNX nodes to keep in float32.", "NAMES")] = ()

    def __post_init__(self) -> None:
        settle(self)
