"""Steps of the transformed input: which real step D each tap and channel of V is rounded in."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from secateur.ir.reference.winograd import quantized_input

from .rounding import steps_of

Floats = NDArray[Any]
ONE = 1 << 15
LEAST = 1e-12

# Of a trial of steps, which is one of many: these, in float32.
MOST_FILTERS = 32
MOST_TILES = 256


@dataclass(frozen=True)
class Options:
    """How a convolution is quantized in the Winograd domain.

    `mode`: "channel" has steps for each tap and channel of the input, "tap" for each tap,
    "lance" one for all (Li et al. 2020). `rounding` of weights: "nearest", "compensated" (each rounding
    makes up for the errors before it, as GPTQ: Frantar et al. 2023), or "spatial": the operator is given
    the 8-bit filters of the direct convolution, and transforms them itself. `balances` are shares tried
    for each tap: 1 gives every channel of V all of 8 bits, 0 every channel of U. `crests`: a channel is
    taken to reach at least so many times what others of its power do, against rare large values that
    the samples lack. `saturations`: the step as a share of what saturates nothing. `damping`: the
    share of the mean added to the samples' second moments, against too few samples. `paired`: weights leave
    room for products of pairs of blocks of channels in 16 bits (`ir/support/room.py`), where there are any.
    `words`: results are computed in 16 bits where they have room (`words.py`).
    """

    mode: str = "channel"
    rounding: str = "compensated"
    balances: tuple[float, ...] = (1.0, 0.7)
    crests: tuple[float, ...] = (0.0, 1.0)
    saturations: tuple[float, ...] = (1.0, 0.85, 0.7)
    damping: float = 0.01
    paired: bool = False
    words: bool = False

    def __post_init__(self) -> None:
        if self.mode not in ("channel", "tap", "lance"):
            raise ValueError(f"mode '{self.mode}' is none of channel, tap, lance")
        if self.rounding not in ("nearest", "compensated", "spatial"):
            raise ValueError(f"rounding '{self.rounding}' is none of nearest, compensated, spatial")
        if self.rounding == "spatial" and self.mode == "lance":
            raise ValueError("LANCE has one scale for all weights, filters of 8 bits one for each")
        if not (self.balances and self.crests and self.saturations) or min(self.saturations) <= 0:
            raise ValueError("balances, crests and saturations need a number each, saturations positive ones")


def factors_of(steps: Floats) -> NDArray[np.int16]:
    """2^15 / D, rounded and limited to 1 .. 32767."""
    return np.clip(np.rint(ONE / steps), 1, ONE - 1).astype(np.int16)


def steps_from(factors: NDArray[np.int16]) -> Floats:
    found: Floats = ONE / factors.astype(np.float32)
    return found


def quantized(v: NDArray[np.int32], factors: NDArray[np.int16]) -> Floats:
    """What the operator makes of V (taps, C, tiles), by the second step of its definition: float32."""
    found: Floats = quantized_input(v, factors).astype(np.float32)
    return found


class Candidate(NamedTuple):
    """How the steps of one tap are found; see `Options`. `even` has one step for all channels."""

    saturation: float
    balance: float = 1.0
    crest: float = 0.0
    even: bool = False

    def steps(self, ranges: Floats, u_most: Floats) -> Floats:
        """Steps (taps, C) for what each channel of V reaches and the largest weight it meets."""
        even = np.broadcast_to(ranges.max(1, keepdims=True), ranges.shape)
        most: Floats = even if self.even else _balanced(ranges, u_most, self.balance)
        return most * (self.saturation / 127)


def choose_steps(u: Floats, v: Floats, options: Options) -> Floats:
    """D of each tap and channel (taps, C) for U (taps, M, C) and samples V (taps, C, tiles)."""
    if options.mode == "lance":
        return np.full(v.shape[:2], max(np.abs(v).max(), LEAST) / 127)
    return _best_of(_candidates(options), u, v, options)


def _candidates(options: Options) -> list[Candidate]:
    even = [Candidate(s, even=True) for s in options.saturations]
    if options.mode == "tap":
        return even
    return even + [Candidate(*row) for row in product(options.saturations, options.balances, options.crests)]


def _best_of(candidates: Sequence[Candidate], u: Floats, v: Floats, options: Options) -> Floats:
    """For each tap the candidate whose steps, found on half the samples, err least on the others.

    The error is that of the tap's sum over channels of U V. Too few samples so lead to simple steps.
    """
    few, u_most = u[:, :: -(-u.shape[1] // MOST_FILTERS)], np.maximum(np.abs(u).max(1), LEAST)
    half = max(1, v.shape[2] // 2)
    rest = v[:, :, half:] if v.shape[2] > 1 else v
    rest = rest[:, :, :: -(-rest.shape[2] // MOST_TILES)]
    want, ranges = few @ rest, _ranges(v[:, :, :half], options.crests)
    errors = [_errors(c.steps(ranges[c.crest], u_most), rest, few, want) for c in candidates]
    ranges = _ranges(v, options.crests)
    steps = np.stack([c.steps(ranges[c.crest], u_most) for c in candidates])
    found: Floats = steps[np.argmin(errors, axis=0), np.arange(len(v))]
    return found


def _ranges(v: Floats, crests: Sequence[float]) -> dict[float, Floats]:
    """What each channel reaches (taps, C), by `crest`: its largest, or what its power makes usual.

    Usual is `crest` times the median over channels of largest by root mean square.
    """
    most, root = np.abs(v).max(2), np.sqrt(np.square(v).mean(2))
    usual = np.array([_median(m[r > 0] / r[r > 0]) for m, r in zip(most, root, strict=True)])
    return {c: np.maximum(np.maximum(most, c * usual[:, None] * root), LEAST) for c in {0.0, *crests}}


def _median(values: Floats) -> float:
    return float(np.median(values)) if values.size else 0.0


def _balanced(v_most: Floats, u_most: Floats, balance: float) -> Floats:
    """A range for each channel, scaled until it holds that channel's largest V."""
    v_safe = np.maximum(v_most, v_most.max(1, keepdims=True) * 1e-3)
    u_safe = np.maximum(u_most, u_most.max(1, keepdims=True) * 1e-3)
    shape = v_safe**balance / u_safe ** (1 - balance)
    found: Floats = shape * (v_safe / shape).max(1, keepdims=True)
    return found


def _errors(steps: Floats, v: Floats, u: Floats, want: Floats) -> Floats:
    """The squared error of `want`, which is U V, with both in 8 bits, for each tap."""
    exact = steps_from(factors_of(steps))
    q = np.clip(np.floor(v / exact[:, :, None] + 0.5), -128, 127)
    scaled = u * exact[:, None, :]
    unit = steps_of(scaled)[:, :, None]
    got = (np.clip(np.rint(scaled / unit), -127, 127) * unit) @ q
    found: Floats = np.square(want - got).sum((1, 2), dtype=np.float64)
    return found
