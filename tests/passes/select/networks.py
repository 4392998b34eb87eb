"""Networks of convolutions too large to try every plan: modules as real networks have them, costs drawn.

Sizes are in bytes, seconds are of no particular unit. Blocked convolutions are fast, one of them (a Winograd
transform) needs much workspace; a value converts to any layout in a time that grows with its size.
"""

from __future__ import annotations

import itertools
import random
from dataclasses import dataclass, field

from secateur.passes.select.problem import Problem, Sharing, Step, Way

KNOWN = ("NCHW", "NCHW8c", "NHWC")
BLOCKED = KNOWN[1]
UNIT = 512  # bytes; every part of a concatenation is a multiple of it


@dataclass
class Builder:
    """Steps and sizes under construction; each method appends operators and returns a value's number."""

    choose: random.Random
    layouts: tuple[str, ...]
    steps: list[Step] = field(default_factory=list)
    sizes: list[int] = field(default_factory=lambda: [UNIT * 400])

    def step(self, operands: tuple[int, ...], size: int, ways: list[Way]) -> int:
        self.sizes.append(size)
        self.steps.append(Step(operands, (len(self.sizes) - 1,), tuple(ways)))
        return len(self.sizes) - 1

    def convolution(self, value: int, size: int = 0) -> int:
        base, draw = self.choose.uniform(1, 10), self.choose.uniform
        ways = [Way("direct", (x,), x, base * draw(0.9, 2)) for x in self.layouts]
        ways += [
            Way("im2row", (x,), x, base * draw(0.7, 1.5), self._workspace(60, 700)) for x in self.layouts
        ]
        ways += [
            Way("kn2row", (x,), x, base * draw(0.8, 1.8), self._workspace(10, 300)) for x in self.layouts
        ]
        ways.append(Way("winograd2", (BLOCKED,), BLOCKED, base * draw(0.3, 0.8), self._workspace(200, 900)))
        ways.append(Way("winograd4", (BLOCKED,), BLOCKED, base * draw(0.2, 0.7), self._workspace(500, 2000)))
        ways.append(Way("packing", (KNOWN[0],), BLOCKED, base * draw(0.6, 1.2), self._workspace(60, 700)))
        return self.step((value,), size or UNIT * self.choose.randint(60, 500), ways)

    def _workspace(self, low: int, high: int) -> int:
        return UNIT * self.choose.randint(low, high)

    def concatenation(self, *values: int) -> int:
        joins = [Way("join", (x,) * len(values), x, 0.0, sharing=Sharing.JOIN) for x in self.layouts[:2]]
        copies = [Way("copy", (x,) * len(values), x, self.choose.uniform(0.1, 0.3)) for x in self.layouts]
        return self.step(values, sum(self.sizes[v] for v in values), [*joins, *copies])

    def residual(self, value: int) -> int:
        branch = self.convolution(self.convolution(self.convolution(value)), self.sizes[value])
        adds = [Way("add", (x, x), x, self.choose.uniform(0.1, 0.3), in_place=(0, 1)) for x in self.layouts]
        return self.step((branch, value), self.sizes[value], adds)

    def inception(self, value: int) -> int:
        starts = [value, *(self.convolution(value) for _ in range(2)), value]
        branches = (self.convolution(start, UNIT * self.choose.randint(20, 120)) for start in starts)
        return self.convolution(self.concatenation(*branches))

    def dense(self, value: int) -> int:
        for _ in range(3):
            grown = self.convolution(self.convolution(value), UNIT * self.choose.randint(6, 25))
            value = self.concatenation(value, grown)
        return self.convolution(value)

    def finish(self, output: int) -> Problem:
        sizes = tuple(dict.fromkeys(self.layouts, size) for size in self.sizes)
        conversions = {
            (v, *pair): 2 * size / 4e5 * self.choose.uniform(0.9, 1.1)
            for v, size in enumerate(self.sizes)
            for pair in itertools.permutations(self.layouts, 2)
        }
        return Problem(tuple(self.steps), sizes, conversions, (0,), (output,))


def synthetic(operators: int, layouts: int, seed: int = 0) -> Problem:
    """A network of at least so many operators: chains, residual, Inception and dense blocks at random."""
    build = Builder(random.Random(seed), KNOWN[:layouts])
    kinds = (build.convolution, build.residual, build.residual, build.inception, build.dense)
    value = 0
    while len(build.steps) < operators:
        value = build.choose.choice(kinds)(value)
    return build.finish(value)


def inception_like(modules: int, seed: int) -> Problem:
    """A chain of Inception modules in two layouts."""
    build = Builder(random.Random(seed), KNOWN[:2])
    value = 0
    for _ in range(modules):
        value = build.inception(value)
    return build.finish(value)
