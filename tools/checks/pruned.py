"""The proof of channel dependencies: removed physically or masked, the answers are equal."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from types import MappingProxyType
from typing import Any

import numpy as np

from secateur.ir.channels import Channels, Cut, find_channels
from secateur.ir.errors import SecateurError
from secateur.ir.graph import Graph, Operator
from secateur.ir.interpreter import run
from secateur.ir.verifier import verify
from secateur.passes.prune.branches import Bypassed
from secateur.passes.prune.criteria.branches import bypassed, find_branches
from secateur.passes.prune.masked import masked
from secateur.passes.prune.remove import Gone, remove

Array = np.ndarray[Any, Any]
NONE: Bypassed = MappingProxyType({})
TOLERANCE = 1e-4  # of an answer's largest magnitude: sums in another order


def random_decision(channels: Channels, seed: int) -> dict[str, list[int]]:
    """Units of about two thirds of the groups, at most half of each group's, so that no axis is emptied."""
    choose = np.random.default_rng(seed)
    gone: dict[str, list[int]] = {}
    for group in channels.groups:
        count = int(choose.integers(0, group.size // 2 + 1)) if choose.random() < 0.7 else 0
        gone[group.name] = sorted(choose.choice(group.size, count, replace=False).tolist())
    return _possible(channels, gone) if channels.follows else gone


def _possible(channels: Channels, wanted: Gone) -> dict[str, list[int]]:
    """The decision without the groups by which, with what follows, an axis would be emptied."""
    gone: dict[str, list[int]] = {}
    for name, units in wanted.items():
        with suppress(SecateurError):
            Cut(channels, {**gone, name: units})
            gone[name] = list(units)
    return gone


def random_branches(graph: Graph, seed: int) -> dict[Operator, int]:
    """Half of the residual branches, at random, as a decision that they go."""
    choose = np.random.default_rng(seed)
    return bypassed(branch for branch in find_branches(graph) if choose.random() < 0.5)


def noise(graph: Graph, seed: int = 0) -> dict[str, Array]:
    """Inputs of normal noise, or of small integers."""
    choose = np.random.default_rng(seed)
    return {v.name: _noise(choose, v.type.shape, v.type.dtype.numpy) for v in graph.inputs}


def _noise(choose: np.random.Generator, shape: tuple[int, ...], dtype: np.dtype[Any]) -> Array:
    found = choose.standard_normal(shape) if dtype.kind == "f" else choose.integers(0, 2, shape)
    return np.asarray(found).astype(dtype)


def assert_same(
    wanted: Mapping[str, Array], found: Mapping[str, Array], tolerance: float = TOLERANCE
) -> None:
    """AssertionError unless integers are equal to the bit, reals to a share of the largest magnitude."""
    if wanted.keys() != found.keys():
        raise AssertionError(f"outputs {sorted(wanted)} became {sorted(found)}")
    for name, a in wanted.items():
        b = found[name]
        if (a.shape, a.dtype) != (b.shape, b.dtype):
            raise AssertionError(f"{name}: {a.dtype} {a.shape} became {b.dtype} {b.shape}")
        limit = tolerance * max(1e-3, _magnitude(a)) if a.dtype.kind == "f" else 0.0
        np.testing.assert_allclose(b, a, rtol=0, atol=limit, err_msg=name)


def _magnitude(array: Array) -> float:
    """The largest finite one."""
    return float(np.abs(array[np.isfinite(array)]).max(initial=0))


def removed(graph: Graph, gone: Gone, channels: Channels, branches: Bypassed = NONE) -> Graph:
    """The graph without `gone` and some branches, verified."""
    pruned = remove(graph, gone, channels, branches)
    verify(pruned)
    return pruned


def check(
    graph: Graph, seed: int = 0, given: Mapping[str, Array] | None = None, tolerance: float = TOLERANCE
) -> Graph:
    """The graph without a random decision; AssertionError where masking that one gives other answers."""
    channels = find_channels(graph)
    gone, branches = random_decision(channels, seed), random_branches(graph, seed)
    given = noise(graph, seed) if given is None else given
    return check_decision(graph, gone, channels, given, tolerance, branches)


def check_decision(
    graph: Graph,
    gone: Gone,
    channels: Channels,
    given: Mapping[str, Array],
    tolerance: float = TOLERANCE,
    branches: Bypassed = NONE,
) -> Graph:
    """The graph without `gone` and some branches; AssertionError where masking these gives other answers."""
    pruned = removed(graph, gone, channels, branches)
    assert_same(run(masked(graph, gone, channels, branches), given), run(pruned, given), tolerance)
    return pruned
