"""Whole numbers rounded to what vectors, blocks and lines of a cache hold."""

from __future__ import annotations


def up(value: int, multiple: int) -> int:
    """`value` rounded up to a multiple."""
    return -(-value // multiple) * multiple
