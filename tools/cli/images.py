"""How image files are prepared for a network: options that the commands which read images share."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Annotated

import typer

from secateur.passes.quantize.calibration.preparation import Preparation, preparation_of

_option = partial(typer.Option, rich_help_panel="Images")


@dataclass(frozen=True)
class Images:
    """How image files are prepared; None: as they are."""

    mean: Annotated[
        str | None, _option(help="Taken off pixels scaled to 0..1: one number, or three with commas.")
    ] = None
    std: Annotated[str | None, _option(help="Pixels are then divided by it: one number, or three.")] = None
    resize: Annotated[
        int | None, _option(help="Resize an image's shorter side to so many pixels, then cut.")
    ] = None

    @property
    def preparation(self) -> Preparation | None:
        """As a value; None where nothing is said about it."""
        return preparation_of(self.mean, self.std, self.resize)
