"""What a report of a quantization is of: its layers, and what holds for the network."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING

from secateur.passes.quantize.warning import Accumulated

if TYPE_CHECKING:
    from secateur.passes.quantize.report import Tiled


@dataclass(frozen=True)
class LayerRow:
    """One operator of the quantized network.

    `name` is the ONNX node's. `scale` and `zero_point` are those of the 8-bit
    result, `low` and `high` the real values that its range covers, `saturation`
    the share (0 to 1) of values on calibration images that are stored as an end
    of the range, a ReLU's zero apart. `sqnr_db` is the layer's own: its result
    against that of the float layer on the same 8-bit input, infinite where they
    are equal. Times are seconds on one thread, of this operator and of the float
    network's operators in its place. None: not known, or there is none, as a
    layer kept in float has no scale.
    """

    name: str
    operator: str
    primitive: str | None = None
    tile: str | None = None
    scale: float | None = None
    zero_point: int | None = None
    low: float | None = None
    high: float | None = None
    saturation: float | None = None
    sqnr_db: float | None = None
    estimated_seconds: float | None = None
    float_estimated_seconds: float | None = None
    measured_seconds: float | None = None
    float_measured_seconds: float | None = None

    @property
    def how(self) -> str:
        """The primitive with its tile: `winograd 4x4`."""
        return " ".join(part for part in (self.primitive, self.tile) if part) or "-"

    @property
    def int8(self) -> bool:
        """Whether the result is quantized."""
        return self.scale is not None


COLUMNS = tuple(field.name for field in fields(LayerRow))


@dataclass(frozen=True)
class LayerReport:
    """The rows in order of execution, and what holds for the network: text or number by name, for people.

    `slower`, `estimate`, `accumulated` and `tiles` are those of `QuantizationReport`.
    """

    model: str
    layers: tuple[LayerRow, ...]
    facts: Mapping[str, str | float | int | None]
    wanted_sqnr_db: float | None = None
    float_layers: tuple[str, ...] = ()
    slower: tuple[str, ...] = ()
    estimate: tuple[float, float] | None = None
    accumulated: tuple[Accumulated, ...] = ()
    tiles: tuple[Tiled, ...] = ()

    @property
    def gain(self) -> float | None:
        """How many times as fast as the float network it is estimated to be; None where that is not known."""
        return self.estimate[0] / self.estimate[1] if self.estimate and self.estimate[1] else None

    @property
    def keep_float(self) -> str:
        """The layers kept in float as options of the command line; empty without such."""
        return keep_float_option(self.float_layers)

    @property
    def measured(self) -> bool:
        """Whether any operator was timed."""
        return any(row.measured_seconds is not None for row in self.layers)


def keep_float_option(names: Sequence[str]) -> str:
    """Layers as options that keep them in float: `--keep-float /conv1 --keep-float /fc`.

    Each has an option of its own, which may hold commas.
    """
    return " ".join(f"--keep-float {shlex.quote(name)}" for name in names)
