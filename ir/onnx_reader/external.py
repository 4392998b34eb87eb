"""External data: elements that lie in a file beside the model, and nowhere else."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnx import TensorProto

from ..support.shown import shown


def external_bytes(tensor: TensorProto, folder: Path | None, size: int) -> NDArray[Any]:
    """The `size` bytes of a tensor's elements; ValueError where they cannot be had."""
    entries = {e.key: e.value for e in tensor.external_data}
    if len(entries) != len(tensor.external_data):
        raise ValueError("external data has an entry twice")
    offset = _entry(entries, "offset", 0)
    length = _entry(entries, "length", size)
    if length != size:
        raise ValueError(f"{length} bytes of external data, its shape needs {size}")
    location = entries.get("location", "")
    try:
        return _read(external_path(location, folder), offset, size)
    except OSError as error:
        raise ValueError(f"external data '{shown(location)}' cannot be read: {error.strerror}") from None
    except RuntimeError:  # how pathlib tells of a loop of links
        raise ValueError(f"external data '{shown(location)}' is a link to itself") from None


def _read(path: Path, offset: int, size: int) -> NDArray[Any]:
    if offset + size > path.stat().st_size:
        raise ValueError(f"external data in '{shown(path.name)}' ends before byte {offset + size}")
    found = np.fromfile(path, np.uint8, size, offset=offset)
    if len(found) != size:
        raise ValueError(f"external data in '{shown(path.name)}' became shorter while it was read")
    return found


def _entry(entries: dict[str, str], key: str, default: int) -> int:
    text = entries.get(key, str(default))
    if not (text.isascii() and text.isdecimal()) or len(text) > 18:
        raise ValueError(f"external data has {key} '{shown(text)}'")
    return int(text)


def external_path(location: str, folder: Path | None) -> Path:
    """The file `location` in `folder`; ValueError or OSError where it is anything but a file inside."""
    if folder is None:
        raise ValueError("external data needs a model read from a file")
    if not location or "\0" in location:
        raise ValueError("external data has no location")
    root, given = folder.resolve(), Path(location)
    path = (root / given).resolve()
    if given.is_absolute() or ".." in given.parts or not path.is_relative_to(root):
        raise ValueError(f"external data '{shown(location)}' lies outside the model's folder")
    if path.is_dir():
        raise ValueError(f"external data '{shown(location)}' is a folder, not a file")
    if not path.exists():
        raise ValueError(f"external data file '{shown(location)}' is missing")
    if not path.is_file():
        raise ValueError(f"external data '{shown(location)}' is not an ordinary file")
    return path
