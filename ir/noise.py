"""Seeded arrays for a graph's inputs, where nobody gives real ones."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from .graph import Graph


def random_array(shape: Sequence[int], dtype: np.dtype[Any], seed: int) -> np.ndarray[Any, Any]:
    """Standard normal floats, small integers from 0, or coin tosses; the same for the same seed."""
    generator = np.random.default_rng(seed)
    if dtype.kind == "f":
        return generator.standard_normal(shape).astype(dtype)
    return generator.integers(0, 2 if dtype.kind == "b" else 100, shape).astype(dtype)


def noise(graph: Graph) -> dict[str, np.ndarray[Any, Any]]:
    """Seeded arrays for the graph's inputs."""
    return {
        v.name: random_array(v.type.shape, v.type.dtype.numpy, seed) for seed, v in enumerate(graph.inputs)
    }
