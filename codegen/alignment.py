"""Where memory begins in which kernels read and write."""

from __future__ import annotations

ALIGNMENT = 64
"""Bytes: of weights, of values and workspaces in the arena, and of what is decoded there."""


def aligned(bytes: int) -> int:
    """So many bytes or a few more: a multiple of ALIGNMENT."""
    return -(-bytes // ALIGNMENT) * ALIGNMENT
