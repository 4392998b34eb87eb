"""How a network is quantized: each option declared once, for the pass, Python and the command line."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Literal

from secateur.ir.errors import SecateurError
from secateur.ir.support.options import Help, documented, settle

Method = Literal["minmax", "percentile", "mse", "entropy"]
Winograd = Literal["auto", "off", "2", "4x2", "4", "lance"]
Layers = Literal["auto", "all"]
Rounding = Literal["float32", "tflite"]
TileWeights = Literal["domain", "paired", "spatial"]
TileResults = Literal["floats", "words"]

LARGEST = 127
REDUCED = 63
"""The largest weight of which two products with unsigned bytes add up to 16 bits: 2 x 255 x 63 < 2^15."""


@documented
@dataclass(frozen=True, kw_only=True)
class Recipe:
    """How a network is quantized, whatever its data and the accuracy that it must keep."""

    method: Annotated[Method, Help("How ranges are chosen.")] = "mse"
    percent: Annotated[
        float, Help("The share of values, in percent, that the method percentile covers.", "PERCENT")
    ] = 99.99
    layer_sqnr: Annotated[float, Help("SQNR that a layer's Winograd tile must keep.", "DB")] = 20.0
    max_drop: Annotated[
        float | None, Help("Keep layers in float until labelled images lose at most this.", "POINTS")
    ] = None
    winograd: Annotated[
        Winograd, Help("Winograd tile of int8 layers; auto weighs error and time for each.")
    ] = "auto"
    keep_float: Annotated[Sequence[str], Help("ONNX nodes to keep in float.", "NAMES")] = ()
    bias_correction: Annotated[bool, Help("Take the mean error of rounded weights off the biases.")] = True
    weights_sqnr: Annotated[
        float | None,
        Help(
            "SQNR of the outputs against the float network's down to which weights move to values that take "
            "fewer bits in a coded file.",
            "DB",
        ),
    ] = None
    equalize: Annotated[bool, Help("Balance the channels of neighbouring layers.")] = False
    reduce_range: Annotated[
        bool, Help("Weights of 7 bits: exact in ONNX Runtime on x86 without VNNI too.")
    ] = False
    layers: Annotated[
        Layers, Help("Layers in int8: those that are faster so (auto), or all that can be, to save memory.")
    ] = "auto"

    def __post_init__(self) -> None:
        settle(self)
        if self.max_drop is not None and not 0 <= self.max_drop <= 100:
            raise SecateurError(f"max_drop {self.max_drop:g}: percentage points from 0 to 100 are wanted")
        if self.weights_sqnr is not None and not math.isfinite(self.weights_sqnr):
            raise SecateurError(f"weights_sqnr {self.weights_sqnr:g}: a number of decibels is wanted")
        if self.weights_sqnr is not None and self.winograd == "lance":
            raise SecateurError(
                "weights_sqnr moves filters, and LANCE's tiles hold none; leave one of the two out"
            )

    @property
    def largest_weight(self) -> int:
        """The largest magnitude of a stored weight; a Winograd form has its own."""
        return REDUCED if self.reduce_range else LARGEST

    @property
    def chooses(self) -> bool:
        """Whether time decides what computes in 8 bits; a tile that is asked for is taken at any price."""
        return self.layers == "auto" and self.winograd in ("auto", "off")


@dataclass(frozen=True)
class WeightForm:
    """How weights are rounded: to which largest magnitude, and whether a matrix has one scale."""

    largest: int = LARGEST
    matrix_scale: bool = False


USUAL = WeightForm()


@dataclass(frozen=True, kw_only=True)
class Options(Recipe):
    """How a network is quantized, and `min_sqnr`, what its outputs must keep, in dB.

    With `rounding` tflite everything computes in 8 bits, by what TFLite can express: no layer stays in float,
    residuals and pools are operators of their own, and a matrix has one scale. `tile_weights` tells what
    Winograd's tiles are given: weights rounded in their domain, the same so that products of two blocks of
    channels meet in 16 bits (paired), or the filters of the direct convolution, which an artifact can store
    and transform where it is loaded. `tile_results` are what their results are computed in where these fit:
    `q.winograd_conv` says the same of each.
    """

    min_sqnr: float | None = None
    rounding: Rounding = "float32"
    tile_weights: TileWeights = "domain"
    tile_results: TileResults = "floats"

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.tflite and self.keep_float:
            raise SecateurError("TFLite's 8-bit targets keep no layer in float; leave keep_float out")

    @property
    def tflite(self) -> bool:
        return self.rounding == "tflite"

    @property
    def paired_tiles(self) -> bool:
        """Whether weights of Winograd's tiles leave room for pairs of blocks."""
        return self.tile_weights == "paired" and not self.tiles_of_filters and self.winograd != "lance"

    @property
    def tiles_of_filters(self) -> bool:
        """Whether Winograd's tiles are given filters, which moved weights are."""
        return self.tile_weights == "spatial" or self.weights_sqnr is not None

    @property
    def weights(self) -> WeightForm:
        return WeightForm(self.largest_weight, self.tflite)
