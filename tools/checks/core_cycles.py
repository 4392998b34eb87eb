"""Cycles of a core for code that was executed, by llvm-mca: each block's, as often as it was executed.

A block is simulated as if it followed itself, which a loop's does; what is around an inner loop, with one
round of that. Every load is taken to hit the first-level
cache, every branch to be foreseen.
"""

from __future__ import annotations

import subprocess
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import groupby

from secateur.codegen.targets.target import Target
from secateur.ir.errors import SecateurError

from ..bench.arm.blocks import Blocks, joined
from .cost_check import llvm_tool, simulated

_COVERED = 0.995  # of the instructions are in blocks that are simulated; the rest take as long
_LONG, _FEW = 64, 30  # instructions of code that so many rounds are enough for
_ALL = "+v8.6a,+fullfp16,+i8mm,+dotprod"

Words = tuple[int, ...]
Codes = Mapping[Words, int]
"""How often code is executed."""


@dataclass
class Core:
    """A target's core; what a block takes is kept."""

    target: Target
    _known: dict[Words, float] = field(default_factory=dict, repr=False)

    def cycles(self, runs: Sequence[Blocks]) -> list[float]:
        """Of each of some runs. SecateurError where llvm-mca is not installed or has no such core."""
        hot = [_hottest(nested(joined(run))) for run in runs]
        self._learn({words for codes, _ in hot for words in codes})
        return [share * sum(n * self._known[words] for words, n in codes.items()) for codes, share in hot]

    def _learn(self, codes: Collection[Words]) -> None:
        new = [words for words in codes if words not in self._known]
        for long in (False, True):
            some = [words for words in new if (len(words) > _LONG) == long]
            if not some:
                continue
            found = simulated(_regions(some), self.target, *([_FEW] if long else []))
            if found is None or len(found) != len(some):
                raise SecateurError(f"llvm-mca has no model of {self.target.cpu.core}")
            self._known.update(zip(some, found, strict=True))


def nested(blocks: Blocks) -> Codes:
    """What is executed equally often, in the order of addresses, as if a loop had it all: what is inside
    of it again, for the times that are left.

    By itself, what follows an inner loop would wait for what it leaves in registers, of which the next
    round has new values.
    """
    found = Counter[Words]()
    todo = [sorted(blocks.items(), key=lambda item: item[0].address)]
    while todo:
        run = todo.pop()
        least = min(count for _, count in run)
        found[tuple(word for block, _ in run for word in block.words)] += least
        left = groupby(((block, count - least) for block, count in run), key=lambda item: item[1] > 0)
        todo += [list(items) for more, items in left if more]
    return found


def _hottest(codes: Codes) -> tuple[Codes, float]:
    """Those that nearly all instructions are in, and how many more there are altogether, as a factor."""
    weights = {words: len(words) * count for words, count in codes.items()}
    total, seen, kept = sum(weights.values()), 0, dict[Words, int]()
    for words in sorted(weights, key=lambda w: -weights[w]):
        if seen >= _COVERED * total:
            break
        seen, kept[words] = seen + weights[words], codes[words]
    return kept, total / seen if seen else 1.0


def _regions(codes: Sequence[Words]) -> str:
    """The codes as assembly in which each is a region."""
    lines = iter(disassembled([word for code in codes for word in code]))
    parts = []
    for number, code in enumerate(codes):
        text = "\n".join(next(lines) for _ in code)
        parts.append(f"# LLVM-MCA-BEGIN b{number}\n{text}\n# LLVM-MCA-END\n")
    return "".join(parts)


def disassembled(words: Sequence[int]) -> list[str]:
    """AArch64 instructions as text, a line each; SecateurError where one is none."""
    bytes_ = "\n".join(" ".join(f"0x{byte:02x}" for byte in word.to_bytes(4, "little")) for word in words)
    command = [llvm_tool("llvm-mc"), "-triple=aarch64", "-disassemble", f"-mattr={_ALL}"]
    done = subprocess.run(command, input=bytes_, capture_output=True, text=True)
    lines = [line.strip() for line in done.stdout.splitlines() if line.strip()]
    found = [line for line in lines if not line.startswith(".")]
    if done.returncode or len(found) != len(words):
        raise SecateurError(f"llvm-mc does not disassemble: {done.stderr.strip()[:200]}")
    return found
