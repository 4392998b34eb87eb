"""Sizes and times with their units, as they stand on the command line."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from secateur.ir.support.units import read_duration, read_room, read_share, read_size, read_time

from .common import refuse


def parse_size(text: str, option: str = "--memory") -> int:
    """`4MiB` as bytes; a number alone counts bytes. Fractions of a byte are dropped."""
    size = read_size(text)
    if size is None:
        raise refuse(f"{option} {text}: expected a size, such as 4MiB, 512KiB or 1843200")
    return size


def parse_duration(text: str, option: str = "--latency") -> float:
    """`20ms` as seconds."""
    duration = read_duration(text)
    if duration is None:
        raise refuse(f"{option} {text}: expected a time with its unit, such as 20ms, 500us or 1.5s")
    return duration


def parse_share(text: str, option: str = "--macs") -> float:
    """`50%` as 0.5."""
    share = read_share(text)
    if share is None:
        raise refuse(f"{option} {text}: expected a share, such as 50% or 0.5")
    return share


def parse_time(text: str, option: str = "--latency") -> float:
    """`20ms` as seconds, `50%` as a `Share`."""
    time = read_time(text)
    if time is None:
        raise refuse(f"{option} {text}: expected a time with its unit, such as 20ms, or a share, such as 50%")
    return time


def parse_room(text: str, option: str = "--size") -> float:
    """`4MiB` as bytes, `50%` as a `Share`."""
    room = read_room(text)
    if room is None:
        raise refuse(f"{option} {text}: expected a size, such as 4MiB, or a share, such as 50%")
    return room


PARSERS: Mapping[str, Callable[[str, str], int | float]] = {
    "bytes": parse_size,
    "seconds": parse_duration,
    "share": parse_share,
    "time": parse_time,
    "room": parse_room,
}
EXAMPLES = {
    "bytes": "4MiB",
    "seconds": "20ms",
    "share": "50%",
    "time": "20ms or 50%",
    "room": "4MiB or 50%",
}
