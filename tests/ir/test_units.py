"""Sizes and times are said in the units that people type, and read back to the same number."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from secateur.ir.support.units import Share, duration_text, read_duration, read_size, read_time, size_text


@pytest.mark.parametrize(
    ("text", "count"),
    [
        ("0 bytes", 0), ("64 bytes", 64), ("1kB", 1000), ("1KiB", 1024), ("10kB", 10_000), ("10KiB", 10_240),
        ("4MiB", 4 << 20), ("4.5MiB", 9 << 19), ("1800KiB", 1_843_200), ("431168 bytes", 431_168),
        ("20MB", 20_000_000), ("2GiB", 2 << 30),
    ],
)  # fmt: skip
def test_a_size_is_said_in_the_unit_that_is_shortest(text: str, count: int) -> None:
    assert size_text(count) == text


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("20ms", 0.02), ("500us", 5e-4), ("1.5s", 1.5), ("799.344us", 0.000799344), ("1ns", 1e-9),
        ("0ns", 0.0), ("3600s", 3600.0), ("0.003ns", 3e-12),
    ],
)  # fmt: skip
def test_a_time_is_said_in_the_largest_unit_that_it_fills(text: str, seconds: float) -> None:
    assert duration_text(seconds) == text


@given(st.integers(0, 1 << 50))
def test_sizes_read_back(count: int) -> None:
    assert read_size(size_text(count).removesuffix(" bytes")) == count


@given(st.floats(1e-9, 1e6))
def test_times_read_back(seconds: float) -> None:
    assert read_duration(duration_text(float(f"{seconds:.6g}"))) == float(f"{seconds:.6g}")


@pytest.mark.parametrize("text", ["4 apples", "-4MiB", "MiB", "1e9e", "", "4MiB!", "4ms"])
def test_what_is_no_size_is_none(text: str) -> None:
    assert read_size(text) is None


@pytest.mark.parametrize("text", ["20", "ms", "-1ms", "20 MiB", "inf"])
def test_what_is_no_time_is_none(text: str) -> None:
    assert read_duration(text) is None


@pytest.mark.parametrize("text", ["50%", "33.3%", "0%", "120%", "0.125%"])
def test_a_share_is_no_number_of_seconds(text: str) -> None:
    share = read_time(text)
    assert isinstance(share, Share)
    assert str(share) == text
    assert share != float(share)
    assert float(share) == pytest.approx(float(text.removesuffix("%")) / 100, rel=1e-12)


def test_a_time_is_seconds_or_a_share() -> None:
    assert read_time("20ms") == 0.02
    assert read_time("15min") == 900.0
    assert read_time("20") is None
    assert read_time("x%") is None
