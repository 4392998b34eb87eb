"""What a model's weights take, layer by layer, in every way to store them; what `secateur weights` shows."""

from __future__ import annotations

import csv
import io
import lzma
import math
import shutil
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from secateur.ir.support.progress import Progress, silent

from ..report import shape_text, size
from ..tables import table

if TYPE_CHECKING:
    from secateur.ir.graph import Graph, Value

Array = NDArray[Any]
Bytes = NDArray[np.int8]
_SECONDS = 600
_POINTER = 2  # bytes of a column's number in compressed rows, 4 past 65,536 columns
BASELINES = ("float32", "dense", "sparse", "entropy", "zstd", "xz")
SMALLEST = "smallest"
_MOST_PATTERNS = 48


@dataclass(frozen=True, eq=False)
class Weights:
    """The integers of one layer, whose type is int8 whatever their bits."""

    name: str
    values: Bytes


@dataclass(frozen=True)
class Row:
    """Bytes of a layer's weights by way to store them; None where this machine cannot tell."""

    name: str
    shape: tuple[int, ...]
    elements: int
    bytes: Mapping[str, int | None]


@dataclass(frozen=True, eq=False)
class Report:
    """The layers of a model at so many bits, a share of each set to zero, and all of them together."""

    model: str
    bits: int
    pruned: float
    rows: tuple[Row, ...]
    total: Row
    patterns: tuple[Pattern, ...]


@dataclass(frozen=True, eq=False)
class Pattern:
    """A filter that occurs several times."""

    values: Bytes
    count: int


# Weights -------------------------------------------------------------------------------------------


def weights_of(graph: Graph, bits: int = 8, pruned: float = 0.0) -> tuple[Weights, ...]:
    """The weights of what multiplies: int8 as they are, floats made integers of so many bits.

    Floats have one scale for each output channel. Of each tensor the share `pruned` of the weights, the
    smallest in size, are zero.
    """
    found = []
    for op in graph.operators:
        if op.name != "nn.constant" or op.result.type.rank < 2 or op.result.type.elements < 2:
            continue
        value = op["value"]
        if value.dtype in (np.int8, np.uint8):
            found.append(Weights(op.result.name, pruned_to(value.view(np.int8), pruned)))
        elif value.dtype == np.float32 and _multiplied(op.result):
            found.append(Weights(op.result.name, rounded(pruned_to(value, pruned), bits)))
    return tuple(found)


def _multiplied(value: Value) -> bool:
    return any(user.macs and user.operands[1] is value for user in value.users if len(user.operands) > 1)


def pruned_to(values: Array, share: float) -> Array:
    """The smallest in size set to zero; of equal ones those that come first."""
    gone = np.argsort(np.abs(values.astype(np.float64)).reshape(-1), kind="stable")[
        : int(share * values.size)
    ]
    result = np.ascontiguousarray(values).copy()
    result.reshape(-1)[gone] = 0
    return result


def rounded(values: Array, bits: int) -> Bytes:
    """Integers of so many bits in a symmetric range, one scale for each index of the first axis."""
    most = 2 ** (bits - 1) - 1
    ranges = np.abs(values).max(axis=tuple(range(1, values.ndim)), keepdims=True)
    scales = np.where(ranges > 0, ranges, 1) / np.float32(most)
    return np.clip(np.rint(values / scales), -most, most).astype(np.int8)


# Sizes ---------------------------------------------------------------------------------------------


def report(
    model: str, layers: Sequence[Weights], bits: int, pruned: float, show: Progress = silent
) -> Report:
    """All sizes of all layers; in all, what streams of a network have in common is counted once."""
    from secateur.codegen.weights.network import network_table
    from secateur.codegen.weights.registry import SHARED

    tables = {name: network_table((layer.values, name) for layer in layers) for name in SHARED}
    rows = []
    for number, layer in enumerate(layers):
        show("weights", number, len(layers))
        rows.append(row_of(layer, bits, tables))
    show("weights", len(layers), len(layers))
    total = _total(rows, {name: len(table) for name, table in tables.items()})
    return Report(model, bits, pruned, tuple(rows), total, patterns_of(layers))


