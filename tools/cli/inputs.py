"""What `--input` names: arrays, images, seeded noise; made to fit the model's inputs."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Protocol

import typer

from .common import nearest, random_array, refuse

if TYPE_CHECKING:
    import numpy as np

    from secateur.passes.quantize.calibration.images import Preparation

    Array = np.ndarray[Any, Any]

Inputs = Annotated[
    list[str] | None,
    typer.Option(
        "--input",
        metavar="NAME=FILE",
        help="An input: a .npy file, an image (.png, .jpg, ...), or random:SEED. Repeatable.",
    ),
]
Mean = Annotated[
    str | None,
    typer.Option(help="Taken off an image's pixels scaled to 0..1: one number, or three with commas."),
]
Std = Annotated[str | None, typer.Option(help="Pixels are then divided by it: one number, or three.")]
Size = Annotated[int | None, typer.Option(help="Resize an image's shorter side to so many pixels, then cut.")]


class Port(Protocol):
    """An input as a session describes it."""

    @property
    def name(self) -> str: ...

    @property
    def shape(self) -> tuple[int, ...]: ...

    @property
    def dtype(self) -> np.dtype[Any]: ...


def parse_inputs(
    texts: Sequence[str] | None, ports: Sequence[Port], images: Preparation | None = None
) -> dict[str, Array]:
    """The arrays that `--input` names, for the model's inputs `ports`; `images`: how image files are read.

    With one input its name may be left out. SecateurError where one is missing, unknown, or does not fit,
    and where `images` says something that no image is there for.
    """
    sources = _named_sources(texts or (), [port.name for port in ports])
    if missing := [port for port in ports if port.name not in sources]:
        listed = ", ".join(f"'{p.name}' {p.dtype}{list(p.shape)}" for p in missing)
        first = missing[0].name
        raise refuse(f"no array for input {listed}; give --input {first}=FILE.npy or {first}=random:0")
    need_images(images, list(sources.values()))
    return {port.name: _array(sources[port.name], port, images) for port in ports}


def need_images(images: Preparation | None, sources: Sequence[str]) -> None:
    """SecateurError where something is said about images and no source is one."""
    if images is not None and not any(map(_is_image, sources)):
        raise refuse("--mean, --std and --size prepare images; no --input is an image file")


def _is_image(source: str) -> bool:
    from secateur.passes.quantize.calibration.images import SUFFIXES

    return Path(source).suffix.lower() in SUFFIXES


def _named_sources(texts: Sequence[str], names: Sequence[str]) -> dict[str, str]:
    sources: dict[str, str] = {}
    for text in texts:
        name, equals, source = text.partition("=")
        if not equals and len(names) == 1:
            name, source = names[0], text
        if name not in names:
            raise refuse(f"the model has no input '{name}'{nearest(name, names)}")
        if name in sources:
            raise refuse(f"--input {name} is given twice")
        sources[name] = source
    return sources


def _array(source: str, port: Port, images: Preparation | None) -> Array:
    if source.startswith("random:"):
        seed = source.removeprefix("random:")
        if not re.fullmatch(r"\d{1,18}", seed):
            raise refuse(f"--input {port.name}={source}: expected random: and a number, such as random:0")
        return random_array(port.shape, port.dtype, int(seed))
    if _is_image(source):
        return _image(Path(source), port, images)
    return fitted(load_array(Path(source)), port, source)


def _image(path: Path, port: Port, images: Preparation | None) -> Array:
    """The image as a batch of one."""
    from secateur.ir.graph import Value
    from secateur.ir.types import DType, TensorType
    from secateur.passes.quantize.calibration.images import ImageReader, Preparation

    value = Value(TensorType(tuple(port.shape), DType.of(port.dtype)), port.name)
    reader = ImageReader(value, images or Preparation())
    if port.shape[0] != 1:
        raise refuse(f"{path}: is one image, input '{port.name}' takes {port.shape[0]}; give them as .npy")
    return reader.read(path)[None]


def fitted(array: Array, port: Port, where: str) -> Array:
    """`array` in the type of `port`, a leading 1 added where it is missing.

    Floats of any width are rounded, integers must come out as they are. SecateurError where it does not fit.
    """
    shaped = array[None] if (1, *array.shape) == tuple(port.shape) else array
    if shaped.shape == tuple(port.shape) and (found := _converted(shaped, port.dtype)) is not None:
        return found
    raise refuse(
        f"{where}: holds {array.dtype} {array.shape}, input '{port.name}' is {port.dtype} {port.shape}"
    )


def _converted(array: Array, dtype: np.dtype[Any]) -> Array | None:
    """None where floats would become integers or the other way, or a number would become another."""
    import numpy as np

    if array.dtype == dtype:
        return array
    kinds = {"f": "f", "i": "i", "u": "i"}
    if kinds.get(array.dtype.kind) is None or kinds.get(array.dtype.kind) != kinds.get(dtype.kind):
        return None
    with np.errstate(over="ignore"):
        found = array.astype(dtype)
    same = np.isfinite(found) == np.isfinite(array) if dtype.kind == "f" else found == array
    return found if same.all() else None


def load_array(path: Path) -> Array:
    """The array in a .npy file; SecateurError where it holds none (pickles are not read)."""
    import numpy as np

    try:
        array = np.load(path, allow_pickle=False)
    except (ValueError, EOFError):
        raise refuse(f"{path}: is not a .npy file of numbers (images are known by their suffix)") from None
    if not isinstance(array, np.ndarray):
        raise refuse(f"{path}: holds several arrays; save the one for this input with numpy.save")
    return array
