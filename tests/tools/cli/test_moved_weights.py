"""What is told of weights that were moved."""

from __future__ import annotations

from secateur.passes.quantize.calibration.ranges import Ranges
from secateur.passes.quantize.report import Moved, QuantizationReport
from secateur.tools.cli.quantized import _moved_facts, _moved_text

RANGES = Ranges("minmax", 1, {})
PLAIN = QuantizationReport((), 30.0, None, (), RANGES)
MOVED = QuantizationReport((), 30.0, None, (), RANGES, moved=Moved(38.0, (700.0, 100), (300.0, 100)))


def test_bits_and_decibels_before_and_after_are_told() -> None:
    facts = _moved_facts(MOVED) | {"output_sqnr_db": 30.0}
    assert facts["weight_entropy_bits"] == 3
    assert (
        _moved_text(facts)
        == "weights moved: entropy of 3.00 bits each instead of 7.00, for 8.0 dB, 0.50 bits a decibel"
    )


def test_what_costs_nothing_has_no_rate() -> None:
    facts = _moved_facts(MOVED) | {"output_sqnr_db": 38.0}
    assert _moved_text(facts).endswith("instead of 7.00, for 0.0 dB")


def test_where_none_were_moved_nothing_is_told() -> None:
    assert not _moved_facts(PLAIN)
