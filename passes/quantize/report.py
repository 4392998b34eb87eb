"""What quantization did to each layer: scale, range, saturation, error, primitive and time."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from secateur.ir.choice import CostTable
from secateur.ir.errors import ModelError
from secateur.ir.graph import Graph, Operator, constant_of
from secateur.ir.interpreter import evaluate
from secateur.ir.ops.linear import one_quant
from secateur.ir.types import DType, TensorType

from .calibration.executor import Array
from .calibration.ranges import Ranges
from .choice import PAYS
from .measure import decibels, power
from .warning import Accumulated


@dataclass(frozen=True)
class Row:
    """One layer. Numbers that do not apply are None: a layer in float has neither scale nor error.

    `name` are its ONNX nodes; `low` and `high` the real numbers that its stored
    result spans; `saturated` the share of results at the end of that range
    (a ReLU's zero does not count); `sqnr` its own error in dB, on its own
    quantized input; `tile` as "4x2", or "" for a direct computation;
    `primitive` and `seconds` (one core) are the cost table's cheapest.
    """

    name: str
    operator: str
    scale: float | None
    zero_point: int | None
    low: float | None
    high: float | None
    saturated: float | None
    sqnr: float | None
    tile: str
    primitive: str
    seconds: float | None


@dataclass(frozen=True)
class Tiled:
    """A 3x3 layer of a file that was weighed as a Winograd tile: estimated seconds and SQNR in dB of both.

    A tile that is not faster is not tried: neither SQNR is known. `taken` ones are in the file.
    """

    layer: str
    seconds: float
    tile_seconds: float
    sqnr: float | None = None
    tile_sqnr: float | None = None
    taken: bool = False

    @property
    def faster(self) -> bool:
        return self.tile_seconds < self.seconds


@dataclass(frozen=True)
class Moved:
    """What moving weights did: SQNR of the outputs before, in dB, and weights' bits before and after.

    Bits are by their entropy, in all, beside how many weights there are; of tiles, those of their filters.
    """

    sqnr: float
    before: tuple[float, int]
    after: tuple[float, int]

    @property
    def each(self) -> tuple[float, float]:
        """Bits of a weight before and after."""
        return self.before[0] / max(self.before[1], 1), self.after[0] / max(self.after[1], 1)


@dataclass(frozen=True)
class QuantizationReport:
    """Rows in the order of execution, and figures of the whole network.

    `sqnr` is the outputs' in dB on calibration images; `accuracy` (float, then
    quantized, in percent) is None without labelled data; `float_layers` is
    what the option of that name takes to keep the same layers in float; `ranges`
    are those of the calibration, to be saved and used again. `slower` are the
    layers that stay in float because 8 bits would be slower, by ONNX node;
    `estimate` is what the float network takes and what this one does, in seconds
    on one core, where there is a cost table. `accumulated` are the linear layers'
    errors and all before them, known where the outputs' SQNR is poor. `tiles` are the layers that were
    weighed as Winograd tiles of a file. `moved` is what it did that weights were moved, where they were.
    """

    rows: tuple[Row, ...]
    sqnr: float
    accuracy: tuple[float, float] | None
    float_layers: tuple[str, ...]
    ranges: Ranges
    slower: tuple[str, ...] = ()
    estimate: tuple[float, float] | None = None
    accumulated: tuple[Accumulated, ...] = ()
    tiles: tuple[Tiled, ...] = ()
    moved: Moved | None = None

    @property
    def pays(self) -> bool:
        """Whether 8 bits are estimated to gain more than estimates are wrong by; without costs, they do."""
        return self.estimate is None or self.estimate[1] * PAYS <= self.estimate[0]

    @property
    def seconds(self) -> float:
        """The estimates' sum."""
        return sum(row.seconds or 0.0 for row in self.rows)


def dequantized(array: NDArray[Any], type: TensorType) -> Array:
    """Real numbers of a stored array, f32; one that is real stays as it is."""
    if type.quant is None:
        return array
    scale, zero = one_quant(type)
    return ((array.astype(np.int64) - zero) * scale).astype(np.float32)


def own_sqnr(op: Operator, real: Operator, data: Sequence[Array], result: Array) -> float:
    """The SQNR in dB of a linear operator's `result`, against the real one on the same stored `data`."""
    floats = iter(dequantized(a, v.type) for a, v in zip(data, data_values(op), strict=True))
    constants = [constant_of(v) for v in real.operands]
    (wanted,) = evaluate(real, [next(floats) if c is None else c for c in constants])
    got = dequantized(result, op.result.type).astype(np.float64)
    return decibels(power(wanted), power(got - wanted))


def data_values(op: Operator) -> list[Any]:
    """The operands of an integer operator that are no constants."""
    return [v for v in op.operands if constant_of(v) is None]


def saturated_share(op: Operator, results: Sequence[Array]) -> float | None:
    """The share of stored results at an end of the range that cut values off; None for a real result.

    An end that stands for 0.0 is not counted: what a ReLU makes zero is not cut off by the range.
    """
    type = op.result.type
    if type.dtype != DType.U8 or type.quant is None:
        return None
    ends = [end for end in (0, 255) if end != type.quant.zero_points[0]]
    count = sum(int(np.isin(r, ends).sum()) for r in results)
    return count / max(1, sum(r.size for r in results))


def cheapest(op: Operator, costs: CostTable | None) -> tuple[str, float | None]:
    """Primitive and seconds of the cheapest choice; nothing where there is no cost table, or no choice."""
    if costs is None:
        return "", None
    try:
        choice = min(costs.choices(op), key=lambda c: c.seconds)
    except ModelError:
        return "", None
    return choice.primitive, choice.seconds


def _span(type: TensorType) -> tuple[float | None, int | None, float | None, float | None]:
    """Scale, zero point, least and largest real number."""
    if type.quant is None or type.quant.axis is not None:
        return None, None, None, None
    scale, zero = one_quant(type)
    return scale, zero, -zero * scale, (255 - zero) * scale


def rows(
    graph: Graph,
    errors: Mapping[str, float],
    shares: Mapping[str, float | None],
    costs: CostTable | None,
) -> Iterator[Row]:
    """A row for each operator that computes; `errors` and `shares` by the name of the result."""
    for op in graph.operators:
        if op.name == "nn.constant":
            continue
        name = op.results[0].name
        primitive, seconds = cheapest(op, costs)
        tile = "x".join(map(str, op["tile"])) if op.name == "q.winograd_conv" else ""
        sqnr = errors.get(name)
        finite = sqnr if sqnr is None or not math.isnan(sqnr) else None
        span = _span(op.results[0].type)
        yield Row(op.loc or name, op.name, *span, shares.get(name), finite, tile, primitive, seconds)
