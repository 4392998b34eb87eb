"""Texts of a model file inside messages."""

from __future__ import annotations

MOST = 120
"""Characters of a name that a message shows."""


def shown(text: str) -> str:
    """`text`, or where it is long its beginning and end; a file may hold names of any length."""
    if len(text) <= MOST:
        return text
    return f"{text[: MOST // 2]}...{text[-(MOST // 4) :]} ({len(text)} characters)"
