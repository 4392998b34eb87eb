"""What the Edge TPU's compiler maps, by the table of its documentation: each rule has what trips it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from secateur.codegen.backends.tflite.contents import Listed, Tensor, read_contents
from secateur.codegen.backends.tflite.coral import refusal
from secateur.codegen.backends.tflite.partition import BEHIND, Gain, gains, mapping
from secateur.ir.errors import ModelError

from .litert import file_of
from .random_bytes import random_graph


def tensor(*shape: int, dtype: str = "int8", constant: bool = False) -> Tensor:
    return Tensor("t", shape, dtype, constant, 1)


IMAGE = tensor(1, 8, 8, 4)
CONV = Listed("CONV_2D", 3, (IMAGE, tensor(6, 3, 3, 4, constant=True)), (tensor(1, 8, 8, 6),), {})
POOL = Listed("MAX_POOL_2D", 2, (IMAGE,), (tensor(1, 4, 4, 4),), {})


def one(kind: str, given: Tensor, made: Tensor, **options: Any) -> Listed:
    return Listed(kind, 1, (given,), (made,), options)


@pytest.mark.parametrize(
    ("op", "reason"),
    [
        (replace(CONV, options={"dilationHFactor": 1, "dilationWFactor": 2}), "dilations 1 and 2 differ"),
        (replace(CONV, inputs=(IMAGE, tensor(6, 3, 3, 2, constant=True))), "2 groups"),
        (replace(CONV, inputs=(IMAGE, tensor(1, 3, 3, 4))), "weights or bias are computed"),
        (replace(POOL, options={"fusedActivationFunction": 1}), "activation is fused"),
        (replace(POOL, inputs=(tensor(2, 8, 8, 4),)), "2x8x8x4: only the 3 innermost axes"),
        (replace(POOL, inputs=(tensor(1, 8, 8, 4, dtype="float32"),)), "computes on float32"),
        (one("SOFTMAX", tensor(3, 5), tensor(3, 5)), "more than one axis"),
        (one("SOFTMAX", tensor(1, 20_000), tensor(1, 20_000)), "20000 elements, at most 16000"),
        (one("MEAN", tensor(1, 2, 2, 6), tensor(1, 2, 2, 1)), "over 6 channels, no multiple of 4"),
        (one("RESIZE_BILINEAR", tensor(1, 30, 30, 2), tensor(1, 97, 97, 2)), "from 30x30 to 97x97"),
        (one("STRIDED_SLICE", tensor(1, 8, 8, 2), tensor(1, 4, 4, 2)), "steps are not known to be 1"),
        (one("RESIZE_BILINEAR", tensor(1, 1, 1, 2), tensor(1, 33, 33, 2)), "from 1x1 to 33x33"),
        (one("FULLY_CONNECTED", tensor(3, 4), tensor(3, 5)), "more than one axis"),
        (one("GELU", IMAGE, IMAGE), "GELU is not in the table"),
    ],
)
def test_a_rule_refuses_with_its_reason(op: Listed, reason: str) -> None:
    assert reason in (refusal(op) or "")


def test_what_the_table_allows_maps() -> None:
    mean = one("MEAN", tensor(1, 7, 7, 1280), tensor(1, 1, 1, 1280))
    assert [refusal(op) for op in (CONV, POOL, mean)] == [None] * 3


def test_everything_behind_what_does_not_map_runs_on_the_cpu() -> None:
    """Conversions of floats at the ends are no such thing."""
    first = one("QUANTIZE", tensor(1, 8, 8, 4, dtype="float32"), IMAGE)
    rows = mapping((first, CONV, one("GELU", IMAGE, IMAGE), POOL))
    assert [row.reason for row in rows][1:] == [None, "GELU is not in the table of operators", BEHIND]
    assert "converts from or to floats" in (rows[0].reason or "")


def test_a_branch_beside_what_does_not_map_stays_on_the_chip() -> None:
    """As the compiler does with several heads; what comes before the chip's part ends nothing."""
    values = [replace(IMAGE, index=i) for i in range(5)]
    before = one("GELU", values[0], values[1])
    first, second = one("RELU", values[1], values[2]), one("RELU", values[2], values[4])
    aside = one("GELU", values[2], values[3])
    rows = mapping((before, first, aside, second))
    assert [row.reason is None for row in rows] == [False, True, False, True]


def test_what_would_map_if_an_operator_came_last_is_counted_by_dividing_anew() -> None:
    """A chain conv, GELU, conv, GELU, conv: with the first moved the second maps, with the other none."""
    values = [replace(IMAGE, index=i) for i in range(6)]
    weights = CONV.inputs[1]
    chain = [
        replace(CONV, inputs=(values[i], weights), outputs=(values[i + 1],))
        if i % 2 == 0
        else one("GELU", values[i], values[i + 1])
        for i in range(5)
    ]
    assert [row.reason is None for row in mapping(chain)] == [True, False, False, False, False]
    assert gains(mapping(chain)) == [Gain(1, "GELU", 1)]
    assert gains(mapping(chain[:3])) == [Gain(1, "GELU", 1)]
    assert gains(mapping(chain[:2])) == []


def test_a_file_is_read_back(tmp_path: Path) -> None:
    path = tmp_path / "m.tflite"
    path.write_bytes(file_of(random_graph("product", 2)))
    kinds = [op.kind for op in read_contents(path).operators]
    assert kinds[-1] == "QUANTIZE"
    assert set(kinds) & {"FULLY_CONNECTED", "CONV_2D"}


@pytest.mark.parametrize("cut", [4, 8, 60, 200, 1000])
def test_a_damaged_file_is_refused(cut: int, tmp_path: Path) -> None:
    path = tmp_path / "m.tflite"
    path.write_bytes(file_of(random_graph("product", 2))[:cut])
    with pytest.raises(ModelError, match=r"m\.tflite: is (damaged|no TFLite)"):
        read_contents(path)
