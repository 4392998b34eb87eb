"""The model that a command is given: what its file holds, and what the command line settles about it."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from secateur.ir.errors import SecateurError
from secateur.ir.support.ir_text import is_ir_text

if TYPE_CHECKING:
    from secateur.ir.graph import Graph

Number = bool | int | float
SourceKind = Literal["artifact", "ir", "onnx", "tflite"]
_HEAD = 512  # bytes that tell files apart


@dataclass(frozen=True)
class Settled:
    """What a model's file leaves open and the command line says."""

    shape: Annotated[
        list[str] | None,
        typer.Option(
            "--shape",
            metavar="NAME=DIMS",
            help="Settle an input's shape, such as input=1x3x224x224. Repeatable.",
        ),
    ] = None
    batch: Annotated[
        int | None,
        typer.Option(
            min=1,
            metavar="N",
            help="The first dimension of inputs that leave it free. Default: 1, with a note.",
        ),
    ] = None
    constant: Annotated[
        list[str] | None,
        typer.Option(
            "--constant",
            metavar="NAME=VALUE",
            help="An input known beforehand: a number, or several with commas, such as sr=16000. Repeatable.",
        ),
    ] = None

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        return parse_shapes(self.shape)

    @property
    def constants(self) -> dict[str, Number | list[Number]]:
        return parse_constants(self.constant)

    def check(self, path: Path) -> None:
        """SecateurError where the file is no model or these options are none for it; OSError without a file.

        Nothing is read but the file's first bytes.
        """
        kind = source_kind(path)
        if kind in ("artifact", "tflite"):
            what = "a TFLite file" if kind == "tflite" else "a compiled artifact"
            raise SecateurError(f"{path}: is {what}; this command wants the model (ONNX or IR text)")
        shapes, constants = self.shapes, self.constants
        if kind == "ir" and constants:
            raise SecateurError(
                "--constant is for inputs of an ONNX model; IR text has its constants already"
            )
        if kind == "ir" and (shapes or self.batch):
            option = "--shape" if shapes else "--batch"
            raise SecateurError(
                f"{option} settles shapes of an ONNX model; the shapes of IR text are settled already"
            )

    def read(self, path: Path) -> Graph:
        """The graph of an ONNX or IR file; SecateurError where it is neither."""
        self.check(path)
        if source_kind(path) == "ir":
            from secateur.ir.files import read_graph

            return read_graph(path)
        from secateur.ir.onnx_reader import read_model

        return read_model(path, self.shapes, self.constants, self.batch)


def check_unchosen(graph: Graph, work: str) -> None:
    """SecateurError where a graph has its primitives already; `work` is what was wanted of it."""
    from secateur.pipeline import is_lowered

    if is_lowered(graph):
        raise SecateurError(
            f"this IR has its primitives already; {work} wants the model, or IR before `select`"
        )


def source_kind(path: Path) -> SourceKind:
    """What a file holds, by its first bytes: an artifact (.so, folder, tar), TFLite, IR text, else ONNX."""
    if path.is_dir():
        return "artifact"
    with path.open("rb") as file:
        head = file.read(_HEAD)
    if head.startswith(b"\x7fELF") or head[257:262] == b"ustar" or path.suffix in (".so", ".tar"):
        return "artifact"
    if head[4:8] == b"TFL3":
        return "tflite"
    return "ir" if is_ir_text(path, head) else "onnx"


def parse_shapes(texts: Sequence[str] | None) -> dict[str, tuple[int, ...]]:
    """`["input=1x3x224x224"]` as a dictionary; `input=scalar` is the empty shape."""
    shapes: dict[str, tuple[int, ...]] = {}
    for text in texts or ():
        name, equals, dims = text.rpartition("=")
        if not equals or not name or not re.fullmatch(r"scalar|\d{1,9}(x\d{1,9})*", dims):
            raise SecateurError(f"--shape {text}: expected a name and dimensions, such as input=1x3x224x224")
        if name in shapes:
            raise SecateurError(f"--shape {name} is given twice")
        shapes[name] = () if dims == "scalar" else tuple(map(int, dims.split("x")))
    return shapes


def parse_constants(texts: Sequence[str] | None) -> dict[str, Number | list[Number]]:
    """`["sr=16000", "scale=0.5,2"]` as a dictionary of numbers and lists."""
    constants: dict[str, Number | list[Number]] = {}
    for text in texts or ():
        name, equals, value = text.rpartition("=")
        if not equals or not name:
            raise SecateurError(f"--constant {text}: expected a name and a value, such as sr=16000")
        if name in constants:
            raise SecateurError(f"--constant {name} is given twice")
        numbers = [_number(text, word.strip()) for word in value.split(",")]
        constants[name] = numbers[0] if len(numbers) == 1 else numbers
    return constants


def _number(text: str, word: str) -> Number:
    """An integer where it is written as one, so that it stays exact; `true` and `false`; else a float."""
    if word in ("true", "false"):
        return word == "true"
    try:
        return int(word) if re.fullmatch(r"[+-]?\d{1,40}", word) else float(word)
    except ValueError:
        raise SecateurError(f"--constant {text}: '{word}' is not a number, true or false") from None
