"""Decoders of weights by executed instructions, not slower than an SD card is read at 90 MB/s."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

from secateur.codegen.weights.decoding import COUNTED, PACES
from secateur.codegen.weights.registry import CHOOSING, CODECS, FAST
from secateur.tools.bench.arm.counting import CountError
from secateur.tools.bench.arm.decoders import MODEL, largest, rows

ROOT = Path(__file__).parents[4]
CARD = 90
pytestmark = pytest.mark.skipif(
    shutil.which("qemu-aarch64") is None or shutil.which("gcc") is None,
    reason="qemu-user or gcc is not installed: apt-get install qemu-user gcc libc6-dev",
)


def test_decoders_keep_up_with_a_card() -> None:
    dense = rows(largest(ROOT / MODEL, 8, 0.0), ("nibbles", "rans", "huffman"))
    few = rows(largest(ROOT / MODEL, 4, 0.0), ("nibbles", "dictionary", "rans", "huffman"))
    pruned = rows(largest(ROOT / MODEL, 4, 0.9), CHOOSING[FAST])
    assert [row.codec for row in dense] == ["nibbles", "rans", "huffman"]
    assert [row.codec for row in pruned] == list(CHOOSING[FAST])
    for row in (*dense, *few, *pruned):
        assert row.megabytes > CARD, row


def test_paces_are_those_that_are_counted() -> None:
    """By them `best` leaves out what a board decodes too slowly."""
    few = rows(largest(ROOT / MODEL, 4, 0.0), ("nibbles",))
    for row in (*few, *rows(largest(ROOT / MODEL, 8, 0.0), ("rans", "huffman", "planes"))):
        assert row.instructions == pytest.approx(PACES[row.codec].instructions[-1], rel=0.05)


def test_paces_of_small_arrays_are_those_that_are_counted() -> None:
    for filters, size in ((1, 576), (8, 4608)):
        for row in rows(largest(ROOT / MODEL, 8, 0.0, filters), ("rans", "huffman", "planes")):
            at = COUNTED.index(size)
            assert row.instructions == pytest.approx(PACES[row.codec].instructions[at], rel=0.05)


@pytest.mark.skipif(
    shutil.which("qemu-arm") is None, reason="qemu-arm is not installed: apt-get install qemu-user"
)
def test_a_core_of_armv7_decodes_lanes_in_vectors() -> None:
    dense = rows(largest(ROOT / MODEL, 8, 0.0), ("rans", "planes"), "rpi2")
    few = rows(largest(ROOT / MODEL, 4, 0.0), ("nibbles",), "rpi2")
    pruned = rows(largest(ROOT / MODEL, 8, 0.5), ("zeros",), "rpi2")
    for row in (*dense, *few, *pruned):
        assert row.instructions == pytest.approx(PACES[row.codec].narrow[-1], rel=0.05)


def test_a_decoder_that_gives_other_bytes_is_no_decoder(monkeypatch: pytest.MonkeyPatch) -> None:
    array = np.arange(4096, dtype=np.int64).astype(np.int8).reshape(64, 64)
    raw = bytes([CODECS["raw"].number, *bytes(4096)])
    monkeypatch.setattr("secateur.tools.bench.arm.decoders.encode", lambda *_: raw)
    with pytest.raises(CountError, match="other bytes"):
        rows(array, ("raw",))
