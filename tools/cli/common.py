"""Options that several commands share, and what their texts mean."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

if TYPE_CHECKING:
    import numpy as np

    from secateur.ir.graph import Graph

Json = Annotated[bool, typer.Option("--json", help="Print JSON, and nothing else, on stdout.")]
Target = Annotated[str, typer.Option(help="The processor to compile for; `secateur targets` lists them.")]
Shapes = Annotated[
    list[str] | None,
    typer.Option(
        "--shape", metavar="NAME=DIMS", help="Settle an input's shape, such as input=1x3x224x224. Repeatable."
    ),
]
Batch = Annotated[
    int | None,
    typer.Option(
        min=1, metavar="N", help="The first dimension of inputs that leave it free. Default: 1, with a note."
    ),
]
Constants = Annotated[
    list[str] | None,
    typer.Option(
        "--constant", metavar="NAME=VALUE",
        help="An input known beforehand: a number, or several with commas, such as sr=16000. Repeatable.",
    ),
]  # fmt: skip
Threads = Annotated[int, typer.Option(min=1, max=1024, help="Threads to run with.")]
Pipeline = Annotated[
    str | None, typer.Option(metavar="TEXT", help="Passes, such as canonicalize,fuse{level=conservative},...")
]

Costs = Annotated[
    Path | None,
    typer.Option(
        "--costs", metavar="TABLE.json", help="Take times from a table that `secateur profile` wrote."
    ),
]

Number = bool | int | float
SourceKind = Literal["artifact", "ir", "onnx"]
_MAGIC_BYTES = 512


def refuse(message: str) -> Exception:
    """The error for bad words on the command line."""
    from secateur.ir.errors import SecateurError

    return SecateurError(message)


def nearest(name: str, known: Iterable[str]) -> str:
    """`; did you mean 'conv1'?` where a known name is near, then the known names."""
    known = list(known)
    near = difflib.get_close_matches(name, known, 1)
    return f"{f'; did you mean {near[0]!r}?' if near else ''} known: {', '.join(known) or 'none'}".replace(
        "? k", "? K"
    )


def parse_shapes(texts: Sequence[str] | None) -> dict[str, tuple[int, ...]]:
    """`["input=1x3x224x224"]` as a dictionary; `input=scalar` is the empty shape."""
    shapes: dict[str, tuple[int, ...]] = {}
    for text in texts or ():
        name, equals, dims = text.rpartition("=")
        if not equals or not name or not re.fullmatch(r"scalar|\d{1,9}(x\d{1,9})*", dims):
            raise refuse(f"--shape {text}: expected a name and dimensions, such as input=1x3x224x224")
        if name in shapes:
            raise refuse(f"--shape {name} is given twice")
        shapes[name] = () if dims == "scalar" else tuple(map(int, dims.split("x")))
    return shapes


def parse_constants(texts: Sequence[str] | None) -> dict[str, Number | list[Number]]:
    """`["sr=16000", "scale=0.5,2"]` as a dictionary of numbers and lists."""
    constants: dict[str, Number | list[Number]] = {}
    for text in texts or ():
        name, equals, value = text.rpartition("=")
        if not equals or not name:
            raise refuse(f"--constant {text}: expected a name and a value, such as sr=16000")
        if name in constants:
            raise refuse(f"--constant {name} is given twice")
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
        raise refuse(f"--constant {text}: '{word}' is not a number, true or false") from None


def source_kind(path: Path) -> SourceKind:
    """What a file holds, by its first bytes: an artifact (.so, folder, tar), IR text, or else ONNX."""
    if path.is_dir():
        return "artifact"
    with path.open("rb") as file:
        head = file.read(_MAGIC_BYTES)
    if head.startswith(b"\x7fELF") or head[257:262] == b"ustar" or path.suffix in (".so", ".tar"):
        return "artifact"
    return "ir" if path.suffix == ".sir" or head.lstrip().startswith((b"graph @", b"//")) else "onnx"


def read_source(
    path: Path,
    shapes: Mapping[str, tuple[int, ...]] | None = None,
    batch: int | None = None,
    constants: Mapping[str, Number | list[Number]] | None = None,
) -> Graph:
    """The graph of an ONNX or IR file; SecateurError where it is neither."""
    kind = source_kind(path)
    if kind == "artifact":
        raise refuse(f"{path}: is a compiled artifact; this command wants the model (ONNX or IR text)")
    if kind == "ir":
        from secateur.ir.files import read_graph

        if constants:
            raise refuse("--constant is for inputs of an ONNX model; IR text has its constants already")
        if shapes or batch:
            option = "--shape" if shapes else "--batch"
            raise refuse(
                f"{option} settles shapes of an ONNX model; the shapes of IR text are settled already"
            )
        return read_graph(path)
    from secateur.ir.onnx_reader import read_model

    return read_model(path, shapes, constants, batch)


def write_model(graph: Graph, path: Path) -> None:
    """Writes `graph` as ONNX; a file already there is replaced whole or not at all."""
    from secateur.ir.onnx_writer import to_onnx
    from secateur.ir.support.atomic import write_whole

    write_whole(path, to_onnx(graph).SerializeToString(deterministic=True))


def is_lowered(graph: Graph) -> bool:
    """Whether primitives have been chosen."""
    return any(op.name.startswith("prim.") for op in graph.operators)


def default_pipeline(graph: Graph) -> str:
    """The passes that a graph still needs; those that place values are always run again."""
    from secateur.passes.registry import DEFAULT_PIPELINE

    return "layout,memory" if is_lowered(graph) else DEFAULT_PIPELINE


def random_array(shape: Sequence[int], dtype: np.dtype[Any], seed: int) -> np.ndarray[Any, Any]:
    """Standard normal floats, small integers from 0, or coin tosses; the same for the same seed."""
    from secateur.ir import noise

    return noise.random_array(shape, dtype, seed)


def noise(graph: Graph) -> dict[str, np.ndarray[Any, Any]]:
    """Seeded arrays for the graph's inputs."""
    from secateur.ir import noise

    return noise.noise(graph)
