"""The options of a quantization, which `compile` and `quantize` share."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, fields
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from secateur.options import Fp16, Int8
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

    def check_fp16(self) -> None:
        """SecateurError where fp16 has no use for something, or a source cannot be read."""
        from secateur.passes.quantize.calibration.data import check_source

        known = {"calibration", "images", "keep_float"}
        more = self.extras.save_ranges, self.extras.report, self.extras.profile
        given = [name for name in self.given.words if name not in known]
        given += [
            name for name, value in zip(("save_ranges", "report", "profile"), more, strict=True) if value
        ]
        if given:
            raise refuse(f"{', '.join(map(flag, given))}: only for --quantize int8, not for --precision fp16")
        if "calibration" in self.given.words:
            check_source(str(self.given.words["calibration"]))
        elif self.options and set(self.given.words) != {"keep_float"}:
            raise refuse(f"{', '.join(self.options)}: only with --calibration")

    def check_half_pipeline(self, text: str) -> None:
        """SecateurError where a pipeline has no pass half, or says itself what an option says."""
        from secateur.passes.framework.pipeline import parse_pipeline

        if "half" not in [step.name for step in parse_pipeline(text)]:
            raise refuse("--precision fp16: the pipeline has no pass half; put it behind fuse")
        if "keep_float" in self.given.words:
            raise refuse("--keep-float: write it into the pipeline's half{...} instead")

    def fp16(self, known: Collection[str] = ()) -> Fp16:
        """The value object of --precision fp16, for a model whose nodes are `known`."""
        words = dict(self.given.words)
        words["keep_float"] = [name for text in words.get("keep_float", ()) for name in _names(text, known)]
        return Fp16(**words, preparation=self.extras.preparation)

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
