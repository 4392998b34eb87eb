"""Estimated times of the Edge TPU: by hand for single operators, and what streams."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from secateur.codegen.backends.tflite.contents import Contents, Listed, Tensor
from secateur.codegen.backends.tflite.estimate import times_of, work_of
from secateur.codegen.backends.tflite.partition import mapping
from secateur.codegen.targets.rows import TARGETS
from secateur.codegen.targets.systolic import EDGE_TPU, Work
from secateur.ir.choice import Estimates


def tensor(index: int, *shape: int, constant: bool = False) -> Tensor:
    return Tensor("t", shape, "int8", constant, int(np.prod(shape)) if constant else 0, index)


def conv(filters: int, channels: int, side: int = 16) -> Listed:
    weights = tensor(9, filters, 3, 3, channels, constant=True)
    x, y = tensor(0, 1, side, side, channels), tensor(1, 1, side, side, filters)
    return Listed("CONV_2D", 3, (x, weights), (y,), {})


def cycles(op: Listed) -> float:
    return EDGE_TPU.seconds(work_of(op)) * EDGE_TPU.clock


@pytest.mark.parametrize(
    ("op", "wanted"),
    [
        (conv(128, 64), 9 * 2 * 256),  # nine times 64 products, two columns of 64 sums, 256 pixels
        (conv(65, 64), 9 * 2 * 256),
        (conv(64, 64, side=2), 9 * 64),  # weights take 64 cycles to change, which 4 pixels do not hide
        (Listed("FULLY_CONNECTED", 4, (tensor(0, 1, 640), tensor(9, 10, 640, constant=True)),
                (tensor(1, 1, 10),), {}), 10 * 64),
        (Listed("DEPTHWISE_CONV_2D", 3, (tensor(0, 1, 16, 16, 128), tensor(9, 1, 3, 3, 128, constant=True)),
                (tensor(1, 1, 16, 16, 128),), {}), 2 * 9 * 256),
        (Listed("TRANSPOSE_CONV", 3, (tensor(8, 4, constant=True), tensor(9, 32, 2, 2, 640, constant=True),
                                      tensor(0, 1, 16, 16, 640)), (tensor(1, 1, 32, 32, 32),), {}), 5120),
        (Listed("ADD", 2, (tensor(0, 1, 8, 8, 64), tensor(2, 1, 8, 8, 64)), (tensor(1, 1, 8, 8, 64),), {}),
         3 * 64),
    ],
)  # fmt: skip
def test_an_operator_takes_the_cycles_of_its_array_or_of_its_bytes(op: Listed, wanted: int) -> None:
    assert cycles(op) == pytest.approx(wanted)


def test_an_operator_s_bytes_are_those_of_its_values_and_of_its_weights() -> None:
    """Each element has the size of its type; what the file holds is no activation."""
    op = conv(32, 16, side=4)
    wide = replace(op.outputs[0], dtype="int32")
    assert (op.activation_bytes, op.weight_bytes) == (16 * (16 + 32), 32 * 9 * 16)
    assert replace(op, outputs=(wide,)).activation_bytes == 16 * (16 + 4 * 32)


def test_weights_beyond_the_chip_stream_over_the_link() -> None:
    """The first stay, and what streams hides what it computes."""
    first, second = conv(64, 64), conv(256, 64)
    second = replace(
        second, inputs=(tensor(1, 1, 16, 16, 64), second.inputs[1]), outputs=(tensor(2, 1, 16, 16, 256),)
    )
    contents = Contents((first.inputs[0],), (first, second), second.outputs)
    machine = replace(EDGE_TPU, cached_bytes=first.weight_bytes + 1000, links={"slow": 1e6})
    times = times_of(contents, mapping(contents.operators), machine)
    assert times.streamed == second.weight_bytes - 1000
    assert times.operators["slow"] == pytest.approx((cycles(first) / 480e6, times.streamed / 1e6))
    assert times.ends["slow"] == pytest.approx((16 * 16 * 64 + 16 * 16 * 256) / 1e6)
    assert times.computing == pytest.approx((cycles(first) + cycles(second)) / 480e6)


def test_what_the_cpu_computes_has_no_time_and_its_operands_cross_the_link() -> None:
    op, rest = conv(64, 64), Listed("GELU", 1, (tensor(1, 1, 16, 16, 64),), (tensor(2, 1, 16, 16, 64),), {})
    contents = Contents((op.inputs[0],), (op, rest), rest.outputs)
    times = times_of(contents, mapping(contents.operators), replace(EDGE_TPU, links={"slow": 1e6}))
    assert times.operators["slow"][1] is None
    assert times.ends["slow"] == pytest.approx(2 * 16 * 16 * 64 / 1e6)


@pytest.mark.parametrize("target", ["litert", "edgetpu"])
def test_targets_of_files_estimate_though_they_choose_nothing(target: str) -> None:
    from secateur.codegen.backends.registry import backend_of

    assert isinstance(backend_of(TARGETS[target]).costs(TARGETS[target]), Estimates)
    assert EDGE_TPU.seconds(Work(64)) == 1 / EDGE_TPU.clock
