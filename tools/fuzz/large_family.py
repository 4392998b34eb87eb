"""Graphs of hundreds of operators: what a compiler does once for each pair of them shows here."""

from __future__ import annotations

from pathlib import Path
from random import Random
from typing import Any

from .compile_family import check_compiled
from .onnx_family import OnnxFamily, mutated, read
from .seeds import LARGE

SCALE = 64
"""How many times the bytes and multiplications of other cases: the operators are many, and small."""
COMPILED = 10
"""One case of so many is compiled and run."""


class LargeFamily(OnnxFamily):
    """Large models, half of them with a change to their message; every tenth, unchanged, is compiled."""

    name = "large"
    limit_s = 300
    shard = 10
    scale = SCALE

    def make(self, seed: int) -> bytes:
        random = Random(seed)
        model = random.choice(LARGE)(random)
        return mutated(random, model) if seed % 2 else bytes(model.SerializeToString())

    def check(self, data: bytes, seed: int, folder: Path, say: Any) -> str:
        if seed % COMPILED == 0:
            return check_compiled(read(data, Random(seed)), seed, folder)
        return super().check(data, seed, folder, say)
