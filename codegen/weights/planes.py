"""Bytes told from those of neighbouring taps, rows or channels.

A tensor is cut along one axis, or several that lie side by side, into planes: the taps of a convolution, the
rows of a matrix. What a plane holds is told from the planes before it, at the same place: a weighted sum of
them predicts the value, and their mean size chooses the table by which the rest is coded. Both see finished
planes alone, so that a plane decodes in any order: side by side, in vectors and lanes.

With weights of a bell curve, neighbouring taps save about a quarter of a bit each in trained networks: they
are alike in sign, and large where their neighbours are large.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property, lru_cache

import numpy as np
from numpy.typing import NDArray

from .codec import Bytes, Codec, Shape, require
from .lanes import MOST_LANES, Reader, Tables, encode, lanes_for, padded
from .tables import TOTAL, Table, best_table, read_table

DEPTH = 8
"""Planes that are looked back at, at most."""
PLACES = 512
"""Of a plane, that are coded before the same ones of the next plane."""
LEAST_PLACES = 32
"""Of a plane, where there are eight lanes: by shorter ones a decoder takes up to three times as long."""
MOST_CONTEXTS = 4
"""Their tables take 16 KB each in a decoder; more do not pay for themselves in networks of any size seen."""
MOST_PREDICTED = 64
"""Planes of a tensor that is predicted, at most: each has weights of its own."""
ONE = 64
"""A weight of 1."""
_SYMBOLS = 2048
"""Of a context at least, or its table would not pay."""
_SAMPLE, _SAMPLE_PLANES = 2048, 24
_TRIED = 3
_HEAD = 11
_NOISE_BYTES, _NOISE_BITS = 4096, 512
"""Of at least so many bytes of noise, the entropy falls short of 8 bits by some 184 bits in all."""
SHARE = (0, 64, 32, 21, 16, 13, 11, 9, 8)
"""By how many sizes are summed: what the sum is multiplied with for eight times their mean, in eighths."""

Signed = NDArray[np.int64]


@dataclass(frozen=True)
class Cut:
    """`planes` planes of a tensor of [others, planes, inner] bytes, predicted from each other or not."""

    planes: int
    inner: int
    predicts: bool

    def apart(self, data: Bytes) -> Signed:
        """The planes as rows of signed numbers."""
        boxes = data.view(np.int8).reshape(-1, self.planes, self.inner)
        return boxes.transpose(1, 0, 2).reshape(self.planes, -1).astype(np.int64)

    def sample(self, data: Bytes) -> Signed:
        """Some places of the first planes."""
        boxes = data.view(np.int8).reshape(-1, self.planes, self.inner)[:, :_SAMPLE_PLANES]
        step = max(1, len(boxes) * self.inner // _SAMPLE)
        along = max(1, step // len(boxes))
        some = boxes[:: max(1, step // along), :, ::along].transpose(1, 0, 2)
        return some.reshape(len(some), -1).astype(np.int64)

    def joined(self, rows: NDArray[np.integer]) -> Bytes:
        boxes = rows.reshape(self.planes, -1, self.inner).transpose(1, 0, 2)
        return (boxes & 255).astype(np.uint8).reshape(-1)


def cuts(shape: Shape, count: int) -> Iterator[Cut]:
    """Every way to cut a tensor of so many bytes: along one axis, or several that lie side by side."""
    if not count:
        return
    ends = np.cumprod([1, *shape], dtype=object)
    least = LEAST_PLACES if lanes_for(count) >= 8 else 2
    known = set()
    for begin in range(len(shape)):
        for end in range(begin + 1, len(shape) + 1):
            planes, inner = int(ends[end] // ends[begin]), int(ends[-1] // ends[end])
            if planes > 1 and planes * least <= count and (planes, inner) not in known:
                known.add((planes, inner))
                yield Cut(planes, inner, False)
                if planes <= MOST_PREDICTED:
                    yield Cut(planes, inner, True)


class Planes(Codec):
    """Payload: the power of two that lanes are, planes (4 bytes), inner (4), how many weights a plane has at
    most, contexts, weights of the planes from the second on, the sizes up to which a context goes (2 each),
    the tables of the first plane and of each context, the lanes' states and words."""

    def encode(self, data: Bytes, shape: Shape) -> bytes | None:
        plan = _plan(data, shape)
        return None if plan is None else plan.head + _lanes(plan)

    def decode(self, payload: bytes, count: int) -> Bytes:
        return _decode(payload, count)

    def size(self, data: Bytes, shape: Shape) -> int | None:
        plan = _plan(data, shape)
        return None if plan is None else len(plan.head) + 3 * plan.lanes + int(plan.bits / 8)


