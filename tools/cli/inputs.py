"""What `--input` names: arrays, images, seeded noise; made to fit the model's inputs."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Protocol

import typer

from secateur.ir.support.words import known_names

from .checks import check_readable
from .common import refuse

if TYPE_CHECKING:
    import numpy as np

    from secateur.ir.graph import Graph
    from secateur.passes.quantize.calibration.preparation import Preparation

    Array = np.ndarray[Any, Any]

_RANDOM = "random:"


class Port(Protocol):
    """An input as a session describes it."""

    @property
    def name(self) -> str: ...

    @property
    def shape(self) -> tuple[int, ...]: ...

    @property
    def dtype(self) -> np.dtype[Any]: ...


_preparing = partial(typer.Option, rich_help_panel="Images")


@dataclass(frozen=True)
class Images:
    """How image files are prepared; None: as they are."""

    mean: Annotated[
        str | None, _preparing(help="Taken off pixels scaled to 0..1: one number, or three with commas.")
    ] = None
    std: Annotated[str | None, _preparing(help="Pixels are then divided by it: one number, or three.")] = None
    resize: Annotated[
        int | None, _preparing(help="Resize an image's shorter side to so many pixels, then cut.")
    ] = None

    @property
    def preparation(self) -> Preparation | None:
        """As a value; None where nothing is said about it."""
        from secateur.passes.quantize.calibration.preparation import preparation_of

        return preparation_of(self.mean, self.std, self.resize)


@dataclass(frozen=True)
class Feed(Images):
    """What the command line says about the arrays that go into a network."""

    input: Annotated[
        list[str] | None,
        typer.Option(
            "--input",
            metavar="NAME=FILE",
            help="An input: a .npy file, an image (.png, .jpg, ...), or random:SEED. Repeatable.",
        ),
    ] = None

    def check(self) -> None:
        """SecateurError where this cannot be right whatever the network; OSError without a file."""
        sources = [_source_of(text) for text in self.input or ()]
        check_readable(*(Path(source) for source in sources if not source.startswith(_RANDOM)))
        if self.preparation is not None and not any(map(_is_image, sources)):
            raise refuse("--mean, --std and --resize prepare images; no --input is an image file")

    def arrays(self, ports: Sequence[Port]) -> dict[str, Array]:
        """The arrays of --input for the inputs `ports`; see `parse_inputs`."""
        return parse_inputs(self.input, ports, self.preparation)

    def arrays_or_noise(self, ports: Sequence[Port]) -> dict[str, Array]:
        """The same; seeded noise where no --input is given."""
        return self.arrays(ports) if self.input else noise_of(ports)


def noise_of(ports: Sequence[Port]) -> dict[str, Array]:
    """An array of seeded noise for each input."""
    from secateur.ir.noise import random_array

    return {port.name: random_array(port.shape, port.dtype, seed) for seed, port in enumerate(ports)}


@dataclass(frozen=True)
class GraphPort:
    """A graph's input in the form of a session's."""

    name: str
    shape: tuple[int, ...]
    dtype: np.dtype[Any]


def graph_ports(graph: Graph) -> list[GraphPort]:
    return [GraphPort(v.name, v.type.shape, v.type.dtype.numpy) for v in graph.inputs]


def parse_inputs(
    texts: Sequence[str] | None, ports: Sequence[Port], images: Preparation | None = None
) -> dict[str, Array]:
    """The arrays that `--input` names, for the model's inputs `ports`; `images`: how image files are read.

    With one input its name may be left out. SecateurError where one is missing, unknown, or does not fit.
    """
    sources = _named_sources(texts or (), [port.name for port in ports])
    if missing := [port for port in ports if port.name not in sources]:
        listed = ", ".join(f"'{p.name}' {p.dtype}{list(p.shape)}" for p in missing)
        first = missing[0].name
        raise refuse(f"no array for input {listed}; give --input {first}=FILE.npy or {first}=random:0")
    return {port.name: _array(sources[port.name], port, images) for port in ports}


def _is_image(source: str) -> bool:
    from secateur.passes.quantize.calibration.images import SUFFIXES

    return Path(source).suffix.lower() in SUFFIXES


def _source_of(text: str) -> str:
    """What `NAME=FILE` or `FILE` names, as well as can be told without the names of the inputs."""
    return text if Path(text).exists() else text.partition("=")[2] or text


def _named_sources(texts: Sequence[str], names: Sequence[str]) -> dict[str, str]:
    sources: dict[str, str] = {}
    for text in texts:
        name, equals, source = text.partition("=")
        if not equals and len(names) == 1:
            name, source = names[0], text
        if name not in names:
            raise refuse(f"the model has no input '{name}'{known_names(name, names)}")
        if name in sources:
            raise refuse(f"--input {name} is given twice")
        sources[name] = source
    return sources


def _array(source: str, port: Port, images: Preparation | None) -> Array:
    if source.startswith(_RANDOM):
        seed = source.removeprefix(_RANDOM)
        if not re.fullmatch(r"\d{1,18}", seed):
            raise refuse(f"--input {port.name}={source}: expected random: and a number, such as random:0")
        from secateur.ir.noise import random_array

        return random_array(port.shape, port.dtype, int(seed))
    if _is_image(source):
        return _image(Path(source), port, images)
    return fitted(load_array(Path(source)), port, source)


def _image(path: Path, port: Port, images: Preparation | None) -> Array:
    """The image as a batch of one."""
    from secateur.ir.graph import Value
    from secateur.ir.types import DType, TensorType
    from secateur.passes.quantize.calibration.images import ImageReader
    from secateur.passes.quantize.calibration.preparation import Preparation

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
