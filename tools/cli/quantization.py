"""The options of a quantization, which `compile` and `quantize` share."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, fields
from enum import StrEnum
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ..pages.quantization_report import check_paths
from .checks import check_readable
from .common import refuse

if TYPE_CHECKING:
    from secateur.ir.graph import Graph

DEFAULT_LAYER_SQNR = 20.0


class Method(StrEnum):
    """How ranges are chosen from what calibration saw."""

    minmax = "minmax"
    percentile = "percentile"
    mse = "mse"
    entropy = "entropy"


class Layers(StrEnum):
    """Which layers compute in 8 bits."""

    auto = "auto"
    all = "all"


class Winograd(StrEnum):
    """Tiles of int8 Winograd convolution."""

    auto = "auto"
    off = "off"
    f2 = "2"
    f4x2 = "4x2"
    f4 = "4"
    lance = "lance"


option = partial(typer.Option, rich_help_panel="Quantization")

IN_THE_PIPELINE = (
    "--method", "--min-sqnr", "--layer-sqnr", "--max-drop", "--winograd", "--keep-float", "--equalize",
    "--reduce-range", "--layers",
)  # fmt: skip


@dataclass(frozen=True)
class Quantization:
    """What the command line says about quantization; None and False: nothing."""

    calibration: Annotated[
        str | None,
        option(
            metavar="SRC",
            help="Images to choose ranges on: a folder, an .npz or .npy file, a .txt list, or random:N.",
        ),
    ] = None
    images: Annotated[
        int | None, option(min=1, help="Use at most so many images, evenly spread over the source.")
    ] = None
    mean: Annotated[
        str | None, option(help="Taken off pixels scaled to 0..1: one number, or three with commas.")
    ] = None
    std: Annotated[str | None, option(help="Pixels are then divided by it: one number, or three.")] = None
    size: Annotated[
        int | None, option(help="Resize an image's shorter side to so many pixels, then cut.")
    ] = None
    method: Annotated[Method | None, option(help="How ranges are chosen. Default: mse.")] = None
    min_sqnr: Annotated[
        float | None,
        option(
            metavar="DB",
            help="SQNR of the outputs at least: int8 keeps layers in float for it, "
            "a float network is computed by primitives whose rounding errors add up to no more.",
        ),
    ] = None
    layer_sqnr: Annotated[
        float | None,
        option(metavar="DB", help="SQNR that a layer's Winograd tile must keep. Default: 20."),
    ] = None
    max_drop: Annotated[
        float | None,
        option(metavar="POINTS", help="Keep layers in float until labelled images lose at most this."),
    ] = None
    winograd: Annotated[
        Winograd | None,
        option(help="Winograd tile of int8 layers; auto weighs error and time for each."),
    ] = None
    layers: Annotated[
        Layers | None,
        option(help="Layers in int8: those that are faster so (auto), or all that can be, to save memory."),
    ] = None
    keep_float: Annotated[
        list[str] | None,
        option(
            metavar="NAMES",
            help="ONNX nodes to keep in float: a name, or several with commas between. Repeatable.",
        ),
    ] = None
    equalize: Annotated[bool, option("--equalize", help="Balance the channels of neighbouring layers.")] = (
        False
    )
    reduce_range: Annotated[
        bool,
        option("--reduce-range", help="Weights of 7 bits: exact in ONNX Runtime on x86 without VNNI too."),
    ] = False
    ranges: Annotated[Path | None, option(metavar="FILE.json", help="Ranges that --save-ranges wrote.")] = (
        None
    )
    save_ranges: Annotated[
        Path | None, option(metavar="FILE.json", help="Write the ranges there, to be edited and reused.")
    ] = None
    report: Annotated[
        list[Path] | None,
        option(metavar="FILE", help="Layer by layer: .csv, .json or .html. Repeatable."),
    ] = None
    profile: Annotated[
        bool, option("--profile", help="Time every layer, in int8 and float, for the report.")
    ] = False

    def given(self) -> list[str]:
        """The options on the command line, as they are written there."""
        values = {f.name: getattr(self, f.name) for f in fields(self)}
        present = (name for name, value in values.items() if value is not None and value is not False)
        return [f"--{name.replace('_', '-')}" for name in present]

    def check(self) -> None:
        """SecateurError where something is wrong that can be seen before any work."""
        if self.calibration is None:
            raise refuse(
                "--quantize int8 needs --calibration: a folder of images, an .npz or .npy file, "
                "a .txt list of files, or random:N"
            )
        if self.max_drop is not None and not 0 <= self.max_drop <= 100:
            raise refuse(f"--max-drop {self.max_drop:g}: percentage points from 0 to 100 are wanted")
        if self.keep_float is not None and not self.float_layers():
            raise refuse("--keep-float names no layer")
        if self.save_ranges is not None and not self.save_ranges.parent.is_dir():
            raise refuse(f"--save-ranges {self.save_ranges}: there is no folder {self.save_ranges.parent}")
        check_paths(self.report or ())
        check_readable(self.ranges)
        self._check_calibration(self.calibration)

    def _check_calibration(self, source: str) -> None:
        from secateur.passes.quantize.calibration.data import check_source

        check_source(source)
        _ = self._preparation()  # numbers that are none are refused

    def check_pipeline(self, text: str) -> None:
        """SecateurError where a pipeline does not quantize, or says itself what an option says too."""
        from secateur.passes.framework.pipeline import parse_pipeline

        if "quantize" not in [step.name for step in parse_pipeline(text)]:
            raise refuse("--quantize int8: the pipeline has no pass quantize; put it behind fuse")
        if doubled := [name for name in self.given() if name in IN_THE_PIPELINE]:
            raise refuse(f"{', '.join(doubled)}: write it into the pipeline's quantize{{...}} instead")

    def options(self, known: Collection[str] = ()) -> dict[str, Any]:
        """The keywords of `secateur.compile` and `secateur.quantize` for a model whose nodes are `known`."""
        found = {
            "images": self.images,
            "preparation": self._preparation(),
            "method": self.method and self.method.value,
            "min_sqnr": self.min_sqnr,
            "layer_sqnr": self.layer_sqnr,
            "max_drop": self.max_drop,
            "winograd": self.winograd and self.winograd.value,
            "layers": self.layers and self.layers.value,
            "float_layers": self.float_layers(known) or None,
            "equalize": self.equalize or None,
            "reduce_range": self.reduce_range or None,
            "ranges": self.ranges,
        }
        return {name: value for name, value in found.items() if value is not None}

    def float_layers(self, known: Collection[str] = ()) -> tuple[str, ...]:
        """The names behind every --keep-float; one of those `known` may hold commas."""
        return tuple(name for text in self.keep_float or () for name in _names(text, known))

    @property
    def least_layer_sqnr(self) -> float:
        """What a layer's SQNR is held against."""
        return DEFAULT_LAYER_SQNR if self.layer_sqnr is None else self.layer_sqnr

    def _preparation(self) -> Any:
        """How image files are prepared; None where nothing is said about it."""
        from secateur.passes.quantize.calibration.images import preparation_of

        return preparation_of(self.mean, self.std, self.size)


def _names(text: str, known: Collection[str]) -> list[str]:
    return [text] if text in known else [name for name in text.split(",") if name]


def node_names(graph: Graph) -> set[str]:
    """The names of a graph's ONNX nodes and values: what --keep-float knows."""
    from secateur.passes.quantize.calibration.statistics import value_names

    return {name for op in graph.operators for name in op.loc.split("+")} | set(value_names(graph).values())