@dataclass(frozen=True, eq=False)
class _Plan:
    """What is coded: `rest` and `contexts` by plane, context 0 the first plane's, and the tables."""

    rest: Signed
    contexts: Signed
    tables: tuple[Table, ...]
    lanes: int
    head: bytes

    @cached_property
    def bits(self) -> float:
        return sum(
            table.bits(np.bincount(self.rest[self.contexts == number], minlength=256))
            for number, table in enumerate(self.tables)
        )


def _plan(data: Bytes, shape: Shape) -> _Plan | None:
    """The best of the cuts that a sample speaks for; None for a tensor of one plane, and for noise.

    A size is asked for before the stream is, so the last plan is kept.
    """
    return None if is_noise(data) else _plan_of(data.tobytes(), shape)


def is_noise(data: Bytes) -> bool:
    """Whether bytes occur as often as those of noise do: the low ones of floats, which nothing foretells."""
    seen = np.bincount(data, minlength=256)
    there = seen[seen > 0]
    saved = float((there * np.log2(there * 256 / max(len(data), 1))).sum())
    return len(data) >= _NOISE_BYTES and saved < _NOISE_BITS


@lru_cache(maxsize=1)
def _plan_of(content: bytes, shape: Shape) -> _Plan | None:
    data = np.frombuffer(content, np.uint8)
    known = sorted(cuts(shape, len(data)), key=lambda cut: _estimate(cut, data))
    plans = [_planned(cut, data) for cut in known[:_TRIED]]
    return min(plans, key=lambda plan: plan.bits + 8 * len(plan.head), default=None)


def _estimate(cut: Cut, data: Bytes) -> float:
    """Bits of a byte, about, judged by a sample: of the rest's size within each context."""
    rows = cut.sample(data)
    rest = _rest(rows, _weights(rows) if cut.predicts else [])
    energies = _energies(rows)
    contexts = _contexts(energies, _limits(energies, len(data)))
    size = np.abs(((rest + 128) & 255) - 128)
    counts, sums = np.bincount(contexts.reshape(-1)), np.bincount(contexts.reshape(-1), size.reshape(-1))
    spent = counts @ np.log2(sums / np.maximum(counts, 1) + 0.3) / rows.size
    return float(spent) + (8 * DEPTH * cut.planes / len(data) if cut.predicts else 0)


def _planned(cut: Cut, data: Bytes) -> _Plan:
    rows = cut.apart(data)
    weights, energies = _weights(rows) if cut.predicts else [], _energies(rows)
    limits = _limits(energies, len(data))
    rest, contexts = _rest(rows, weights), _contexts(energies, limits)
    tables = tuple(
        best_table(np.bincount(rest[contexts == number], minlength=256)) for number in range(len(limits) + 2)
    )
    lanes = _lanes_of(cut, len(data))
    head = b"".join([
        bytes([lanes.bit_length() - 1]),
        cut.planes.to_bytes(4, "little"), cut.inner.to_bytes(4, "little"),
        bytes([DEPTH if cut.predicts else 0, len(limits) + 1]),
        *(row.astype(np.int8).tobytes() for row in weights),
        limits.astype("<u2").tobytes(),
        *(table.written for table in tables),
    ])  # fmt: skip
    return _Plan(rest, contexts, tables, lanes, head)


def _weights(rows: Signed) -> list[Signed]:
    """For each plane from the second on, those of the planes before it, the nearest first: least squares."""
    found = []
    for number in range(1, len(rows)):
        past = rows[max(0, number - DEPTH) : number][::-1].astype(np.float64)
        ridge = np.eye(len(past)) * (1e-3 * float((past**2).sum()) / past.shape[1] + 1)
        exact = np.linalg.solve(past @ past.T + ridge, past @ rows[number])
        found.append(np.clip(np.round(exact * ONE), -128, 127).astype(np.int64))
    return found


def _rest(rows: Signed, weights: list[Signed]) -> Signed:
    """What is left of the planes, as bytes."""
    rest = rows.copy()
    for number, own in enumerate(weights, 1):
        rest[number] -= prediction(rows[:number], own)
    return rest & 255


