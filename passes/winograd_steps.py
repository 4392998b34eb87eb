"""Steps of the transformed input: which real step D each tap and channel of V is rounded in."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .winograd_rounding import nearest, steps_of

Floats = NDArray[Any]
ONE = 1 << 15
LEAST = 1e-12

MOST_FILTERS = 64
MOST_TILES = 1024


@dataclass(frozen=True)
class Options:
    """How a convolution is quantized in the Winograd domain.

    `mode`: "channel" has steps for each tap and channel of the input, "tap" for each tap,
    "lance" one for all (Li et al. 2020). `rounding` of weights: "nearest" or "compensated" (each rounding
    makes up for the errors before it, as GPTQ: Frantar et al. 2023). `balances` are shares tried
    for each tap: 1 gives every channel of V all of 8 bits, 0 every channel of U. `saturations` are tried too:
    the step as a share of what saturates nothing. `damping`: the share of the mean added to the
    samples' second moments, against too few samples.
    """

    mode: str = "channel"
    rounding: str = "compensated"
    balances: tuple[float, ...] = (1.0, 0.85, 0.7, 0.5)
    saturations: tuple[float, ...] = (1.0, 0.9, 0.8)
    damping: float = 0.01

    def __post_init__(self) -> None:
        if self.mode not in ("channel", "tap", "lance"):
            raise ValueError(f"mode '{self.mode}' is none of channel, tap, lance")
        if self.rounding not in ("nearest", "compensated"):
            raise ValueError(f"rounding '{self.rounding}' is neither nearest nor compensated")
        if not self.balances or not self.saturations or min(self.saturations) <= 0:
            raise ValueError("balances and saturations need one number at least, saturations positive ones")


def factors_of(steps: Floats) -> NDArray[np.int16]:
    """2^15 / D, rounded and limited to 1 .. 32767."""
    return np.clip(np.rint(ONE / steps), 1, ONE - 1).astype(np.int16)


def steps_from(factors: NDArray[np.int16]) -> Floats:
    found: Floats = ONE / factors.astype(np.float64)
    return found


def quantized(v: Floats, factors: NDArray[np.int16]) -> Floats:
    """What the operator makes of V (taps, C, tiles), by the second step of its definition."""
    product = v.astype(np.int64) * factors.astype(np.int64)[:, :, None]
    return np.clip((product + (ONE >> 1)) >> 15, -128, 127).astype(np.float64)


def choose_steps(u: Floats, v: Floats, options: Options) -> Floats:
    """D of each tap and channel (taps, C) for U (taps, M, C) and samples V (taps, C, tiles)."""
    most = np.abs(v).max(2)
    if options.mode == "lance":
        return np.full(most.shape, max(most.max(), LEAST) / 127)
    few = v[:, :, :: -(-v.shape[2] // MOST_TILES)], u[:, :: -(-u.shape[1] // MOST_FILTERS)]
    rows = zip(most, np.abs(u).max(1), *few, strict=True)
    return np.stack([_of_tap(v_most, u_most, v1, u1, options) for v_most, u_most, v1, u1 in rows])


def _of_tap(v_most: Floats, u_most: Floats, v: Floats, u: Floats, options: Options) -> Floats:
    """The candidate of one tap with the least squared error of sum over channels of U V."""
    bases = [_balanced(v_most, u_most, b) for b in options.balances]
    if options.mode == "tap":
        bases = [np.full(v_most.shape, max(v_most.max(), LEAST))]
    candidates = [base * share / 127 for base in bases for share in options.saturations]
    return min(candidates, key=lambda steps: _error(steps, v, u))


def _balanced(v_most: Floats, u_most: Floats, balance: float) -> Floats:
    """A range for each channel, scaled until it holds that channel's largest V."""
    v_safe = np.maximum(v_most, max(v_most.max() * 1e-3, LEAST))
    u_safe = np.maximum(u_most, max(u_most.max() * 1e-3, LEAST))
    shape = v_safe**balance / u_safe ** (1 - balance)
    found: Floats = shape * (v_safe / shape).max()
    return found


def _error(steps: Floats, v: Floats, u: Floats) -> float:
    factors = factors_of(steps[None])
    exact, q = steps_from(factors)[0], quantized(v[None], factors)[0]
    scaled = (u * exact)[None]
    unit = steps_of(scaled)
    got = (nearest(scaled, unit)[0] * unit[0][:, None]) @ q
    return float(((u @ v - got) ** 2).sum())
