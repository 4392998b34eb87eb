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
    """Instructions that follow one another and are executed equally often, as blocks.

    The emulator's own blocks end at its pages, and overlap: where a loop is entered from above, its first
    round belongs to the code before.
    """
    words, counts = dict[int, int](), Counter[int]()
    for block, count in blocks.items():
        for address, word in zip(range(block.address, block.end, _WORD), block.words, strict=True):
            words[address] = word
            counts[address] += count
    found, first = dict[Block, int](), 0
    order = sorted(words)
    for at, address in enumerate(order):
        last = at + 1 == len(order)
        if last or order[at + 1] != address + _WORD or counts[order[at + 1]] != counts[address]:
            found[Block(order[first], tuple(words[a] for a in order[first : at + 1]))] = counts[address]
            first = at + 1
    return found
