"""Explicit padding that becomes the padding of a convolution or pool."""

from __future__ import annotations

from typing import Any

import numpy as np

from secateur.ir.bounds import bounds_of
from secateur.ir.graph import Value
from secateur.ir.rewrite import Any_, Match, Op, Rule

LOWEST = float(np.finfo(np.float32).min)


def _split(pads: tuple[int, ...]) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Pads of batch and channels, and pads of the spatial axes (begins, then ends)."""
    rank = len(pads) // 2
    return pads[:2] + pads[rank : rank + 2], pads[2:rank] + pads[rank + 2 :]


def _guard(m: Match) -> None:
    pad = m.op("pad")
    outer, spatial = _split(pad["pads"])
    m.need(pad["mode"] == "constant", f"its mode is {pad['mode']}, not constant", pad)
    m.need(not any(outer), "it pads the batch or the channels", pad)
    m.need(min(spatial) >= 0, "it cuts", pad)
    m.need(pad.result.type.dtype.is_float, "it is not of floats", pad)


def _guard_zero(m: Match) -> None:
    _guard(m)
    m.need(m.op("pad")["value"] == 0.0, f"it pads with {m.op('pad')['value']:g}, not 0", m.op("pad"))


def _guard_pool(m: Match) -> None:
    m.need(not m.root["ceil_mode"], "its extents are rounded up")
    m.need(all(d == 1 for d in m.root["dilations"]), "it is dilated")
    pads = _sum(m)
    fits = all(p < k for p, k in zip(pads, m.root["kernel"] * 2, strict=True))
    m.need(fits, f"a window of {m.root['kernel']} could lie in padding {pads} alone")


def _guard_average(m: Match) -> None:
    _guard_zero(m)
    _guard_pool(m)
    counts = m.root["count_include_pad"] or not any(m.root["pads"])
    m.need(counts, "its own padding does not count, the explicit one does")


def _guard_max(m: Match) -> None:
    _guard(m)
    _guard_pool(m)
    value, bound = m.op("pad")["value"], bounds_of(m.value("x")).low
    m.need(
        value <= LOWEST or value <= bound,
        f"padding of {value:g} could win: the input may be as low as {bound:g}",
        m.op("pad"),
    )


def _sum(m: Match) -> tuple[int, ...]:
    return tuple(a + b for a, b in zip(m.root["pads"], _split(m.op("pad")["pads"])[1], strict=True))


def _padded(m: Match, **changed: Any) -> Value:
    attributes = {**m.root.attributes, "pads": _sum(m), **changed}
    return m.new(m.root.name, [m.value("x"), *m.root.operands[1:]], **attributes)


def _conv(m: Match) -> Value:
    """conv(pad(x, p) {constant 0}, w) {pads = q}   ->   conv(x, w) {pads = p + q}

    where p pads spatial axes only and cuts nowhere, and the padded tensor has no other use.
    """
    return _padded(m)


def _average(m: Match) -> Value:
    """average_pool(pad(x, p) {constant 0}) {pads = q}   ->   average_pool(x) {pads = p + q, counted}

    where p pads spatial axes only and cuts nowhere, the padded tensor has no other use, q counts already or
    is zero, extents are not rounded up, and no window lies in padding alone.
    """
    return _padded(m, count_include_pad=True)


def _max(m: Match) -> Value:
    """max_pool(pad(x, p) {constant v}) {pads = q}   ->   max_pool(x) {pads = p + q}

    where p pads spatial axes only and cuts nowhere, the padded tensor has no other use, extents are not
    rounded up, no window lies in padding alone, and v never wins: v is -inf or the lowest finite float, or no
    element of x is below v (after a relu, say).
    """
    return _padded(m)


_PAD = Op("nn.pad", (Any_("x"),), "pad", once=True)

RULES: tuple[Rule, ...] = (
    Rule("pad-into-conv", Op("nn.conv", (_PAD,)), _guard_zero, _conv),
    Rule("pad-into-average-pool", Op("nn.average_pool", (_PAD,)), _guard_average, _average),
    Rule("pad-into-max-pool", Op("nn.max_pool", (_PAD,)), _guard_max, _max),
)
