"""Blocks of code are counted as often as they are executed, in a program of which every one is known."""

from __future__ import annotations

from pathlib import Path

import pytest

from secateur.tools.bench.arm.blocks import Block, executed, joined
from secateur.tools.bench.arm.counting import CountError
from tests.tools.bench.arm.test_counting import ROUNDS, assembled, needs_tools

FADD, FMUL = 0x4E22D420, 0x6E22DC20  # fadd, fmul v0.4s, v1.4s, v2.4s


@needs_tools
def test_a_loop_is_executed_as_often_as_it_goes_round(tmp_path: Path) -> None:
    program = assembled(tmp_path, "fadd v0.4s, v1.4s, v2.4s\nfmul v0.4s, v1.4s, v2.4s")
    (before, between, _), told = executed([program], "max")
    assert told == ""
    assert not any(FADD in block.words for block in before)
    rounds = [count for block, count in between.items() if {FADD, FMUL} <= {*block.words}]
    assert sum(rounds) == ROUNDS


@needs_tools
def test_a_program_that_fails_is_named(tmp_path: Path) -> None:
    with pytest.raises(CountError, match="exit code 3"):
        executed([assembled(tmp_path, "nop", status=3)], "max")


def test_neighbours_that_are_executed_equally_often_are_one() -> None:
    first, second, third = Block(64, (1, 2)), Block(72, (3,)), Block(80, (4,))
    assert joined({second: 5, first: 5, third: 5}) == {Block(64, (1, 2, 3)): 5, third: 5}
    assert joined({first: 5, second: 6}) == {first: 5, second: 6}


def test_a_loop_is_one_block_however_it_is_entered() -> None:
    """Entered from above, its first round is in a block with what comes before; a page ends in its middle."""
    entered, head, rest = Block(64, (1, 2, 3)), Block(68, (2, 3)), Block(76, (4, 5))
    assert joined({entered: 3, head: 27, rest: 30}) == {Block(64, (1,)): 3, Block(68, (2, 3, 4, 5)): 30}