def prediction(past: Signed, weights: Signed) -> Signed:
    """Of a plane's values from the planes before it, the weights' first one the nearest's."""
    sums: Signed = weights @ past[-len(weights) :][::-1]
    return (sums + ONE // 2) >> 6


def energy(past: Signed) -> Signed:
    """Eight times the mean size of the values in the last planes."""
    recent = np.abs(past[-DEPTH:])
    eighths: Signed = recent.sum(axis=0) * SHARE[len(recent)] >> 3
    return eighths


def _energies(rows: Signed) -> Signed:
    """For each plane from the second on, the `energy` of those before it: all by one running sum."""
    sums = np.zeros((len(rows), rows.shape[1]), np.int64)  # of the planes before each
    np.cumsum(np.abs(rows[:-1]), axis=0, out=sums[1:])
    recent, looked_at = sums[1:], np.minimum(np.arange(1, len(rows)), DEPTH)
    recent[DEPTH:] -= sums[1:-DEPTH].copy()
    eighths: Signed = recent * np.array(SHARE)[looked_at][:, None] >> 3
    return eighths


def _limits(energies: Signed, count: int) -> Signed:
    """Energies that part the contexts, each of about as many symbols."""
    seen = np.sort(energies.reshape(-1))
    contexts = min(max(count // _SYMBOLS, 1), MOST_CONTEXTS)
    places = [len(seen) * n // contexts for n in range(1, contexts)]
    limits: Signed = np.unique(seen[np.array(places, np.int64)])
    below: Signed = limits[limits < seen[-1]]
    return below


def _contexts(energies: Signed, limits: Signed) -> Signed:
    """Of all planes, that of the first one 0."""
    later = 1 + np.searchsorted(limits, energies, side="left")
    return np.concatenate([np.zeros((1, energies.shape[1]), np.int64), later])


def _lanes_of(cut: Cut, count: int) -> int:
    """No more than a plane of short ones fills, which begins with the first lane."""
    places = min(count // cut.planes, PLACES)
    return min(lanes_for(count), 1 << (places - 1).bit_length())


def _lanes(plan: _Plan) -> bytes:
    """Some places of every plane, then the next ones; each plane of these begins with lane 0."""
    lanes = plan.lanes
    counts = np.stack([t.counts for t in plan.tables])
    starts = np.stack([t.starts for t in plan.tables])
    parts = [slice(begin, begin + PLACES) for begin in range(0, plan.rest.shape[1], PLACES)]
    rows = [(c[part], r[part]) for part in parts for c, r in zip(plan.contexts, plan.rest, strict=True)]
    return encode(
        np.concatenate([padded(counts[c, r], lanes, TOTAL) for c, r in rows]),
        np.concatenate([padded(starts[c, r], lanes, 0) for c, r in rows]),
    )


def _decode(payload: bytes, count: int) -> Bytes:
    require(len(payload) > _HEAD and 1 << payload[0] <= MOST_LANES, "its head is cut short")
    planes, inner = (int.from_bytes(payload[at : at + 4], "little") for at in (1, 5))
    depth, contexts, at = payload[9], payload[10], _HEAD
    require(planes > 1 and inner > 0 and count % (planes * inner) == 0, "its planes do not divide it")
    require(depth in (0, DEPTH) and 1 <= contexts <= MOST_CONTEXTS, "its head is wrong")
    require(not depth or planes <= MOST_PREDICTED, "its head is wrong")
    weights: list[Signed] = []
    for number in range(1, planes if depth else 1):
        end = at + min(number, DEPTH)
        require(end <= len(payload), "weights are missing")
        weights.append(np.frombuffer(payload[at:end], np.int8).astype(np.int64))
        at = end
    require(at + 2 * contexts <= len(payload), "limits are missing")
    limits = np.frombuffer(payload, "<u2", contexts - 1, at).astype(np.int64)
    require(bool((np.diff(limits) > 0).all()), "its limits are in no order")
    at += 2 * (contexts - 1)
    counts = []
    for _ in range(contexts + 1):
        table, taken = read_table(payload[at:])
        counts.append(table)
        at += taken
    reader = Reader(payload[at:], 1 << payload[0])
    rows = _rows(reader, Tables(np.stack(counts)), Cut(planes, inner, bool(depth)), weights, limits, count)
    reader.finish()
    return rows


def _rows(
    reader: Reader, tables: Tables, cut: Cut, weights: list[Signed], limits: Signed, count: int
) -> Bytes:
    rows = np.zeros((cut.planes, count // cut.planes), np.int64)
    for begin in range(0, rows.shape[1], PLACES):
        _fill(rows[:, begin : begin + PLACES], reader, tables, weights, limits)
    return cut.joined(rows)


def _fill(rows: Signed, reader: Reader, tables: Tables, weights: list[Signed], limits: Signed) -> None:
    """Some places of all planes."""
    rows[0] = reader.row(tables, np.zeros(rows.shape[1], np.int64)).view(np.int8)
    for number in range(1, len(rows)):
        past = rows[:number]
        contexts = 1 + np.searchsorted(limits, energy(past), side="left")
        rest = reader.row(tables, contexts).astype(np.int64)
        value = rest + prediction(past, weights[number - 1]) if weights else rest
        rows[number] = (value & 255).astype(np.uint8).view(np.int8)
