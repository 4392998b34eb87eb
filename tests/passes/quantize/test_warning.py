"""What is said of a poor answer."""

import math

import pytest

from secateur.passes.quantize.warning import Accumulated, falls, is_poor, reason

LAYERS = [Accumulated("a", 40.0), Accumulated("b", 31.0), Accumulated("c", 32.0), Accumulated("d", 12.0)]


@pytest.mark.parametrize(("sqnr", "poor"), [(15.0, False), (14.9, True), (math.nan, True), (math.inf, False)])
def test_below_15_db_an_answer_is_poor(sqnr: float, poor: bool) -> None:
    assert is_poor(sqnr) == poor


def test_the_layers_that_lose_most_come_first() -> None:
    assert [(layer.layer, lost) for layer, lost in falls(LAYERS)] == [("d", 20.0), ("b", 9.0)]


def test_the_reason_is_what_adds_up() -> None:
    assert reason(7.8, LAYERS) == (
        "the outputs' SQNR is 7.8 dB, less than 15: the answers will often be wrong; "
        "errors add up from layer to layer: from 40.0 dB behind a they fall below 15 at d (12.0 dB); "
        "most is lost at d (-20.0 dB), b (-9.0 dB)"
    )


def test_outputs_alone_may_be_poor() -> None:
    assert reason(9.0, LAYERS[:1]) == (
        "the outputs' SQNR is 9.0 dB, less than 15: the answers will often be wrong"
    )
