"""Options as fields of dataclasses: what a command gets, and the sections of its help."""

from __future__ import annotations

import inspect
from dataclasses import dataclass
from typing import Annotated

import pytest
import typer

from secateur.tools.cli.groups import spread

from ..conftest import Cli


@dataclass(frozen=True)
class Size:
    width: Annotated[int, typer.Option(help="Pixels.")] = 4
    height: Annotated[int, typer.Option(help="Pixels.")] = 3


@dataclass(frozen=True)
class Colour:
    name: str | None = None


Seen = list[tuple[str, Size, Colour]]


def test_fields_become_options_in_the_place_of_the_dataclass() -> None:
    seen: Seen = []

    @spread()
    def draw(shape: str, *, size: Size, colour: Colour) -> None:
        """Draws."""
        seen.append((shape, size, colour))

    parameters = inspect.signature(draw).parameters
    assert list(parameters) == ["shape", "width", "height", "name"]
    assert parameters["width"].default == 4
    assert draw.__doc__ == "Draws."
    draw(shape="box", width=7, height=3, name="red")
    assert seen == [("box", Size(7, 3), Colour("red"))]


def test_fields_left_out_keep_their_defaults() -> None:
    seen: Seen = []

    @spread("height")
    def draw(shape: str, *, size: Size, colour: Colour) -> None:
        seen.append((shape, size, colour))

    assert list(inspect.signature(draw).parameters) == ["shape", "width", "name"]
    draw(shape="box", width=7, name=None)
    assert seen == [("box", Size(7, 3), Colour())]


def test_help_has_a_section_for_each_group(cli: Cli) -> None:
    text = cli("compile", "--help").out
    titles = [line for line in text.splitlines() if line.endswith(":") and not line.startswith(" ")]
    assert titles == ["Arguments:", "Options:", "Limits:", "Tflite:", "Passes:", "Quantization:", "Images:"]
    general, _, quantization = text.partition("Quantization:\n")
    assert "--target" in general
    assert "--calibration" in quantization
    assert "--target" not in quantization


@pytest.mark.parametrize("option", ["--winograd", "--layer-sqnr", "--profile"])
def test_what_a_command_leaves_out_is_no_option_of_it(cli: Cli, option: str) -> None:
    assert option in cli("compile", "--help").out
    assert option not in cli("quantize", "--help").out
    result = cli("quantize", "model.onnx", option)
    assert result.code == 2
    assert option in result.err
