"""Weights of TFLite files, beside what LiteRT reads of the same files."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from secateur.codegen.backends.tflite.contents import read_contents
from secateur.ir.errors import ModelError
from secateur.tools.pages.tflite_weights import weights_in

from ..codegen.backends.litert import file_of, interpreter
from ..codegen.backends.random_bytes import random_graph
from .conftest import Cli

FILTERS_FIRST = {"CONV_2D": (0, 3, 1, 2), "DEPTHWISE_CONV_2D": (3, 0, 1, 2), "FULLY_CONNECTED": (0, 1)}
SEEDS = {
    "CONV_2D": ("convolution", 2),
    "DEPTHWISE_CONV_2D": ("convolution", 0),
    "FULLY_CONNECTED": ("product", 1),
}


def file_at(folder: Path, kind: str = "CONV_2D") -> Path:
    path = folder / "m.tflite"
    path.write_bytes(file_of(random_graph(*SEEDS[kind])))
    return path


@pytest.mark.parametrize("kind", FILTERS_FIRST)
def test_weights_are_those_that_litert_reads(tmp_path: Path, kind: str) -> None:
    path = file_at(tmp_path, kind)
    (found,) = weights_in(path)
    (op,) = (op for op in read_contents(path).operators if op.kind == kind)
    session = interpreter.Interpreter(str(path))
    session.allocate_tensors()
    stored = session.get_tensor(op.inputs[1].index).transpose(FILTERS_FIRST[kind])
    details = {row["index"]: row["quantization_parameters"] for row in session.get_tensor_details()}
    quant = details[op.inputs[1].index]
    np.testing.assert_array_equal(found.values, stored)
    assert not quant["zero_points"].any()

    (fewer,), real = weights_in(path, bits=4), stored * quant["scales"].reshape(-1, *[1] * (stored.ndim - 1))
    steps = np.abs(real).max(axis=tuple(range(1, real.ndim)), keepdims=True) / 7
    assert (np.abs(fewer.values * steps - real) <= 0.5001 * steps).all()
    (half,) = weights_in(path, bits=4, pruned=0.5)
    assert np.count_nonzero(half.values) <= -(-half.values.size // 2)


def test_the_command_reads_them(cli: Cli, tmp_path: Path) -> None:
    path = file_at(tmp_path)
    assert cli("weights", path, "--json").json["all"]["bytes"]["dense"] == weights_in(path)[0].values.size
    refused = cli("weights", path, "--batch", "2")
    assert refused.code == 2
    assert "is a TFLite file" in refused.err


def test_a_damaged_file_is_refused(tmp_path: Path) -> None:
    path = file_at(tmp_path)
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(ModelError, match="is damaged"):
        weights_in(path)
