"""Layers whose fastest way llvm-mca knows, chosen by the estimates; each by a term that they once had not."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from secateur.codegen.backends.registry import backend_of
from secateur.codegen.primitives.conv.plan import seen_taps
from secateur.codegen.primitives.conv.winograd import matrix
from secateur.codegen.primitives.specs import ConvSpec
from secateur.codegen.targets.rows import TARGETS
from secateur.codegen.vector.dot import dot_of
from secateur.ir.graph import Operator, Value
from secateur.ir.registry import create
from secateur.ir.types import TensorType
from secateur.ir.winograd import float_winograd

from .test_sums_of_channels import SAME, case


def convolution(channels: int, filters: int, side: int, stride: int = 1) -> Operator:
    """3x3 in float32, of as many pixels as `side` says down and across."""
    weights = create("nn.constant", [], {"value": np.zeros((filters, channels, 3, 3), np.float32)}).result
    window = {"strides": (stride, stride), "pads": (1, 1, 1, 1), "dilations": (1, 1), "groups": 1}
    return create("nn.conv", [Value(TensorType((1, channels, side, side))), weights], window)


def times(op: Operator, target: str) -> dict[str, float]:
    """Estimated seconds of each primitive at its fastest."""
    choices = sorted(backend_of(TARGETS[target]).costs(TARGETS[target]).choices(op), key=lambda c: -c.seconds)
    return {choice.primitive: choice.seconds for choice in choices}


def test_many_filters_are_worth_a_copy_whose_pixels_are_signed_once() -> None:
    """By llvm-mca 4 % on the A76, as one of 13 of its vector operations gives pixels another sign bit."""
    dot = dot_of(TARGETS["rpi5"])
    assert dot.preparation > dot.of_centred().preparation == 0
    found = times(case(512, 1000, 1, 2, 0, 255, side=13)[0], "rpi5")
    assert min(found, key=lambda name: found[name]) == "im2row"


@pytest.mark.parametrize(
    ("side", "kernel", "pad", "share"), [(7, 3, 1, 19 / 21), (7, 3, 0, 1), (4, 5, 2, 14 / 20)]
)
def test_taps_outside_of_the_image_are_not_seen(side: int, kernel: int, pad: int, share: float) -> None:
    spec = ConvSpec(1, 4, side, side, 4, (kernel, kernel), (1, 1), (pad,) * 4)
    assert seen_taps(spec, 0) == seen_taps(spec, 1) == pytest.approx(share)


def test_small_images_are_not_copied_with_their_padding() -> None:
    """By llvm-mca im2row takes 7 % more."""
    found = times(case(256, 512, 3, 2, 0, 255, side=14, strides=(2, 2), **SAME)[0], "rpi5")
    assert found["direct"] < found["im2row"]


def test_an_image_that_stays_in_the_second_level_cache_is_read_once() -> None:
    """400 KB of 512; by llvm-mca `strided_winograd6` takes 8 % more."""
    found = times(convolution(128, 256, 28, 2), "rpi5")
    assert min(found, key=lambda name: found[name]) == "direct"


def test_tiles_that_seven_pixels_are_made_of_take_longer() -> None:
    """By llvm-mca F(8), whose results are 49 of 64 products, takes 22 % more; once it was 2 % less."""
    found = times(convolution(3, 32, 224, 2), "rpi5")
    assert min(found, key=lambda name: found[name]) == "direct"
    assert found["strided_winograd8"] > 1.1 * found["direct"]


def test_in_order_transforms_do_not_hide_what_they_load_and_store() -> None:
    """By llvm-mca on the A53 F(6) takes 15 % more than direct sums; it was held for 5 % less."""
    found = times(convolution(3, 64, 224, 2), "rpi3")
    assert min(found, key=lambda name: found[name]) == "direct"


def test_in_order_loads_take_as_long_in_low_register_tiles() -> None:
    """Four tiles of F(7) make one of four rows: by llvm-mca on the A53 17 % more than F(5), not as much; and
    four of F(4) 8 % more than eight of F(4, 2)."""
    found = times(convolution(256, 256, 14), "rpi3")
    assert found["winograd7"] > 1.1 * found["winograd5"]
    found = times(convolution(512, 512, 7), "rpi3")
    assert min(found, key=lambda name: found[name]) == "winograd4x2"


class Counted:
    """A value whose every operation is counted."""

    done = 0

    def _after(self, *_: Any) -> Counted:
        Counted.done += 1
        return self

    __add__ = __sub__ = __mul__ = _after


@pytest.mark.parametrize(("outputs", "taps"), [(2, 3), (4, 3), (6, 3), (7, 3), (7, 2), (5, 4)])
def test_transforms_are_counted_as_they_are_emitted(
    outputs: int, taps: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(matrix, "hold", lambda value, *_: value)
    monkeypatch.setattr(matrix, "splat", lambda value, *_: value)
    monkeypatch.setattr(matrix, "T", SimpleNamespace(fma=Counted._after))
    transforms = float_winograd(outputs, taps)
    for rows in (transforms.a_t, transforms.b_t):
        monkeypatch.setattr(Counted, "done", 0)
        matrix.multiply(rows, [Counted() for _ in rows[0]], 4)
        assert matrix.count(rows).arithmetic == Counted.done
