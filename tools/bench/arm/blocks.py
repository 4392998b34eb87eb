"""Which blocks of AArch64 code a program executes, and how often, by a plugin of our own (`blocks.c`)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from .counting import watched

_SOURCE = Path(__file__).with_name("blocks.c")
_WORD = 4  # bytes of an instruction


@dataclass(frozen=True)
class Block:
    """Instructions that are executed one after another, from `address` on."""

    address: int
    words: tuple[int, ...]

    @property
    def end(self) -> int:
        return self.address + _WORD * len(self.words)


Blocks = Mapping[Block, int]
"""How often each is executed."""


def executed(program: Sequence[str | Path], cpu: str) -> tuple[list[Blocks], str]:
    """Blocks executed before each request for the time, since the last, and to the end; what it printed.

    CountError as `counting.snapshots` raises it.
    """
    lines, told = watched(_SOURCE, program, cpu)
    blocks = dict(_block(line) for line in lines if line.startswith("b"))
    return [_counts(line, blocks) for line in lines if line.startswith("t")], told


def _block(line: str) -> tuple[int, Block]:
    _, number, address, *words = line.split()
    return int(number), Block(int(address), tuple(int(word, 16) for word in words))


def _counts(line: str, blocks: Mapping[int, Block]) -> Blocks:
    """A block that was translated twice is one."""
    found = Counter[Block]()
    for part in line.split()[1:]:
        number, count = map(int, part.split(":"))
        found[blocks[number]] += count
    return found


def joined(blocks: Blocks) -> dict[Block, int]:
    """Neighbours that are executed equally often as one: the emulator cuts code at its pages."""
    found: list[tuple[Block, int]] = []
    for block, count in sorted(blocks.items(), key=lambda item: item[0].address):
        if found and found[-1][0].end == block.address and found[-1][1] == count:
            last, _ = found.pop()
            block = Block(last.address, last.words + block.words)
        found.append((block, count))
    return dict(found)