def row_of(layer: Weights, bits: int, tables: Mapping[str, bytes]) -> Row:
    """One layer's sizes; `smallest` is the least of what that name stands for.

    `tables` are what the streams of the network have in common, by codec.
    """
    from secateur.codegen.weights.registry import CHOOSING, CODECS
    from secateur.codegen.weights.streams import size as coded_size

    values = np.ascontiguousarray(layer.values)
    data = values.tobytes()
    codecs: dict[str, int | None] = {name: coded_size(values, name, tables.get(name, b"")) for name in CODECS}
    found: dict[str, int | None] = {
        "float32": 4 * values.size,
        "dense": -(-values.size * bits // 8),
        "sparse": sparse_bytes(values, bits),
        "entropy": math.ceil(entropy_bits(values) / 8),
        "zstd": zstd_bytes(data),
        "xz": xz_bytes(data),
        **codecs,
        SMALLEST: min(codecs[name] or 0 for name in CHOOSING[SMALLEST]),
    }
    return Row(layer.name, values.shape, values.size, found)


def sparse_bytes(values: Bytes, bits: int) -> int:
    """The least of a bitmap and compressed sparse rows, a row for each index of the first axis."""
    kept = int(np.count_nonzero(values))
    columns = values.size // len(values)
    pointer = _POINTER if columns <= 1 << 16 else 2 * _POINTER
    compressed = -(-kept * bits // 8) + kept * pointer + 4 * (len(values) + 1)
    return min(-(-(values.size + kept * bits) // 8), compressed)


def entropy_bits(values: Bytes) -> float:
    """Of the tensor's own values, each for itself; no table is counted."""
    counts = np.bincount(values.reshape(-1).view(np.uint8))
    counts = counts[counts > 0]
    return float((counts * np.log2(values.size / counts)).sum())


def zstd_bytes(data: bytes) -> int | None:
    """By the program `zstd`, where it is installed."""
    program = shutil.which("zstd")
    if program is None:
        return None
    command = [program, "-19", "--no-check", "-q", "-c"]
    done = subprocess.run(command, input=data, capture_output=True, check=True, timeout=_SECONDS)
    return len(done.stdout)


def xz_bytes(data: bytes) -> int:
    """As `xz -9e`, but for the memory, which is as much as there is to compress."""
    reach = min(max(len(data), 1 << 12), 64 << 20)
    settings = [{"id": lzma.FILTER_LZMA2, "preset": 9 | lzma.PRESET_EXTREME, "dict_size": reach}]
    return len(lzma.compress(data, filters=settings))


def _total(rows: Sequence[Row], once: Mapping[str, int]) -> Row:
    """Bytes of a codec that are there `once` are added."""
    names = rows[0].bytes if rows else BASELINES
    sums = {name: _sum([once.get(name, 0), *(row.bytes[name] for row in rows)]) for name in names}
    return Row("all", (), sum(row.elements for row in rows), sums)


def _sum(sizes: Sequence[int | None]) -> int | None:
    known = [n for n in sizes if n is not None]
    return sum(known) if len(known) == len(sizes) else None


# Patterns ------------------------------------------------------------------------------------------


def patterns_of(layers: Sequence[Weights]) -> tuple[Pattern, ...]:
    """The most frequent k x k filters, up to 7 x 7, that occur more than once anywhere in the model."""
    counted: dict[tuple[tuple[int, ...], bytes], int] = {}
    for layer in layers:
        for key, count in _filters(layer.values):
            counted[key] = counted.get(key, 0) + count
    often = sorted(counted.items(), key=lambda item: (-item[1], item[0]))
    return tuple(
        Pattern(np.frombuffer(data, np.int8).reshape(shape), count)
        for (shape, data), count in often[:_MOST_PATTERNS]
        if count > 1
    )


def _filters(values: Bytes) -> Iterator[tuple[tuple[tuple[int, ...], bytes], int]]:
    shape = values.shape[2:]
    if len(shape) != 2 or not 1 < math.prod(shape) <= 49:
        return
    rows, counts = np.unique(values.reshape(-1, math.prod(shape)), axis=0, return_counts=True)
    for row, count in zip(rows, counts, strict=True):
        yield (shape, row.tobytes()), int(count)


# Texts ---------------------------------------------------------------------------------------------


def table_text(found: Report) -> str:
    """For people: bytes of a layer, bits of a weight below, and what the smallest is to each baseline."""
    columns = (*BASELINES, SMALLEST)
    head = ("layer", "shape", *columns, "codec")
    rows = [
        (r.name, shape_text(r.shape), *(_size(r.bytes[c]) for c in columns), winner(r)) for r in found.rows
    ]
    total = found.total
    rows.append(("all", "", *(_size(total.bytes[c]) for c in columns), ""))
    rows.append(("bits a weight", "", *(_bits(total, c) for c in columns), ""))
    rows.append(("that is smaller by", "", *(_ratio(total, c) for c in columns[:-1]), "", ""))
    return f"{table(head, rows)}\n\n{_codecs_text(total)}"


def _codecs_text(total: Row) -> str:
    """All layers by each codec, those that take the least first."""
    from secateur.codegen.weights.registry import CODECS

    names = sorted(CODECS, key=lambda name: total.bytes[name] or 0)
    rows = [(name, _size(total.bytes[name]), _bits(total, name)) for name in names]
    return table(("all layers by codec", "bytes", "bits a weight"), rows)


def winner(row: Row) -> str:
    """The codec that takes the least."""
    from secateur.codegen.weights.registry import CHOOSING

    return min(CHOOSING[SMALLEST], key=lambda name: row.bytes[name] or 0)


def _size(count: int | None) -> str:
    return "-" if count is None else size(count)


def _bits(row: Row, name: str) -> str:
    count = row.bytes[name]
    return "-" if count is None or not row.elements else f"{8 * count / row.elements:.3f}"


def _ratio(row: Row, name: str) -> str:
    count, best = row.bytes[name], row.bytes[SMALLEST]
    return f"{count / best:.3f}x" if count and best else "-"


def json_data(found: Report) -> dict[str, Any]:
    """As JSON."""
    return {
        "model": found.model,
        "bits": found.bits,
        "pruned": found.pruned,
        "layers": [_json_row(row) for row in found.rows],
        "all": _json_row(found.total),
        "patterns": [{"values": p.values.tolist(), "count": p.count} for p in found.patterns],
    }


def _json_row(row: Row) -> dict[str, Any]:
    return {"name": row.name, "shape": row.shape, "weights": row.elements, "bytes": dict(row.bytes)}


def csv_text(found: Report) -> str:
    """A line a layer, and one for all of them."""
    names = list(found.total.bytes)
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(["layer", "shape", "weights", *names])
    for row in (*found.rows, found.total):
        writer.writerow([row.name, shape_text(row.shape) if row.shape else "", row.elements,
                         *("" if row.bytes[n] is None else row.bytes[n] for n in names)])  # fmt: skip
    return out.getvalue()
