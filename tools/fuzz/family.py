"""What a family of cases is: what is mutated, and what every mutation must come to.

A case is made from its seed alone. `check` says in a word what it came to, or
raises: a user's error is a refusal, `Defect` and everything else a failure.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from pathlib import Path
from typing import Any, ClassVar

PEER = "peer"  # said before foreign code runs in this process


class Family(ABC):
    """One kind of input."""

    name: ClassVar[str]
    suffix: ClassVar[str]
    limit_s: ClassVar[int] = 20
    shard: ClassVar[int] = 250  # cases that one worker does, fewer where they take long

    @abstractmethod
    def make(self, seed: int) -> bytes:
        """The mutated input, as the bytes of a file."""

    @abstractmethod
    def check(self, data: bytes, seed: int, folder: Path, say: Any) -> str:
        """What the input came to; `folder` is empty scratch, `say(PEER)` announces foreign code."""
