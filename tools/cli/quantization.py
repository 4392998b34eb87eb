"""The options of a quantization, which `compile` and `quantize` share."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, fields
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from secateur.options import Int8
from secateur.passes.quantize.options import Recipe

from .checks import check_readable
from .common import refuse
from .groups import Given, flag
from .inputs import Images

if TYPE_CHECKING:
    from secateur.ir.graph import Graph

option = partial(typer.Option, rich_help_panel="Quantization")


@dataclass(frozen=True)
class Extras(Images):
    """How image files are prepared, and what is written besides the network; None and False: nothing."""

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

    @property
    def options(self) -> list[str]:
        """What is given, as it is written on the command line."""
        return [flag(f.name) for f in fields(self) if getattr(self, f.name)]

    def check(self) -> None:
        """SecateurError where something cannot be written."""
        if self.save_ranges is not None and not self.save_ranges.parent.is_dir():
            raise refuse(f"--save-ranges {self.save_ranges}: there is no folder {self.save_ranges.parent}")
        if self.report:
            from ..pages.quantization_report import check_paths

            check_paths(self.report)


@dataclass(frozen=True)
class Quantization:
    """What the command line says about quantization."""

    given: Given[Int8]
    extras: Extras = Extras()

    @property
    def options(self) -> list[str]:
        """What is given, as it is written on the command line."""
        return [*self.given.options, *self.extras.options]

    def check(self) -> None:
        """SecateurError where something is wrong that can be seen before any work."""
        from secateur.passes.quantize.calibration.data import check_source

        if "calibration" not in self.given.words:
            raise refuse(
                "--quantize int8 needs --calibration: a folder of images, an .npz or .npy file, "
                "a .txt list of files, or random:N"
            )
        if "keep_float" in self.given.words and not self.int8().keep_float:
            raise refuse("--keep-float names no layer")
        int8 = self.int8()
        check_readable(Path(int8.ranges) if int8.ranges else None)
        check_source(str(int8.calibration))
        self.extras.check()

    def check_pipeline(self, text: str) -> None:
        """SecateurError where a pipeline does not quantize, or says itself what an option says too."""
        from secateur.passes.framework.pipeline import parse_pipeline

        if "quantize" not in [step.name for step in parse_pipeline(text)]:
            raise refuse("--quantize int8: the pipeline has no pass quantize; put it behind fuse")
        if doubled := [flag(f.name) for f in fields(Recipe) if f.name in self.given.words]:
            raise refuse(f"{', '.join(doubled)}: write it into the pipeline's quantize{{...}} instead")

    def int8(self, known: Collection[str] = ()) -> Int8:
        """The value object, for a model whose nodes are `known`: one of their names may hold commas."""
        more: dict[str, Any] = {"preparation": self.extras.preparation}
        if texts := self.given.words.get("keep_float"):
            more["keep_float"] = [name for text in texts for name in _names(text, known)]
        return self.given.value(**more)


def _names(text: str, known: Collection[str]) -> list[str]:
    return [text] if text in known else [name for name in text.split(",") if name]


def node_names(graph: Graph) -> set[str]:
    """The names of a graph's ONNX nodes and values: what --keep-float knows."""
    from secateur.passes.quantize.calibration.statistics import value_names

    return {name for op in graph.operators for name in op.loc.split("+")} | set(value_names(graph).values())
