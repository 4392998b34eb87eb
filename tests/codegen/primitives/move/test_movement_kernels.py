"""Kernels that move elements, against the interpreter: every layout they offer, ragged shapes."""

from __future__ import annotations

import numpy as np
import pytest

from secateur.codegen.backends.cpu.primitives import PRIMITIVES
from secateur.codegen.primitives.move.movement import axis_segments, channel_runs
from secateur.codegen.targets.target import Target
from secateur.codegen.vector.shuffles import transpose

from ...generic_harness import BOTH, RUNNABLE, check, every_target, operator, rand, run, whole


@pytest.mark.parametrize("perm", [(0, 2, 3, 1), (0, 3, 1, 2), (3, 2, 1, 0), (1, 0, 2, 3)])
@pytest.mark.parametrize("dtype", ["float32", "uint8", "int64"])
def test_transpose(perm: tuple[int, ...], dtype: str) -> None:
    check("transpose", [whole(2, 40, 17, 23, dtype=dtype, high=100)], {"perm": perm})


@pytest.mark.parametrize("mode", ["constant", "reflect", "edge", "wrap"])
def test_pad(mode: str) -> None:
    assert check("pad", [rand(2, 20, 5, 7)], {"pads": (0, 0, 2, 3, 0, 0, 1, 4), "mode": mode}) == BOTH
    check("pad", [rand(2, 3, 5, 7)], {"pads": (1, 0, -1, 3, 0, 2, 1, -2), "mode": mode})


def test_pad_that_wraps_twice() -> None:
    check("pad", [rand(3)], {"pads": (7, 8), "mode": "wrap"})


def test_pad_with_a_value_keeps_padding_lanes_zero() -> None:
    ragged, full = ((1, c, 3, 3) for c in (5, 16))
    attributes = {"pads": (0, 0, 1, 1, 0, 0, 1, 1), "value": 1.5}
    assert check("pad", [rand(*ragged)], attributes) == {"plain"}
    assert check("pad", [rand(*full)], attributes) == BOTH


def test_slice_with_negative_steps() -> None:
    attributes = {"starts": (0, 16, 8, 1), "sizes": (2, 24, 5, 4), "steps": (1, 1, -2, 2)}
    assert check("slice", [rand(2, 40, 9, 10)], attributes) == BOTH
    check("slice", [rand(40)], {"starts": (38,), "sizes": (39,), "steps": (-1,)})


def test_slice_through_a_block_is_row_major() -> None:
    attributes = {"starts": (0, 3, 0, 0), "sizes": (1, 8, 3, 3), "steps": (1, 1, 1, 1)}
    assert check("slice", [rand(1, 32, 3, 3)], attributes) == {"plain"}


@every_target
@pytest.mark.parametrize("channels", [(32, 16), (20, 7, 40), (5,), (3, 3, 3, 3, 3, 3)])
def test_concat_of_ragged_channels(channels: tuple[int, ...], target: Target) -> None:
    parts = [rand(2, c, 3, 3) for c in channels]
    assert check("concat", parts, {"axis": 1}, target=target, only="copy") == BOTH


def test_concat_along_other_axes_and_of_constants() -> None:
    check("concat", [rand(2, 20, 3, 3), rand(2, 20, 3, 1)], {"axis": -1})
    check("concat", [rand(2, 20), rand(3, 20)], {"axis": 0}, constants=(0,))
    check("concat", [rand(2, 20), rand(2, 0)], {"axis": 1})


@pytest.mark.parametrize("mode", ["DCR", "CRD"])
def test_depth_and_space(mode: str) -> None:
    check("depth_to_space", [rand(2, 12, 5, 6)], {"block": 2, "mode": mode})
    check("space_to_depth", [rand(2, 3, 6, 4)], {"block": 2, "mode": mode})


def test_expand_and_tile() -> None:
    check("expand", [rand(2, 1, 5)], {"shape": (3, 2, 4, 5)})
    assert check("expand", [rand(2, 20, 1, 1)], {"shape": (2, 20, 4, 5)}) == BOTH
    check("tile", [rand(2, 3, 4)], {"repeats": (2, 1, 3)})


@pytest.mark.parametrize("constants", [(), (0,), (1,)])
def test_gather(constants: tuple[int, ...]) -> None:
    indices = np.array([[0, -1, 2], [1, 1, 0]])
    check("gather", [rand(4, 5, 6), indices], {"axis": 1}, constants=constants)
    check("gather", [rand(4, 5, 6), indices.astype(np.int32)], {"axis": -1}, constants=constants)


def test_gather_outside_the_axis_reads_its_ends() -> None:
    arrays = [np.arange(4, dtype=np.float32), np.array([-9, 9])]
    op = operator("gather", arrays, {"axis": 0})
    assert run(PRIMITIVES.candidates(op)[0], op, arrays, RUNNABLE[0]).tolist() == [0.0, 3.0]


@every_target
@pytest.mark.parametrize(
    "shape", [(1, 64, 9, 9), (2, 20, 5, 7), (1, 3, 40, 40), (2, 16, 1, 1), (1, 37, 7, 7), (1, 5, 3)]
)
def test_relayout_both_ways(shape: tuple[int, ...], target: Target) -> None:
    assert check("relayout", [rand(*shape)], target=target) == BOTH


@pytest.mark.parametrize("mode", ["constant", "reflect", "edge", "wrap"])
@pytest.mark.parametrize(("begin", "end"), [(0, 0), (2, 3), (-1, 2), (3, -2), (-2, -1)])
def test_segments_cover_an_axis_once(mode: str, begin: int, end: int) -> None:
    covered = [p for s in axis_segments(5, begin, end, mode) for p in range(s.at, s.at + s.length)]
    assert sorted(covered) == list(range(5 + begin + end))


@pytest.mark.parametrize(("begin", "channels"), [(0, 32), (0, 20), (20, 7), (27, 40), (16, 3)])
def test_runs_stay_within_blocks(begin: int, channels: int) -> None:
    runs = channel_runs(begin, channels, 16)
    assert sum(count * blocks for _, count, blocks in runs) == channels
    for first, count, _ in runs:
        assert first % 16 + count <= 16
        assert (begin + first) % 16 + count <= 16


def test_pad_that_wraps_too_often_is_refused() -> None:
    op = operator("pad", [rand(2)], {"pads": (1000, 0), "mode": "wrap"})
    assert (
        PRIMITIVES.candidates(op)[0].applicable(op, RUNNABLE[0])
        == "padding in 501 pieces, at most 256 are compiled"
    )


def test_relayout_needs_two_layouts() -> None:
    op = operator("relayout", [rand(1, 4, 3, 3)], {})
    with pytest.raises(ValueError, match="converts NCHW to NCHW"):
        PRIMITIVES.candidates(op)[0].kernel(op, RUNNABLE[0])


def test_only_squares_of_powers_of_two_are_transposed() -> None:
    with pytest.raises(ValueError, match="3 rows: a power of two is needed"):
        transpose([None, None, None])
