"""Cycles of a core for code that was executed, by llvm-mca: each block's, as often as it was executed.

A block is simulated as if it followed itself, which a loop's does. Every load is taken to hit the first-level
cache, every branch to be foreseen.
"""

from __future__ import annotations

import subprocess
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from secateur.codegen.targets.target import Target
from secateur.ir.errors import SecateurError

from ..bench.arm.blocks import Block, Blocks, joined
from .cost_check import llvm_tool, simulated

_COVERED = 0.995  # of the instructions are in blocks that are simulated; the rest take as long
_ALL = "+v8.6a,+fullfp16,+i8mm,+dotprod"


@dataclass
class Core:
    """A target's core; what a block takes is kept."""

    target: Target
    _known: dict[tuple[int, ...], float] = field(default_factory=dict, repr=False)

    def cycles(self, runs: Sequence[Blocks]) -> list[float]:
        """Of each of some runs. SecateurError where llvm-mca is not installed or has no such core."""
        hot = [_hottest(joined(run)) for run in runs]
        self._learn({block.words for run, _ in hot for block in run})
        return [share * sum(n * self._known[b.words] for b, n in run.items()) for run, share in hot]

    def _learn(self, codes: Iterable[tuple[int, ...]]) -> None:
        new = [code for code in codes if code not in self._known]
        if not new:
            return
        found = simulated(_regions(new), self.target)
        if found is None or len(found) != len(new):
            raise SecateurError(f"llvm-mca has no model of {self.target.cpu.core}")
        self._known.update(zip(new, found, strict=True))


def _hottest(blocks: Blocks) -> tuple[Blocks, float]:
    """Those that nearly all instructions are in, and how many more there are altogether, as a factor."""
    weights = {block: len(block.words) * count for block, count in blocks.items()}
    total, seen, kept = sum(weights.values()), 0, dict[Block, int]()
    for block in sorted(weights, key=lambda b: -weights[b]):
        if seen >= _COVERED * total:
            break
        seen, kept[block] = seen + weights[block], blocks[block]
    return kept, total / seen if seen else 1.0


def _regions(codes: Sequence[tuple[int, ...]]) -> str:
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
