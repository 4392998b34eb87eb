"""The side file of a pruned model: the indices of each initializer that stayed, for a training framework.

{"conv1.weight": {"0": [0, 2, 3]}, "conv2.weight": {"0": [1, 2], "1": [0, 2, 3]}}

Along every axis named the pruned initializer is the original's at these indices, ascending:
`numpy.take(array, indices, axis)`, axis by axis. What is not named is as it was (before repair).
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

from secateur.ir.errors import SecateurError
from secateur.ir.support.atomic import write_whole
from secateur.ir.support.strict_json import read_json

from .report import Kept


def kept_text(kept: Kept) -> str:
    """JSON, an initializer a line."""
    rows = (f" {json.dumps(name, ensure_ascii=False)}: {_axes(axes)}" for name, axes in kept.items())
    return "{\n" + ",\n".join(rows) + "\n}\n"


def _axes(axes: Mapping[int, Sequence[int]]) -> str:
    return json.dumps({str(axis): [int(i) for i in indices] for axis, indices in axes.items()})


def write_kept(kept: Kept, path: Path) -> None:
    """Writes the side file; one already there is replaced whole or not at all."""
    write_whole(path, kept_text(kept).encode())


def read_kept(path: Path) -> Kept:
    """What `write_kept` wrote; SecateurError that names the entry where something is wrong with it."""
    data = read_json(path)
    if not isinstance(data, dict):
        raise SecateurError(f"{path}: holds no kept indices: an object of initializers is wanted")
    try:
        return {name: _read_axes(name, axes) for name, axes in data.items()}
    except SecateurError as error:
        raise SecateurError(f"{path}: {error}") from None


def _read_axes(name: str, axes: Any) -> Mapping[int, Sequence[int]]:
    if not isinstance(axes, dict):
        raise SecateurError(f"'{name}' has {axes!r}, not indices by axis")
    return {_read_axis(name, axis): _read_indices(name, axis, found) for axis, found in axes.items()}


def _read_axis(name: str, axis: str) -> int:
    if not (axis.isascii() and axis.isdigit() and len(axis) < 3):
        raise SecateurError(f"'{name}' has an axis '{axis}', which is no number from 0 on")
    return int(axis)


def _read_indices(name: str, axis: str, found: Any) -> list[int]:
    if not isinstance(found, list) or not all(type(i) is int and i >= 0 for i in found):
        raise SecateurError(f"'{name}', axis {axis}: no list of indices from 0 on")
    if any(a >= b for a, b in pairwise(found)):
        raise SecateurError(f"'{name}', axis {axis}: indices do not ascend")
    return found
